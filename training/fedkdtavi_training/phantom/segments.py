"""Many short tubes at once: those that miss the grid are dropped together before any is painted."""

from __future__ import annotations

import numpy as np

from .canvas import Canvas


def paint_segments(
    canvas: Canvas,
    start: np.ndarray,
    stop: np.ndarray,
    radius_start: np.ndarray,
    radius_stop: np.ndarray,
    hu: float,
    **how: object,
) -> None:
    """Paint cones from ``start`` (S, 3) to ``stop`` (S, 3) mm with radii (S,); ``how`` as in Canvas.paint.

    Each segment is painted in its own small box, which for thin branches is far less than the tree's.
    Tubes thinner than a voxel keep their mass: their opacity falls instead of their width.
    """
    grid, pose = canvas.grid, canvas.pose
    margin = float(np.abs(pose.warp.amplitude).sum(axis=0).max(initial=0.0))
    middle = 0.5 * (start + stop)
    body = middle - pose.warp(middle.astype(np.float32))  # first order; the rest is in the margin below
    half = np.abs((stop - start) @ pose.rotation.T) / 2
    reach = half + (np.maximum(radius_start, radius_stop) + 0.5 * margin)[:, None]
    reach_voxels = pose.scale * reach / grid.spacing + 1
    ijk = grid.to_ijk(pose.origin + pose.scale * body @ pose.rotation.T)
    hit = np.all((ijk + reach_voxels > 0) & (ijk - reach_voxels < np.asarray(grid.shape) - 1), axis=1)
    thin = 0.45 * canvas.voxel
    for i in np.flatnonzero(hit):
        low = np.maximum(np.floor(ijk[i] - reach_voxels[i]).astype(int), 0)
        high = np.minimum(np.ceil(ijk[i] + reach_voxels[i]).astype(int) + 1, grid.shape)
        region = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
        along = (stop[i] - start[i]).astype(np.float32)
        relative = canvas.points[region] - start[i].astype(np.float32)
        t = np.clip(relative @ along / np.float32(along @ along + 1e-6), 0, 1)
        radius = np.float32(radius_start[i]) + np.float32(radius_stop[i] - radius_start[i]) * t
        wide = np.maximum(radius, np.float32(thin))
        relative -= t[..., None] * along
        alpha = canvas.coverage(np.sqrt((relative * relative).sum(-1)) - wide) * (radius / wide) ** 2
        canvas.paint(region, alpha, hu, **how)
