"""Lungs: parenchyma with its texture, vessels and bronchi as branching trees, and what sickness adds."""

from __future__ import annotations

import numpy as np

from .canvas import Canvas
from .context import ContextParameters
from .segments import paint_segments
from .shapes import spline
from .trunk import Trunk, TrunkFields


def paint_lungs(canvas: Canvas, trunk: Trunk, fields: TrunkFields, rng: np.random.Generator) -> None:
    """Parenchyma, effusions, atelectasis, vessels, nodules."""
    p, grid = trunk.p, fields.grid
    lung = np.maximum.reduce([fields.cavity + 2, -fields.mediastinum, 1 - fields.diaphragm])
    if not np.any(lung < 2):
        return
    gradient, grain = rng.uniform(0, 0.9), rng.uniform(10, 35)
    y_low = -120.0

    def parenchyma(region: tuple) -> np.ndarray:
        points = canvas.points[region]
        hu = p.lung_hu + np.float32(gradient) * np.maximum(-20 - points[..., 1], 0)
        if p.emphysema:
            hu -= np.float32(110 * p.emphysema) * (canvas.texture[region] > 0.4 + 0.8 * (1 - p.emphysema))
        if p.atelectasis_mm:
            depth = np.clip((np.float32(y_low + p.atelectasis_mm) - points[..., 1]) / 6, 0, 1)
            hu += depth * np.float32(600)
        return hu

    grid.fill(lung, parenchyma, texture=grain)
    x = grid.points[..., 0] - np.float32(p.midline)
    for side, depth in zip((1, -1), p.effusion_mm, strict=True):
        if depth:
            level = grid.points[..., 1] - np.float32(y_low + depth) + 0.06 * grid.points[..., 2]
            grid.fill(
                np.maximum.reduce([lung - 0.6 * canvas.voxel, level, -side * x]), rng.uniform(0, 25), texture=p.noise
            )
    _paint_trees(canvas, trunk, rng)
    _paint_nodules(canvas, trunk, rng)


def hila(p: ContextParameters) -> dict[str, np.ndarray]:
    """Where pulmonary arteries and veins of each side enter the lungs."""
    return {
        "artery_right": np.array([62.0, -30, 36]),
        "artery_left": np.array([-60.0, -40, 42]),
        "vein_right_up": np.array([58.0, -52, 28]),
        "vein_right_low": np.array([56.0, -56, -18]),
        "vein_left_up": np.array([-56.0, -52, 28]),
        "vein_left_low": np.array([-54.0, -56, -20]),
    }


def _targets(trunk: Trunk, rng: np.random.Generator, count: int, side: int) -> np.ndarray:
    """Points inside one lung, at least 4 mm deep; (n, 3) with n about ``count``."""
    p = trunk.p
    low = np.array([-130 * p.width, -130, -130])
    high = np.array([130 * p.width, 60, p.apex_z])
    points = (rng.uniform(low, high, (count * 9, 3)) + [p.midline, 0, 0]).astype(np.float32)
    points = points[side * (points[:, 0] - p.midline) > 0]
    return points[trunk.lung(points) < -4][:count]


def grow_tree(
    root: np.ndarray, targets: np.ndarray, tip_mm: float, trunk_mm: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """A tree from ``root`` to every target: ends (S, 3) twice and radii (S,) twice, after Murray's law.

    Targets join in order of their distance from the root, each to the node that makes the shortest way in all.
    """
    order = np.argsort(np.linalg.norm(targets - root, axis=1))
    nodes, parent, way = [np.asarray(root, float)], [-1], [0.0]
    for target in targets[order]:
        known = np.array(nodes)
        gap = np.linalg.norm(known - target, axis=1)
        best = int(np.argmin(gap + 0.6 * np.array(way)))
        middle = 0.5 * (known[best] + target) + 0.12 * gap[best] * np.array([0.3, -0.2, 0.4])
        for point in (middle, np.asarray(target, float)):
            nodes.append(point)
            parent.append(best)
            way.append(way[best] + float(np.linalg.norm(point - nodes[best])))
            best = len(nodes) - 1
    load = np.zeros(len(nodes))
    is_tip = np.ones(len(nodes), bool)
    is_tip[[i for i in parent if i >= 0]] = False
    load[is_tip] = 1.0
    for i in range(len(nodes) - 1, 0, -1):
        load[parent[i]] += load[i]
    radius = tip_mm * load ** (1 / 2.6)
    radius *= min(1.0, trunk_mm / radius[0])
    child = np.arange(1, len(nodes))
    known, up = np.array(nodes), np.array(parent)[1:]
    return known[up], known[child], np.minimum(radius[up], 1.25 * radius[child]), radius[child]


def _paint_trees(canvas: Canvas, trunk: Trunk, rng: np.random.Generator) -> None:
    p, places = trunk.p, hila(trunk.p)
    count, tip = int(rng.integers(50, 120)), rng.uniform(0.7, 1.4)
    trees = (
        ("artery_right", 1, p.right_blood_hu, 1.0),
        ("artery_left", -1, p.right_blood_hu, 1.0),
        ("vein_right_up", 1, p.left_blood_hu, 0.4),
        ("vein_right_low", 1, p.left_blood_hu, 0.4),
        ("vein_left_up", -1, p.left_blood_hu, 0.4),
        ("vein_left_low", -1, p.left_blood_hu, 0.4),
    )
    for name, side, hu, share in trees:
        targets = _targets(trunk, rng, int(count * share), side)
        if name.endswith("up"):
            targets = targets[targets[:, 2] > 0]
        elif name.endswith("low"):
            targets = targets[targets[:, 2] < 20]
        if len(targets):
            paint_segments(canvas, *grow_tree(places[name], targets, tip, 8.0), max(hu, 40.0))


def airway(p: ContextParameters) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Paths and radii (mm) of trachea and main bronchi."""
    carina = np.array([2 + 0.5 * p.midline, -44, 62.0])
    top = np.array([p.midline, -30, 215.0])
    tube = spline(np.array([top, [p.midline, -42, 150], carina + [0, 0, 30], carina]), 8)
    right = spline(np.array([carina, carina + [18, -4, -16], [50, -44, 30], [64, -50, 12]]), 6)
    left = spline(np.array([carina, carina + [-20, -8, -16], [-40, -50, 38], [-58, -56, 18]]), 6)
    return {
        "trachea": (tube, np.full(len(tube), 8.5)),
        "right": (right, np.linspace(7, 3.5, len(right))),
        "left": (left, np.linspace(6.5, 3.2, len(left))),
    }


def paint_airway(canvas: Canvas, p: ContextParameters, rng: np.random.Generator) -> None:
    """Wall and air of trachea and main bronchi."""
    wide, wall = rng.uniform(0.75, 1.25), rng.uniform(0.8, 2.0)
    for grow, hu in ((wall, 40.0), (0.0, -980.0)):
        for path, radii in airway(p).values():
            canvas.tube(path, radii * wide, hu, grow=grow)


def _paint_nodules(canvas: Canvas, trunk: Trunk, rng: np.random.Generator) -> None:
    count = int(rng.integers(0, 4)) if rng.random() < 0.4 else 0
    places, sizes = _targets(trunk, rng, 4, int(rng.choice([-1, 1]))), np.exp(rng.uniform(0.7, 3.1, 4))
    for place, size in list(zip(places, sizes, strict=False))[:count]:
        center = place.astype(np.float32)
        canvas.shape(
            place - size,
            place + size,
            lambda q, c=center, s=size: np.sqrt(((q - c) ** 2).sum(-1)) - np.float32(s),
            40.0,
        )
