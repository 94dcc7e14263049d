"""Great vessels above and behind the heart: arch with its branches, descending aorta, veins, and the oesophagus."""

from __future__ import annotations

import numpy as np

from fedkdtavi_core.schema import HEART_CLASSES

from .canvas import Canvas
from .context import ContextParameters
from .shapes import spline

AORTA = HEART_CLASSES.index("aorta")


def arch_path(p: ContextParameters) -> tuple[np.ndarray, np.ndarray]:
    """Centre line (N, 3) mm and radii (N,) from the ascending aorta's end over the arch to the aortic bifurcation."""
    start = np.asarray(p.arch_start, float)
    ahead = np.asarray(p.arch_direction, float) / np.linalg.norm(p.arch_direction)
    x, y = p.descending
    top = max(start[2] + 18, 82.0)
    knots = [
        start,
        start + 10 * ahead,
        np.array([0.72 * start[0] + 0.28 * x, 0.68 * start[1] + 0.32 * y, top]),
        np.array([0.30 * start[0] + 0.70 * x, 0.30 * start[1] + 0.70 * y, top - 1]),
        np.array([x - 2, y - 1, top - 28]),
        np.array([x, y, 20]),
        np.array([0.7 * x + 0.3 * p.midline, y + 2, -60]),
        np.array([p.midline - 8, -66, -130]),
        np.array([p.midline - 4, -48, -250]),
    ]
    path = spline(np.array(knots), 6)
    along = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))])
    radii = p.arch_radius * np.interp(along, [0, 60, 130, 260, 450], [1.0, 0.92, 0.82, 0.76, 0.6])
    return path, radii


def _branches(p: ContextParameters, top: np.ndarray) -> list[tuple[np.ndarray, float]]:
    """Paths and radii of the arch's branches; ``top`` (3, 3) are their roots from right to left."""
    m, neck = p.midline, 230.0
    first = top[0] + [4, -4, 34]
    return [
        (np.array([top[0], first]), 6.5),
        (np.array([first, [m + 26, -34, 160], [m + 30, -38, neck], [m + 30, -42, 300]]), 3.8),
        (np.array([first, [m + 40, -40, 140], [m + 78, -42, 150], [m + 130, -45, 140]]), 4.2),
        (np.array([top[1], top[1] + [-8, -4, 40], [m - 28, -36, 165], [m - 30, -38, neck], [m - 30, -42, 300]]), 3.6),
        (np.array([top[2], top[2] + [-10, -2, 36], [m - 46, -44, 148], [m - 130, -45, 140]]), 4.6),
    ]


def paint_aorta(canvas: Canvas, p: ContextParameters, rng: np.random.Generator) -> None:
    """Wall and lumen of arch, descending aorta and branches; class aorta, without the branches."""
    path, radii = arch_path(p)
    wall = rng.uniform(1.0, 3.0)
    soft = {"texture": 0.02 * p.left_blood_hu}
    roots = path[[int(np.argmin(np.abs(path[:40, 1] - y))) for y in np.linspace(path[2, 1] - 6, path[24, 1] * 0.8, 3)]]
    canvas.tube(path, radii, p.tissue["fat"], grow=wall + 3)
    for knots, radius in _branches(p, roots):
        branch = spline(knots, 10)
        canvas.tube(branch, np.full(len(branch), radius), 40.0, grow=1.0)
        canvas.tube(branch, np.full(len(branch), radius), p.left_blood_hu, **soft)
    canvas.tube(path, radii, 45.0, grow=wall)
    canvas.tube(path, radii, p.left_blood_hu, heart=AORTA, **soft)
    for i in rng.integers(10, len(path), int(rng.integers(0, 14))):  # atheroma
        if rng.random() < 0.7:
            aside = rng.normal(size=3)
            spot = path[i] + radii[i] * aside / np.linalg.norm(aside)
            canvas.tube(
                np.array([spot, spot + rng.normal(0, 2, 3)]), np.full(2, rng.uniform(1, 3)), rng.uniform(400, 1300)
            )


def paint_veins(canvas: Canvas, p: ContextParameters, rng: np.random.Generator) -> None:
    """Superior vena cava, brachiocephalic, subclavian and jugular veins, azygos; dense contrast in one arm's vein."""
    m = p.midline
    cava_hu = p.superior_cava_hu if p.superior_cava_hu is not None else p.right_blood_hu
    confluence = np.array([m + 24, -4, 100.0]) + rng.normal(0, 3, 3)
    cava = spline(np.array([[40, -8, 10], [38, -7, 60], confluence]), 8)
    right = spline(
        np.array([confluence, [m + 34, -16, 130], [m + 44, -22, 148], [m + 90, -32, 155], [m + 135, -40, 140]]), 10
    )
    left = spline(
        np.array([confluence, [m - 5, 10, 110], [m - 34, -8, 138], [m - 60, -24, 152], [m - 135, -40, 140]]), 10
    )
    sides = {1: right, -1: left}
    size = rng.uniform(5, 8)
    for side, path in sides.items():
        hu = max(p.dense_hu, cava_hu) if p.dense_side == side else rng.uniform(5, 40) + 0.4 * p.right_blood_hu
        canvas.tube(path, np.full(len(path), size), 40.0, grow=0.8)
        canvas.tube(path, np.full(len(path), size), hu, texture=0.15 * hu)
        jugular = spline(np.array([path[len(path) // 3], [m + side * 40, -38, 200], [m + side * 42, -46, 300]]), 14)
        canvas.tube(jugular, np.full(len(jugular), 0.8 * size), 0.5 * p.left_blood_hu + 30)
    canvas.tube(cava, np.full(len(cava), rng.uniform(7, 11)), cava_hu, texture=0.15 * abs(cava_hu))
    back = np.array([m + 6, -76, 0.0])
    azygos = spline(np.array([back + [0, 0, -90], back, back + [2, 0, 55], [m + 20, -50, 70], cava[-3]]), 10)
    canvas.tube(azygos, np.full(len(azygos), rng.uniform(2.5, 5)), 0.6 * cava_hu + 20)


def paint_oesophagus(canvas: Canvas, p: ContextParameters, rng: np.random.Generator) -> None:
    """A muscular tube before the spine, sometimes holding air."""
    m = p.midline
    path = spline(
        np.array(
            [
                [m - 2, -52, 215],
                [m - 4, -64, 140],
                [m - 8, -66, 60],
                [m - 8, -62, 0],
                [m - 16, -52, -60],
                [m - 34, -30, -92],
            ]
        ),
        10,
    )
    radius = rng.uniform(5, 10)
    canvas.tube(path, np.full(len(path), radius), rng.uniform(30, 70), texture=8.0)
    if rng.random() < 0.5:
        part = path[int(rng.integers(0, 8)) :][: int(rng.integers(3, len(path)))]
        if len(part) > 1:
            canvas.tube(
                part, np.full(len(part), radius * rng.uniform(0.2, 0.65)), rng.choice([-900.0, 10.0], p=[0.8, 0.2])
            )
