"""Pelvic bones, bladder, buttocks' muscles and the legs."""

from __future__ import annotations

import numpy as np

from .canvas import Canvas
from .context import ContextParameters
from .girdle import paint_bone_tube
from .shapes import Ellipsoid, rotation_about, spline

HIP_Z = -385.0


def paint_pelvis(canvas: Canvas, p: ContextParameters, rng: np.random.Generator) -> None:
    """Iliac wings, sockets, pubis, heads and shafts of the femora, bladder."""
    m, t = p.midline, p.tissue
    if canvas.region([m - 190, -180, -900], [m + 190, 120, -235]) is None:
        return
    bladder = np.array([rng.uniform(25, 50), rng.uniform(22, 45), rng.uniform(20, 45)])
    canvas.ellipsoid(Ellipsoid(np.array([m, 18, -395.0]), bladder + 4, np.eye(3)), 40.0)
    canvas.ellipsoid(Ellipsoid(np.array([m, 18, -395.0]), bladder, np.eye(3)), rng.choice([5.0, 400.0], p=[0.85, 0.15]))
    for side in (1, -1):
        hip = np.array([m + side * 88, -22, HIP_Z])
        _paint_wing(canvas, p, side)
        canvas.ellipsoid(Ellipsoid(hip, np.full(3, 33.0), np.eye(3)), t["cortical"] * 0.7)
        canvas.ellipsoid(Ellipsoid(hip, np.full(3, 29.0), np.eye(3)), 60.0)
        canvas.ellipsoid(Ellipsoid(hip, np.full(3, 26.0), np.eye(3)), t["cortical"])
        canvas.ellipsoid(Ellipsoid(hip, np.full(3, 23.0), np.eye(3)), t["trabecular"] + 60, texture=30.0)
        pubis = spline(np.array([hip + [-side * 25, 20, 0], [m + side * 40, 34, -395], [m + side * 8, 40, -415]]), 10)
        paint_bone_tube(canvas, pubis, np.linspace(11, 9, len(pubis)), t["cortical"] * 0.8, t["trabecular"])
        seat = spline(
            np.array([hip + [-side * 10, -20, -20], [m + side * 60, -55, -445], [m + side * 25, 10, -450], pubis[-1]]),
            10,
        )
        paint_bone_tube(canvas, seat, np.full(len(seat), 10.0), t["cortical"] * 0.8, t["trabecular"])
        neck = spline(np.array([hip, hip + [side * 34, -8, -22], hip + [side * 56, -12, -45]]), 8)
        paint_bone_tube(canvas, neck, np.linspace(15, 20, len(neck)), t["cortical"] * 0.9, t["trabecular"] - 40)


def _paint_wing(canvas: Canvas, p: ContextParameters, side: int) -> None:
    """The iliac wing: part of a thin ellipsoidal shell that opens upwards and outwards."""
    m, t = p.midline, p.tissue
    turn = rotation_about(np.array([0.0, 1.0, 0.0]), side * 0.32) @ rotation_about(np.array([0.0, 0, 1]), -side * 0.75)
    bowl = Ellipsoid(np.array([m + side * 42, 8, -325.0]), np.array([62.0, 118, 108]), turn)

    def distance(q: np.ndarray, half: float) -> np.ndarray:
        shell = np.abs(bowl.distance(q)) - np.float32(half)
        beside = 46 - side * (q[..., 0] - np.float32(m)) - 0.3 * (q[..., 1] + 60)
        return np.maximum.reduce(
            [shell, beside, q[..., 1] - 14 + 0.2 * (q[..., 2] + 300), q[..., 2] + 268, HIP_Z - q[..., 2]]
        )

    low, high = np.array([m + side * 100 - 85, -135, HIP_Z - 5]), np.array([m + side * 100 + 85, 70, -262])
    canvas.shape(low, high, lambda q: distance(q, 5.0), t["cortical"])
    canvas.shape(low, high, lambda q: distance(q, 2.6), t["trabecular"])


def paint_legs(canvas: Canvas, p: ContextParameters, rng: np.random.Generator) -> None:
    """Thighs and lower legs with their bones and arteries; painted before the trunk, which covers their tops."""
    m, t = p.midline, p.tissue
    if canvas.region([m - 220, -180, -1300], [m + 220, 120, -420]) is None:
        return
    apart, wide = rng.uniform(88, 115), rng.uniform(0.8, 1.15)
    for side in (1, -1):
        top, knee = np.array([m + side * 95, -28, -430.0]), np.array([m + side * apart, -30, -820.0])
        foot = np.array([m + side * (apart - 5), -40, -1210.0])
        thigh, shank = spline(np.array([top, 0.5 * (top + knee), knee]), 40), spline(np.array([knee, foot]), 40)
        parts = ((thigh, np.linspace(74, 48, len(thigh)) * wide), (shank, np.linspace(50, 28, len(shank)) * wide))
        fat = 3 + 0.6 * p.fat_mm
        for grow, hu, grain in ((fat + 2, 20.0, 0.0), (fat, t["fat"], 5.0), (0.0, t["muscle"], p.noise + 12)):
            for path, radii in parts:
                canvas.tube(path, radii, hu, grow=grow, texture=grain)
        shaft = spline(
            np.array([top + [side * 46, -6, 0], 0.5 * (top + knee) + [side * 14, 6, 0], knee + [0, 0, 30]]), 20
        )
        paint_bone_tube(canvas, shaft, np.full(len(shaft), 14.0), t["cortical"] * 1.5, -20.0)
        for center in (knee + [0, -2, 22], knee + [0, -4, -24]):
            canvas.ellipsoid(Ellipsoid(center, np.array([40.0, 30, 24]), np.eye(3)), t["cortical"] * 0.8)
            canvas.ellipsoid(Ellipsoid(center, np.array([37.0, 27, 21]), np.eye(3)), t["trabecular"], texture=20.0)
        canvas.ellipsoid(Ellipsoid(knee + [0, 40, 8], np.array([22.0, 9, 22]), np.eye(3)), t["cortical"] * 0.7)
        shin = spline(np.array([knee + [-side * 8, 4, -40], foot + [0, 10, 0]]), 30)
        paint_bone_tube(canvas, shin, np.full(len(shin), 13.0), t["cortical"] * 1.5, -20.0)
        fibula = shin + [side * 28, -18, 0]
        paint_bone_tube(canvas, fibula, np.full(len(fibula), 6.5), t["cortical"] * 1.4, 30.0)
        artery = spline(
            np.array(
                [
                    top + [-side * 8, 40, 0],
                    0.5 * (top + knee) + [-side * 24, 4, 0],
                    knee + [0, -32, 0],
                    foot + [0, -15, 0],
                ]
            ),
            30,
        )
        canvas.tube(artery, np.linspace(4.5, 1.8, len(artery)), p.left_blood_hu)
