"""Sternum, clavicles, scapulae and arms."""

from __future__ import annotations

import numpy as np

from .canvas import Canvas
from .habitus import Habitus
from .shapes import spline
from .smooth import SmoothGrid
from .trunk import Trunk


def paint_bone_tube(canvas: Canvas, path: np.ndarray, radii: np.ndarray, cortical: float, marrow: float) -> None:
    """A long bone: cortex about a third of the radius thick around marrow."""
    region, distance = canvas.tube_distance(path, np.asarray(radii, float))
    canvas.paint(region, canvas.coverage(distance) if region else None, cortical)
    core = 0.38 * np.float32(np.mean(radii))
    canvas.paint(region, canvas.coverage(distance + core) if region else None, marrow)


def paint_sternum(canvas: Canvas, trunk: Trunk, rng: np.random.Generator) -> None:
    """Manubrium, body and xiphoid on the front wall, with wires after a sternotomy."""
    p, t, habitus = trunk.p, trunk.p.tissue, trunk.habitus
    top, bottom = p.apex_z - rng.uniform(25, 40), -rng.uniform(0, 40)
    heights = np.linspace(top, bottom, 24)
    line = np.array([habitus.surface(np.pi / 2, z, "cavity", 6.0) for z in heights])
    half = np.interp(np.linspace(0, 1, 24), [0, 0.2, 0.35, 0.8, 0.9, 1], [27, 20, 15, 18, 12, 4])
    thick = rng.uniform(3.8, 6.0)
    low, high = line.min(axis=0) - [30, 10, 0], line.max(axis=0) + [30, 10, 0]
    region = canvas.region(low, high)
    if region is not None:
        q = canvas.points[region]
        table_z = np.arange(bottom, top, 1.0)
        row = np.clip((q[..., 2] - np.float32(bottom)).astype(np.int32), 0, len(table_z) - 1)
        front = np.interp(table_z, heights[::-1], line[::-1, 1]).astype(np.float32)[row]
        wide = np.interp(table_z, heights[::-1], half[::-1]).astype(np.float32)[row]
        aside, depth = np.abs(q[..., 0] - np.float32(p.midline)) - wide, np.abs(q[..., 1] - front) - np.float32(thick)
        plate = np.maximum.reduce([aside, depth, q[..., 2] - np.float32(top), np.float32(bottom) - q[..., 2]])
        core = np.clip(-plate / 2.0, 0, 1)
        hu = t["cortical"] * 0.6 * (1 - core) + t["trabecular"] * 0.7 * core
        canvas.paint(region, canvas.coverage(plate), hu, texture=20.0)
    if p.sternal_wires:
        for z in np.linspace(top - 12, bottom + 25, int(rng.integers(5, 8))):
            center = habitus.surface(np.pi / 2, float(z), "cavity", 6.0)
            turn = np.linspace(0, 2 * np.pi, 13)
            loop = center + np.stack([17 * np.cos(turn), 8 * np.sin(turn), 3 * np.sin(2 * turn)], axis=1)
            canvas.tube(loop, np.full(13, 0.9), 3000.0)


def paint_shoulders(canvas: Canvas, grid: SmoothGrid, trunk: Trunk, rng: np.random.Generator) -> None:
    """Clavicles, scapulae with humeral heads, and the arms where the patient holds them."""
    p, t = trunk.p, trunk.p.tissue
    posture = {"up": ("up", "up"), "down": ("down", "down"), "one": ("up", "down"), "none": ("", "")}[p.arms]
    if rng.random() < 0.5:
        posture = posture[::-1]
    thick, long = rng.uniform(0.75, 1.3), rng.uniform(0.85, 1.1)
    angles = rng.uniform(-1, 1, (2, 3))
    for side, arm, angle in zip((1, -1), posture, angles, strict=True):
        joint = np.array([p.midline + side * (150 * p.width + 0.5 * p.shoulder_mm), -52.0, p.apex_z - 22])
        if arm == "up":
            joint += [-side * 6, 4, 18]
        if arm:
            _paint_arm(canvas, trunk, joint, side, arm, thick, long * (1 + 0.05 * angle[0]), angle)
        _paint_scapula(canvas, grid, trunk, side, joint)
        inner = trunk.habitus.surface(np.pi / 2 - side * 0.25, p.apex_z - 28, "cavity", 8.0)
        path = spline(np.array([inner, inner + [side * 40, -12, 12], joint + [-side * 22, -4, 18]]), 8)
        paint_bone_tube(canvas, path, np.full(len(path), 5.8), t["cortical"], t["trabecular"])
        canvas.shape(joint - 26, joint + 26, lambda q, c=joint: _ball(q, c, 22), t["cortical"] * 0.7)
        canvas.shape(joint - 26, joint + 26, lambda q, c=joint: _ball(q, c, 20), t["trabecular"], texture=20.0)


def _ball(points: np.ndarray, center: np.ndarray, radius: float) -> np.ndarray:
    relative = points - center.astype(np.float32)
    return np.sqrt((relative * relative).sum(-1)) - np.float32(radius)


def _paint_arm(
    canvas: Canvas, trunk: Trunk, joint: np.ndarray, side: int, arm: str, thick: float, long: float, angle: np.ndarray
) -> None:
    p, t = trunk.p, trunk.p.tissue
    if arm == "up":
        elbow = joint + long * np.array([side * (-10 + 60 * angle[1]), 20 + 25 * angle[2], 280])
        hand = elbow + np.array([-side * 150, 10, 150 * (0.3 + 0.7 * abs(angle[0]))])
    else:
        elbow = joint + long * np.array([side * (32 + 15 * angle[1]), -8 + 20 * angle[2], -290])
        hand = elbow + (np.array([side * 5, 20, -240]) if angle[0] > 0 else np.array([-side * 170, 150, 20]))
    upper, fore = spline(np.array([joint, 0.5 * (joint + elbow), elbow]), 25), spline(np.array([elbow, hand]), 25)
    flesh, fat = 36 * thick + 0.4 * p.muscle_mm, 2 + 0.5 * p.fat_mm
    sizes = ((upper, np.linspace(flesh + 8, flesh, len(upper))), (fore, np.linspace(flesh - 2, flesh - 14, len(fore))))
    for grow, hu in ((fat + 2, 20.0), (fat, t["fat"])):
        for path, radii in sizes:  # within the shoulder, an arm has no skin of its own
            free = trunk.habitus.distance(path.astype(np.float32), "muscle") > 0.4 * flesh
            if np.count_nonzero(free) > 1:
                canvas.tube(path[free], radii[free], hu, grow=grow, texture=5.0)
    for path, radii in sizes:
        canvas.tube(path, radii, t["muscle"], texture=p.noise + 5)
    paint_bone_tube(canvas, upper, np.full(len(upper), 11.0), t["cortical"] * 1.3, 40.0)
    for offset in (-9, 9):
        paint_bone_tube(canvas, fore + [offset, 0, 0], np.full(len(fore), 7.0), t["cortical"] * 1.3, 40.0)


def _paint_scapula(canvas: Canvas, grid: SmoothGrid, trunk: Trunk, side: int, joint: np.ndarray) -> None:
    """A thin blade along the back of the rib cage, thickened towards the joint, with its spine."""
    p, t, habitus = trunk.p, trunk.p.tissue, trunk.habitus
    turns = [1.5 * np.pi + side * a for a in (0.45, 0.75, 1.1)]
    top, tip = p.apex_z - 18, p.apex_z - 18 - 118
    corners = [
        habitus.surface(turns[0], top - 10, "cavity", 20),
        habitus.surface(turns[0] + side * 0.1, tip, "cavity", 16),
        joint + [-side * 24, -8, -6],
    ]
    _paint_blade(canvas, np.array(corners), 2.6, t["cortical"] * 0.8)
    border = spline(np.array([corners[2], 0.5 * (corners[1] + corners[2]) + [side * 2, -4, 0], corners[1]]), 12)
    paint_bone_tube(canvas, border, np.full(len(border), 4.5), t["cortical"], t["trabecular"])
    ridge = spline(
        np.array([corners[0] + [0, -4, -18], 0.5 * (corners[0] + joint) + [0, -16, 0], joint + [0, -14, 16]]), 12
    )
    paint_bone_tube(canvas, ridge, np.linspace(4, 7, len(ridge)), t["cortical"], t["trabecular"])


def _paint_blade(canvas: Canvas, corners: np.ndarray, half_thickness: float, hu: float) -> None:
    """A flat triangle (3, 3) mm of bone."""
    a, b, c = corners
    normal = np.cross(b - a, c - a)
    normal /= np.linalg.norm(normal)
    edges = []
    for start, stop, other in ((a, b, c), (b, c, a), (c, a, b)):
        outward = np.cross(stop - start, normal)
        outward /= np.linalg.norm(outward)
        if outward @ (other - start) > 0:
            outward = -outward
        edges.append((start, outward))

    def distance(points: np.ndarray) -> np.ndarray:
        flat = np.abs((points - a.astype(np.float32)) @ normal.astype(np.float32)) - np.float32(half_thickness)
        for start, outward in edges:
            flat = np.maximum(flat, (points - start.astype(np.float32)) @ outward.astype(np.float32))
        return flat

    canvas.shape(corners.min(axis=0) - 4, corners.max(axis=0) + 4, distance, hu)


def paint_table(canvas: Canvas, grid: SmoothGrid, habitus: Habitus, rng: np.random.Generator) -> None:
    """The couch under the back: a curved or flat shell of carbon fibre around foam."""
    back = float(
        min(
            habitus.surface(1.5 * np.pi + a, z, "skin")[1]
            for a in (-0.4, 0.0, 0.4)
            for z in (-150.0, -50.0, 50.0, 120.0)
        )
    )
    top = back - rng.uniform(0, 25)
    curve, thick, half = rng.uniform(0, 0.0012), rng.uniform(15, 60), rng.uniform(190, 270)
    shell_hu, foam_hu = rng.uniform(-650, 250), rng.uniform(-960, -800)
    x, y = grid.points[..., 0] - np.float32(habitus.midline), grid.points[..., 1]
    surface = top + np.float32(curve) * np.minimum(x * x, 200.0**2)
    plate = np.maximum.reduce([y - surface, surface - np.float32(thick) - y, np.abs(x) - np.float32(half)])
    grid.fill(plate, shell_hu)
    grid.fill(plate + rng.uniform(2, 6), foam_hu)
    if rng.random() < 0.5:  # a mattress
        soft = np.maximum.reduce([y - surface - rng.uniform(5, 25), surface - y, np.abs(x) - np.float32(half)])
        grid.fill(soft, rng.uniform(-930, -700))
