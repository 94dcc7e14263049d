"""Hounsfield units of the tissues of one case: independent, and spread wider than any one protocol gives."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass
class Tissue:
    """HU of one case. ``*_texture`` is the standard deviation of smooth mixing noise inside a tissue."""

    left_blood: float
    aorta: float
    right_blood: float
    right_atrium: float
    vena_cava: float
    pulmonary: float
    right_texture: float
    left_texture: float
    myocardium: float
    wall: float
    fat: float
    lung: float
    leaflet: float
    calcium: float

    @classmethod
    def sample(cls, rng: np.random.Generator, *, contrast: bool = True) -> Tissue:
        """Draw a contrast phase (or none) and the tissues that go with it."""
        if contrast:
            kind = rng.random()
            left = (
                rng.normal(400, 80) if kind < 0.5 else rng.uniform(150, 320) if kind < 0.82 else rng.uniform(450, 720)
            )
            left = float(np.clip(left, 140, 760))
            phase = rng.random()
            if phase < 0.35:  # washed out by saline
                right = rng.uniform(60, 220)
            elif phase < 0.65:  # venous balance
                right = left * rng.uniform(0.8, 1.15)
            else:  # bolus still coming in, badly mixed
                right = rng.uniform(250, 900)
            texture = right * rng.choice([0.03, 0.12, 0.3], p=[0.45, 0.3, 0.25])
        else:
            left, right, texture = rng.uniform(25, 55), rng.uniform(25, 55), 3.0
        perfused = (left - 40) * rng.uniform(0.08, 0.22) if contrast else rng.uniform(-8, 12)
        myocardium = float(np.clip(45 + perfused + rng.normal(0, 10), 25, 190))
        wall = float(rng.uniform(30, 110))
        return cls(
            left_blood=left,
            aorta=left * rng.uniform(0.93, 1.07),
            right_blood=float(right),
            right_atrium=float(right * rng.uniform(0.7, 1.4)),
            vena_cava=float(right * rng.uniform(0.7, 2.6)) if contrast else float(right),
            pulmonary=float(0.5 * (left + right) if rng.random() < 0.4 else right * rng.uniform(0.8, 1.3)),
            right_texture=float(texture),
            left_texture=float(left * rng.choice([0.01, 0.03, 0.06])),
            myocardium=myocardium,
            wall=min(wall, left - 20) if contrast else wall,
            fat=float(rng.uniform(-115, -60)),
            lung=float(rng.uniform(-900, -720)),
            leaflet=float(rng.uniform(30, 130)) if contrast else wall,
            # Dense enough to show 850 HU and more through the blur, as calcified valves do (the rules rest on that).
            calcium=float(rng.uniform(900, 1900)),
        )
