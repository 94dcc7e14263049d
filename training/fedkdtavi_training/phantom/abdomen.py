"""Below the diaphragm: liver, spleen, stomach, kidneys, bowel, vessels."""

from __future__ import annotations

import numpy as np

from .canvas import Canvas
from .shapes import Ellipsoid, spline
from .trunk import Trunk, TrunkFields


def paint_abdomen(canvas: Canvas, trunk: Trunk, fields: TrunkFields, rng: np.random.Generator) -> None:
    """Fat under the diaphragm, then the organs, each kept inside abdominal wall and diaphragm."""
    p, t, grid = trunk.p, trunk.p.tissue, fields.grid
    inside = np.maximum(fields.cavity + 3, fields.diaphragm + 2)
    if not np.any(inside < 0):
        return
    grid.fill(np.maximum(fields.cavity, fields.diaphragm), t["muscle"], texture=5.0)
    visceral = rng.uniform(0, 20) + 0.4 * p.fat_mm
    grid.fill(inside, t["fat"], texture=8.0)
    _paint_bowel(canvas, trunk, inside, fields, rng)
    _paint_kidneys(canvas, trunk, rng)
    _paint_vessels(canvas, trunk, rng)
    m, q = p.midline, grid.points

    def organ(*parts: tuple[tuple[float, float, float], tuple[float, float, float]], margin: float) -> np.ndarray:
        bodies = [
            Ellipsoid(np.array(c, float), np.array(a, float) * rng.uniform(0.85, 1.15), np.eye(3)) for c, a in parts
        ]
        fields_ = [grid.within(b.center - b.axes - 8, b.center + b.axes + 8, b.distance) for b in bodies]
        return np.maximum(np.minimum.reduce(fields_), inside + margin)

    low = rng.uniform(-0.9, -0.3)
    r, left = p.dome_right, p.dome_left
    gap = 1 + 0.15 * visceral
    liver = organ(((m + 66, -24, r - 62), (82, 92, 92)), ((m + 8, 8, r - 46), (72, 58, 46)), margin=gap)
    grid.fill(np.maximum(liver, 0.6 * (r - 120 + low * (q[..., 0] - m) - q[..., 2])), t["liver"], texture=p.noise)
    _paint_liver_vessels(canvas, trunk, rng)
    grid.fill(organ(((m - 94, -62, left - 62), (30, 46, 58)), margin=gap), t["spleen"], texture=p.noise)
    _paint_stomach(canvas, trunk, organ(((m - 62, 4, left - 46), (42, 46, 44)), margin=gap), fields, rng)
    canvas.ellipsoid(Ellipsoid(np.array([m + 48, 28, r - 118]), np.array([13, 22, 16]), np.eye(3)), rng.uniform(0, 30))
    pancreas = spline(np.array([[m + 28, -28, -150], [m, -14, -138], [m - 45, -38, -122], [m - 78, -56, -112]]), 10)
    canvas.tube(pancreas, np.linspace(14, 9, len(pancreas)), 0.5 * (t["bowel"] + t["liver"]), texture=15.0)


def _paint_stomach(
    canvas: Canvas, trunk: Trunk, stomach: np.ndarray, fields: TrunkFields, rng: np.random.Generator
) -> None:
    grid, wall = fields.grid, rng.uniform(3, 7)
    grid.fill(stomach, 50.0, texture=8.0)
    fluid, grain = rng.choice([10.0, 40.0, 250.0], p=[0.5, 0.4, 0.1]), rng.uniform(3, 80)
    grid.fill(stomach + wall, fluid, texture=grain)
    level = rng.uniform(-20, 45)
    grid.fill(np.maximum(stomach + wall, level - grid.points[..., 1]), -980.0)


def _paint_kidneys(canvas: Canvas, trunk: Trunk, rng: np.random.Generator) -> None:
    p, t = trunk.p, trunk.p.tissue
    pelvis_hu = rng.choice([10.0, 900.0], p=[0.75, 0.25])
    for side in (1, -1):
        center = np.array([p.midline + side * 60, -72, -165 - 8 * side]) + rng.normal(0, 6, 3)
        turn = np.array([[1, 0, 0.25 * side], [0, 1, 0], [-0.25 * side, 0, 1]]) / np.array([1.03, 1, 1.03])
        axes = np.array([27, 25, 55]) * rng.uniform(0.85, 1.15)
        canvas.ellipsoid(Ellipsoid(center, axes, turn), t["kidney"], texture=p.noise)
        canvas.ellipsoid(Ellipsoid(center, axes * 0.75, turn), 0.7 * t["kidney"] + 10, texture=25.0)
        inner = center + np.array([-side * 10, 4, 0])
        canvas.ellipsoid(Ellipsoid(inner, axes * [0.5, 0.4, 0.5], turn), t["fat"] + 40)
        canvas.ellipsoid(Ellipsoid(inner, axes * [0.25, 0.22, 0.35], turn), pelvis_hu)


def _paint_vessels(canvas: Canvas, trunk: Trunk, rng: np.random.Generator) -> None:
    p, m = trunk.p, trunk.p.midline
    venous = rng.uniform(0.3, 0.9) * p.left_blood_hu + 20
    cava = spline(np.array([[m + 20, -34, -85], [m + 22, -58, -130], [m + 18, -58, -190], [m + 12, -52, -255]]), 10)
    canvas.tube(cava, np.full(len(cava), rng.uniform(8, 13)), venous, texture=0.1 * venous)
    fork = np.array([m - 4, -48, -250.0])
    for side in (1, -1):
        knots = [
            fork,
            fork + [side * 30, -14, -40],
            [m + side * 62, -30, -340],
            [m + side * 84, 12, -395],
            [m + side * 90, 8, -470],
        ]
        path = spline(np.array(knots), 12)
        canvas.tube(path, np.linspace(6, 4.5, len(path)), p.left_blood_hu)
        canvas.tube(path + [side * -10, -8, 0], np.linspace(8, 6, len(path)), venous)
        renal = spline(np.array([[m - 4, -58, -160], [m + side * 30, -62, -162], [m + side * 46, -66, -165]]), 10)
        canvas.tube(renal, np.full(len(renal), 3.5), p.left_blood_hu)
        psoas = spline(
            np.array(
                [
                    [m + side * 28, -76, -150],
                    [m + side * 40, -68, -250],
                    [m + side * 66, -30, -350],
                    [m + side * 88, -22, -420],
                ]
            ),
            14,
        )
        canvas.tube(psoas, np.linspace(12, 24, len(psoas)), p.tissue["muscle"], texture=p.noise)
    front = spline(np.array([[m - 2, -50, -135], [m - 2, -24, -160], [m + 6, -8, -230]]), 10)
    canvas.tube(front, np.full(len(front), 3.5), p.left_blood_hu)
    canvas.tube(front + [12, 0, 0], np.full(len(front), 5.5), venous)


def _paint_liver_vessels(canvas: Canvas, trunk: Trunk, rng: np.random.Generator) -> None:
    p, m, r = trunk.p, trunk.p.midline, trunk.p.dome_right
    hu = p.tissue["liver"] + rng.uniform(-30, 90)
    gate, back = np.array([m + 32, -20, r - 78]), np.array([m + 22, -46, r - 30])
    for _ in range(7):
        end = np.array([m + rng.uniform(0, 115), rng.uniform(-75, 35), r - rng.uniform(30, 105)])
        start = gate if rng.random() < 0.5 else back
        path = spline(np.array([start, 0.5 * (start + end) + rng.normal(0, 8, 3), end]), 14)
        canvas.tube(path, np.linspace(5, 2, len(path)), hu)
    for _ in range(int(rng.integers(0, 4))):
        center = np.array([m + rng.uniform(30, 110), rng.uniform(-60, 20), r - rng.uniform(40, 100)])
        canvas.ellipsoid(Ellipsoid(center, rng.uniform(4, 18, 3), np.eye(3)), rng.uniform(0, 120))


def _paint_bowel(
    canvas: Canvas, trunk: Trunk, inside: np.ndarray, fields: TrunkFields, rng: np.random.Generator
) -> None:
    """Small bowel as loops in the middle, colon as a frame with gas and stool."""
    m, hu = trunk.p.midline, trunk.p.tissue["bowel"]
    content = rng.choice([15.0, 250.0], p=[0.8, 0.2])
    size = rng.uniform(9, 15)
    heights = np.linspace(-150, -385, 62) + rng.normal(0, 16, 62)
    spread = 90 * np.interp(heights, [-390, -340, -200], [0.4, 0.9, 1.0])
    loops = spline(np.stack([m + rng.uniform(-1, 1, 62) * spread, rng.uniform(-38, 44, 62), heights], axis=1), 14)
    canvas.tube(loops, np.full(len(loops), size), hu, texture=10.0)
    canvas.tube(loops, np.full(len(loops), size - 3.5), content, texture=25.0)
    frame = [
        (92, -12, -330),
        (98, -28, -240),
        (92, -14, -165),
        (50, 34, -158),
        (-10, 46, -168),
        (-60, 36, -150),
        (-96, -34, -140),
        (-100, -40, -240),
        (-94, -28, -320),
        (-40, -20, -370),
        (0, -60, -375),
        (0, -85, -420),
    ]
    colon = spline(np.array([(m + x, y, z) for x, y, z in frame]) + rng.normal(0, 7, (12, 3)), 14)
    wide = rng.uniform(15, 26) * (1 + 0.15 * np.sin(np.arange(len(colon)) * 1.3))
    canvas.tube(colon, wide, hu, texture=10.0)
    for i in range(0, len(colon) - 3, 3):
        stool = rng.random() < 0.55
        value, grain = (rng.uniform(-250, 60), 160.0) if stool else (-960.0, 5.0)
        canvas.tube(colon[i : i + 4], wide[i : i + 4] - 3, value, texture=grain)
