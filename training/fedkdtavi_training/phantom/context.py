"""What surrounds a heart, in numbers: habitus, blood, posture and the odd things of a hospital's scans."""

from __future__ import annotations

from dataclasses import dataclass, field, fields

import numpy as np


@dataclass
class ContextParameters:
    """Anatomical mm about the aortic annulus (+x right, +y front, +z up), HU.

    Attributes:
        left_blood_hu, right_blood_hu: opacified blood of the left and right side.
        arch_start, arch_direction, arch_radius: where the ascending aorta ends, where it points, and its radius.
        descending: (x, y) of the descending aorta at the heart's height.
        enclose: points (3,) of the heart that the rib cage has to make room for, such as the apex.
        midline: x of spine and sternum; the annulus lies left of it as a rule.
        apex_z: height of the lungs' apices; dome_right, dome_left: heights of the diaphragm.
        width, depth, squareness: of the rib cage (1, 1, 2.3 for the average).
        fat_mm, belly_mm, breast_mm, breast_turn, breast_z, muscle_mm, shoulder_mm: layers over it.
        sac_grow: fat around the heart in mm; sac_scale: size of the heart relative to the average.
        noise: strength (HU) of the smooth texture in soft tissue.
        arms: ``up``, ``down``, ``one`` or ``none``.
        superior_cava_hu: blood of the superior vena cava, None for the right side's.
        dense_side: +1 right or -1 left when undiluted contrast fills the arm's vein, else 0.
        lung_hu, emphysema, effusion_mm, atelectasis_mm: the lungs.
        tissue: HU of fat, muscle, liver, spleen, kidney, bowel, trabecular, cortical, cartilage.
    """

    left_blood_hu: float = 350.0
    right_blood_hu: float = 150.0
    arch_start: np.ndarray = field(default_factory=lambda: np.array([24, 6, 48], float))
    arch_direction: np.ndarray = field(default_factory=lambda: np.array([-0.05, -0.3, 1.0], float))
    arch_radius: float = 14.5
    descending: np.ndarray = field(default_factory=lambda: np.array([-15, -72], float))
    enclose: tuple[np.ndarray, ...] = ()
    midline: float = 8.0
    apex_z: float = 165.0
    dome_right: float = -45.0
    dome_left: float = -60.0
    width: float = 1.0
    depth: float = 1.0
    squareness: float = 2.3
    fat_mm: float = 14.0
    belly_mm: float = 10.0
    breast_mm: float = 0.0
    breast_turn: float = 0.6
    breast_z: float = 20.0
    muscle_mm: float = 4.0
    shoulder_mm: float = 0.0
    sac_grow: float = 5.0
    sac_scale: float = 1.0
    noise: float = 6.0
    arms: str = "up"
    superior_cava_hu: float | None = None
    dense_side: int = 0
    dense_hu: float = 1500.0
    lung_hu: float = -860.0
    emphysema: float = 0.0
    effusion_mm: tuple[float, float] = (0.0, 0.0)
    atelectasis_mm: float = 0.0
    sternal_wires: bool = False
    pacemaker: bool = False
    electrodes: int = 0
    table: bool = True
    tissue: dict[str, float] = field(default_factory=lambda: dict(_TISSUE))

    @classmethod
    def sample(cls, rng: np.random.Generator, **known: object) -> ContextParameters:
        """Random parameters, wider than any population; ``known`` fixes some by name.

        Raises:
            TypeError: for a name that is no parameter.
        """
        unknown = set(known) - {f.name for f in fields(cls)}
        if unknown:
            raise TypeError(f"ContextParameters has no {', '.join(sorted(unknown))}")
        left = rng.uniform(130, 650)
        right = left * rng.uniform(0.2, 1.2) if rng.random() < 0.8 else rng.uniform(60, 900)
        midline = float(np.clip(rng.normal(12, 11), -15, 38))
        dome = float(np.clip(rng.normal(-42, 22), -90, 5))
        woman = rng.random() < 0.5
        values: dict[str, object] = {
            "left_blood_hu": left,
            "right_blood_hu": max(right, 40.0),
            "descending": np.array([midline - rng.uniform(8, 36), rng.normal(-73, 7)]),
            "midline": midline,
            "apex_z": rng.uniform(135, 188),
            "dome_right": dome,
            "dome_left": dome - rng.uniform(-8, 28),
            "width": float(np.clip(rng.normal(1.0, 0.09), 0.8, 1.22)),
            "depth": float(np.clip(rng.normal(1.0, 0.11), 0.78, 1.3)),
            "squareness": rng.uniform(2.05, 2.7),
            "fat_mm": float(np.exp(rng.uniform(np.log(2.5), np.log(42)))),
            "belly_mm": rng.uniform(0, 50) ** 2 / 50,
            "breast_mm": rng.uniform(5, 60) if woman else rng.uniform(0, 6),
            "breast_turn": rng.uniform(0.45, 0.95),
            "breast_z": rng.uniform(-20, 50),
            "muscle_mm": rng.uniform(-6, 16),
            "shoulder_mm": rng.uniform(-4, 22),
            "sac_grow": rng.uniform(-6, 11),
            "sac_scale": rng.uniform(0.88, 1.15),
            "noise": rng.uniform(2, 14),
            "arms": str(rng.choice(["up", "down", "one", "none"], p=[0.6, 0.22, 0.08, 0.1])),
            "superior_cava_hu": right * rng.uniform(0.9, 3.0) if rng.random() < 0.5 else None,
            "dense_side": int(rng.choice([0, 1, -1], p=[0.5, 0.25, 0.25])),
            "dense_hu": rng.uniform(500, 2500),
            "lung_hu": rng.uniform(-915, -760),
            "emphysema": rng.uniform(0, 1) if rng.random() < 0.25 else 0.0,
            "effusion_mm": tuple(rng.uniform(10, 70) if rng.random() < 0.15 else 0.0 for _ in range(2)),
            "atelectasis_mm": rng.uniform(3, 25) if rng.random() < 0.35 else 0.0,
            "sternal_wires": bool(rng.random() < 0.15),
            "pacemaker": bool(rng.random() < 0.12),
            "electrodes": int(rng.integers(3, 6)) if rng.random() < 0.6 else 0,
            "table": bool(rng.random() < 0.85),
            "tissue": _sample_tissue(rng),
        }
        values["superior_cava_hu"] = values["superior_cava_hu"] and min(values["superior_cava_hu"], 1500.0)
        values.update(known)
        return cls(**values)


_TISSUE = {
    "fat": -100.0,
    "muscle": 55.0,
    "liver": 95.0,
    "spleen": 110.0,
    "kidney": 170.0,
    "bowel": 40.0,
    "trabecular": 170.0,
    "cortical": 650.0,
    "cartilage": 110.0,
}


def _sample_tissue(rng: np.random.Generator) -> dict[str, float]:
    return {
        "fat": rng.uniform(-118, -80),
        "muscle": rng.uniform(30, 80),
        "liver": rng.uniform(20, 140),
        "spleen": rng.uniform(40, 180),
        "kidney": rng.uniform(40, 260),
        "bowel": rng.uniform(10, 90),
        "trabecular": rng.uniform(60, 300),
        "cortical": rng.uniform(350, 1100),
        "cartilage": rng.uniform(60, 220),
    }
