"""A stand-in for the phantom: balls in noise, so that the training's own tests need not render anatomy."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fedkdtavi_core import schema
from fedkdtavi_core.volume import Grid
from fedkdtavi_training import cache
from fedkdtavi_training.phantom.render import Crop

# mm from the root's centre, RAS: hinges R, L, N below, ostia above, membranous septum between R and N.
PLACES = {
    "hinge_rcc": (0, 12, -8),
    "hinge_lcc": (-11, -6, -8),
    "hinge_ncc": (11, -6, -8),
    "ostium_rca": (1, 15, 7),
    "ostium_lca": (-14, -5, 6),
    "ms_upper": (9, 7, -4),
    "ms_lower": (9, 7, -10),
}


def make(seed: int, size: int, spacing: float, *, root: bool = True) -> Crop:
    """A bright tube with a ball of its own brightness at every landmark; one in six cases misses ``ms_upper``."""
    rng = np.random.default_rng(seed)
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:3, 3] = rng.normal(0, 50, 3)
    grid = Grid((size,) * 3, affine)
    centre = (np.array(grid.shape) - 1) / 2 * spacing + rng.normal(0, 2, 3)
    x, y, z = (np.arange(size) * spacing - c for c in centre)
    axes = np.meshgrid(x, y, z, indexing="ij")
    hu = rng.normal(40, 20, grid.shape).astype(np.float32)
    heart = np.zeros(grid.shape, np.uint8)
    calc = np.zeros(grid.shape, np.uint8)
    points: dict[str, np.ndarray | None] = dict.fromkeys(schema.LANDMARK_IDS)
    if root:
        tube = (np.hypot(axes[0], axes[1]) < 14) & (np.abs(axes[2]) < 30)
        hu[tube] += 250
        heart[tube] = 6
        for number, (name, place) in enumerate(PLACES.items()):
            place = np.array(place) + rng.normal(0, 1.5, 3)
            ball = sum((a - p) ** 2 for a, p in zip(axes, place, strict=True)) < 4.5**2
            hu[ball] = 400 + 120 * number
            if name == "ms_upper" and seed % 6 == 5:
                continue
            points[name] = place + centre + affine[:3, 3]
        calc[(np.abs(axes[2] - 3) < 3) & (np.hypot(axes[0] - 4, axes[1]) < 4)] = 1
        hu[calc > 0] = 1400
    return Crop(hu.astype(np.int16), grid, points, calc, heart, {"kind": "standin"})


def write_cache(folder: Path, count: int, kind: str) -> Path:
    """``count`` stand-ins of ``kind`` crop or chest as a cache."""
    folder.mkdir(parents=True, exist_ok=True)
    for n in range(count):
        case = make(n, 96, 1.25) if kind == "crop" else make(n, 64, 4.0, root=n % 4 != 3)
        cache.save(folder / f"case_{n:06d}.npz", case)
    return folder
