"""The spine in its own coordinates: height along it gives vertebra, disc and processes, all painted in one pass."""

from __future__ import annotations

import numpy as np

from .canvas import Canvas
from .context import ContextParameters

# Height, y of the vertebral bodies' centres, and their half widths.
_BODY = np.array(
    [
        (-430, -92, 6, 4),
        (-400, -100, 12, 7),
        (-360, -100, 28, 13),
        (-320, -88, 34, 18),
        (-290, -78, 27, 19),
        (-240, -70, 26, 19),
        (-180, -76, 24, 18),
        (-110, -88, 20, 17),
        (-50, -94, 18, 16),
        (0, -98, 17, 16),
        (60, -98, 16, 15),
        (110, -92, 15, 13),
        (150, -80, 14, 11),
        (190, -62, 13, 9),
        (230, -52, 12, 8),
        (290, -54, 11, 8),
    ],
    float,
)
# Heights at which discs lie: from L5/S1 upwards (no disc in the sacrum).
_DISCS = np.concatenate([np.arange(-312, -130, 33), np.arange(-124, 170, 24.5), np.arange(172, 290, 17)])


def spine_y(z: np.ndarray) -> np.ndarray:
    """Depth of the vertebral bodies' centres (mm) at heights ``z``."""
    return np.interp(z, _BODY[:, 0], _BODY[:, 1])


def paint_spine(canvas: Canvas, p: ContextParameters, rng: np.random.Generator) -> None:
    """Bodies with cortical shell and end plates, discs, canal, laminae, transverse and spinous processes."""
    t = p.tissue
    shift, bend = rng.uniform(-12, 12), rng.normal(0, 6)
    shell, density = rng.uniform(0.4, 0.9), rng.uniform(0.7, 1.2)
    disc, spur = rng.uniform(50, 120), rng.uniform(0, 4)
    for low_z, high_z in ((-420.0, -180.0), (-180.0, 60.0), (60.0, 292.0)):
        part = np.arange(low_z, high_z)
        front = float((spine_y(part) + np.interp(part, _BODY[:, 0], _BODY[:, 3])).max()) + 4
        region = canvas.region([p.midline - 52, -172, low_z], [p.midline + 52, front, high_z])
        if region is None:
            continue
        q = canvas.points[region]
        z = np.clip(q[..., 2], low_z, high_z)
        table_z = np.arange(-430, 300.0)
        row = (z - np.float32(table_z[0])).astype(np.int32)
        body_y, half_x, half_y = (
            np.interp(table_z, _BODY[:, 0], _BODY[:, c]).astype(np.float32)[row] for c in (1, 2, 3)
        )
        gap = np.abs(table_z[:, None] - shift - _DISCS).min(axis=1)  # mm to the nearest disc's middle
        sacrum = table_z < -318
        gap = np.where(sacrum, 15, gap).astype(np.float32)[row]
        scoliosis = bend * np.sin((table_z - 40) / 90)
        dx = q[..., 0] - np.float32(p.midline) - scoliosis.astype(np.float32)[row]
        dy = q[..., 1] - body_y
        sacral = np.clip((-300 - q[..., 2]) / 25, 0, 1)
        outside = np.maximum(low_z - q[..., 2], q[..., 2] - high_z)

        paraspinal = _ellipse(np.abs(dx) - 24, dy + 38, 20, 18)
        canvas.paint(
            region, canvas.coverage(np.maximum(paraspinal + 40 * sacral, outside)), t["muscle"], texture=p.noise + 8
        )
        near_disc = np.clip(1 - gap / 7, 0, 1)
        body = np.maximum(_ellipse(dx, dy, half_x + spur * near_disc, half_y), outside)
        thick = 2.0 + canvas.voxel * 0.3
        in_disc = canvas.coverage(gap - 3.0)
        plate = np.clip(1 - np.abs(gap - 4.5) / thick, 0, 1)
        rim = np.clip(1 + body / thick, 0, 1)
        bone = t["trabecular"] * density + t["cortical"] * shell * 0.6 * np.maximum(rim, plate)
        canvas.paint(region, canvas.coverage(body), bone * (1 - in_disc) + disc * in_disc, texture=25.0)

        behind = dy + half_y + 9
        ring = np.sqrt(dx * dx * 0.8 + behind * behind)
        arch = np.abs(ring - 11.5) - 3.0
        arch = np.maximum(arch, 4 - gap)
        transverse = np.maximum.reduce([np.abs(behind + 4) - 4.5, np.abs(dx) - half_x - 15 * (1 - sacral), 6 - gap])
        facet = np.sqrt((np.abs(dx) - 13) ** 2 + (behind + 7) ** 2) - 6.5
        spinous = np.maximum.reduce([np.abs(dx) - 3.2, behind + 9, 30 * sacral - 42 - behind, 4.5 - gap])
        posterior = np.minimum.reduce([arch, transverse, facet, spinous])
        posterior = np.maximum(np.maximum(posterior, outside), -body)
        core = np.clip(-posterior / 3, 0, 1)
        canvas.paint(region, canvas.coverage(posterior), t["cortical"] * shell * (0.8 - 0.5 * core), texture=30.0)
        canal = np.maximum(ring - 9.5, outside)
        canvas.paint(region, canvas.coverage(np.maximum(canal, -body)), 20.0)


def _ellipse(dx: np.ndarray, dy: np.ndarray, a: np.ndarray | float, b: np.ndarray | float) -> np.ndarray:
    ring = np.sqrt((dx / a) ** 2 + (dy / b) ** 2) + np.float32(1e-3)
    return np.sqrt(dx * dx + dy * dy) * (1 - 1 / ring)
