"""Scans without a heart: other windows of the same body, an upper chest that ends above the arch, and test objects."""

from __future__ import annotations

import numpy as np

from .canvas import Canvas
from .chest import paint_after, paint_before
from .context import ContextParameters
from .shapes import Ellipsoid

KINDS = ("abdomen", "head_neck", "legs", "upper_chest", "bottle")

# No part of a heart reaches below or above these heights (anatomical mm), whatever its size.
_BELOW_HEART, _ABOVE_HEART = -115.0, 110.0


def paint_elsewhere(canvas: Canvas, rng: np.random.Generator, kind: str) -> np.ndarray:
    """Paint a scan of ``kind`` over the whole canvas, wherever its grid lies in space.

    The canvas' anatomical origin is moved so that the window falls on the wanted part of the body.

    Returns:
        (3,) mm by which anatomical coordinates were moved.

    Raises:
        ValueError: when ``kind`` is not one of :data:`KINDS`.
    """
    if kind not in KINDS:
        raise ValueError(f"unknown kind of scan {kind!r}; known: {', '.join(KINDS)}")
    if kind == "bottle":
        _paint_bottle(canvas, rng)
        return np.zeros(3)
    p = ContextParameters.sample(rng)
    heights = canvas.points[..., 2]
    low, high = float(heights.min()), float(heights.max())
    middle = canvas.points[tuple(n // 2 for n in canvas.hu.shape)].astype(float)
    shift = np.array([p.midline, -35.0, 0]) + rng.normal(0, 12, 3) - middle
    shift[2] = {
        "abdomen": _BELOW_HEART - rng.uniform(0, 90) - high,
        "head_neck": max(_ABOVE_HEART + 60, 430 - (high - low)) + rng.uniform(0, 30) - low,
        "legs": -430 - rng.uniform(0, 250) - high,
        "upper_chest": _ABOVE_HEART + rng.uniform(0, 35) - low,
    }[kind]
    canvas.move(shift)
    paint_before(canvas, rng, p)
    paint_after(canvas, rng, p)
    return shift


def _paint_bottle(canvas: Canvas, rng: np.random.Generator) -> None:
    """A cylinder of water or plastic with inserts, as used for calibration, or a few bottles."""
    corner = np.array([canvas.points[..., a].min() for a in range(3)], float)
    extent = np.array([canvas.points[..., a].max() for a in range(3)], float) - corner
    for _ in range(int(rng.integers(1, 4))):
        center = corner + extent * rng.uniform(0.35, 0.65, 3)
        radius, half = rng.uniform(30, 0.42 * extent[:2].min() + 31), rng.uniform(0.15, 0.7) * extent[2] + 20
        axis = int(rng.choice([2, 2, 2, 0]))
        reach = np.full(3, radius + 6)
        reach[axis] = half + 6

        def distance(
            q: np.ndarray, c: np.ndarray = center, r: float = radius, h: float = half, a: int = axis
        ) -> np.ndarray:
            relative = q - c.astype(np.float32)
            across = np.sqrt((relative * relative).sum(-1) - relative[..., a] ** 2)
            return np.maximum(across - np.float32(r), np.abs(relative[..., a]) - np.float32(h))

        canvas.shape(center - reach, center + reach, lambda q, d=distance: d(q) - 4, rng.uniform(-50, 200))
        canvas.shape(center - reach, center + reach, distance, rng.choice([0.0, 120.0, -100.0, 300.0]), texture=3.0)
        for _ in range(int(rng.integers(0, 7))):
            place = center + rng.uniform(-0.6, 0.6, 3) * radius
            canvas.ellipsoid(
                Ellipsoid(place, np.full(3, rng.uniform(5, 22)), np.eye(3)), rng.choice([-1000.0, -100, 350, 1000])
            )
