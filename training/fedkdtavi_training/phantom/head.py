"""Head and neck: skull, brain, face, teeth, airway, mandible."""

from __future__ import annotations

import numpy as np

from .canvas import Canvas
from .context import ContextParameters
from .girdle import paint_bone_tube
from .shapes import Ellipsoid, spline


def paint_head(canvas: Canvas, p: ContextParameters, rng: np.random.Generator) -> None:
    """A head whose chin lies about 235 mm above the annulus' height, and the soft tissue of the upper airway."""
    m, t = p.midline, p.tissue
    if canvas.region([m - 95, -150, 215], [m + 95, 90, 440]) is None:
        _paint_thyroid(canvas, p, rng)
        return
    size = rng.uniform(0.92, 1.08)
    skull = np.array([m, -36, 352.0])
    axes = np.array([77, 94, 72]) * size
    face = Ellipsoid(np.array([m, 2, 292.0]), np.array([62, 62, 64]) * size, np.eye(3))
    skin = rng.uniform(3, 8)
    canvas.ellipsoid(face, 20.0, grow=skin)
    canvas.ellipsoid(Ellipsoid(skull, axes, np.eye(3)), 20.0, grow=skin)
    canvas.ellipsoid(face, 0.4 * t["fat"] + 0.6 * t["muscle"], texture=40.0)
    _paint_face(canvas, p, rng)
    bone, thick = t["cortical"] * rng.uniform(1.0, 1.6), rng.uniform(4, 8)
    canvas.ellipsoid(Ellipsoid(skull, axes, np.eye(3)), bone)
    canvas.ellipsoid(Ellipsoid(skull, axes - thick * 0.35, np.eye(3)), t["trabecular"] + 250)
    canvas.ellipsoid(Ellipsoid(skull, axes - thick * 0.65, np.eye(3)), bone)
    brain = Ellipsoid(skull, axes - thick, np.eye(3))
    canvas.ellipsoid(brain, rng.uniform(28, 42), texture=5.0)
    for side in (1, -1):
        horn = spline(
            np.array([skull + [side * 8, 34, 8], skull + [side * 12, 0, 18], skull + [side * 22, -38, 2]]), 10
        )
        canvas.tube(horn, np.full(len(horn), rng.uniform(4, 9)), 8.0)
        petrous = spline(np.array([skull + [side * 20, -8, -48], skull + [side * 58, -22, -46]]), 10)
        canvas.tube(petrous, np.full(len(petrous), 12.0), bone)
        cells = petrous[len(petrous) // 2 :]
        canvas.tube(cells, np.full(len(cells), 6.0), -500.0, texture=200.0)
        for x, y, z in ((18, 10, -18), (40, -10, -12), (12, -60, -20)):  # arteries of the brain
            vessel = spline(np.array([skull + [side * 8, 4, -44], skull + [side * x, y, z]]), 12)
            canvas.tube(vessel, np.full(len(vessel), 1.8), 0.9 * p.left_blood_hu + 10)
    _paint_thyroid(canvas, p, rng)


def _paint_face(canvas: Canvas, p: ContextParameters, rng: np.random.Generator) -> None:
    m, t = p.midline, p.tissue
    bone = t["cortical"]
    jaw = spline(
        np.array(
            [
                [m + 46, -32, 300],
                [m + 44, -18, 258],
                [m + 22, 38, 246],
                [m, 48, 244],
                [m - 22, 38, 246],
                [m - 44, -18, 258],
                [m - 46, -32, 300],
            ]
        ),
        10,
    )
    paint_bone_tube(canvas, jaw, np.full(len(jaw), 7.5), bone * 1.4, t["trabecular"] + 150)
    turn = np.linspace(-1.2, 1.2, 13)
    teeth = np.stack([m + 27 * np.sin(turn), 2 + 40 * np.cos(turn), np.full(13, 262.0)], axis=1)
    canvas.tube(teeth, np.full(13, 5.5), rng.choice([1800.0, 3000.0], p=[0.7, 0.3]))
    canvas.tube(teeth + [0, 0, 10], np.full(13, 6.0), 1700.0)
    for side in (1, -1):
        canvas.ellipsoid(Ellipsoid(np.array([m + side * 28, 30, 290.0]), np.array([17.0, 20, 18]), np.eye(3)), bone)
        air = -980.0 if rng.random() < 0.8 else 30.0
        canvas.ellipsoid(Ellipsoid(np.array([m + side * 28, 30, 290.0]), np.array([14.5, 17, 16]), np.eye(3)), air)
        orbit = np.array([m + side * 32, 40, 322.0])
        canvas.ellipsoid(Ellipsoid(orbit, np.array([20.0, 22, 19]), np.eye(3)), bone)
        canvas.ellipsoid(Ellipsoid(orbit, np.array([18.0, 24, 17]), np.eye(3)), t["fat"])
        canvas.ellipsoid(Ellipsoid(orbit + [0, 8, 0], np.full(3, 12.0), np.eye(3)), 15.0)
        cheek = spline(np.array([[m + side * 40, 44, 300], [m + side * 62, 18, 302], [m + side * 66, -20, 308]]), 8)
        canvas.tube(cheek, np.full(len(cheek), 4.5), bone)
    nose = spline(np.array([[m, 62, 282], [m, 20, 292], [m, -18, 286], [m, -22, 250], [m, -28, 215]]), 8)
    canvas.tube(nose, np.linspace(9, 7, len(nose)), -950.0, texture=40.0)
    canvas.shape([m - 3, 0, 280], [m + 3, 60, 308], lambda q: np.abs(q[..., 0] - np.float32(m)) - 1.5, bone * 0.5)


def _paint_thyroid(canvas: Canvas, p: ContextParameters, rng: np.random.Generator) -> None:
    hu, size = rng.uniform(80, 220), rng.uniform(0.8, 1.5)
    for side in (1, -1):
        center = np.array([p.midline + side * 16, -32, p.apex_z + 18])
        canvas.ellipsoid(Ellipsoid(center, np.array([8.0, 10, 20]) * size, np.eye(3)), hu, texture=10.0)
