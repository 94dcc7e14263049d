"""Reading a CT at points, touching only the voxels around them."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from ..volume import Volume


def in_plane_axes(normal: np.ndarray, towards: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Unit normal and two in-plane axes (u, v), right-handed (u x v = n).

    ``u`` points as nearly as possible along ``towards`` (3,), or along the body axis least parallel to the normal.
    """
    n = np.asarray(normal, float) / np.linalg.norm(normal)
    hint = np.eye(3)[np.argmin(np.abs(n))] if towards is None else np.asarray(towards, float)
    u = hint - (hint @ n) * n
    u = u / np.linalg.norm(u)
    return n, u, np.cross(n, u)


def sample(volume: Volume, points: np.ndarray) -> np.ndarray:
    """HU at ``points`` (..., 3) RAS mm, linearly interpolated, float32 (...); NaN outside the voxels' extent."""
    points = np.asarray(points, float)
    ijk = volume.grid.to_ijk(points).reshape(-1, 3)
    shape = np.asarray(volume.array.shape)
    result = np.full(len(ijk), np.nan, np.float32)
    inside = np.all((ijk >= -0.5) & (ijk <= shape - 0.5), axis=1)
    if inside.any():
        low = np.clip(np.floor(ijk[inside].min(axis=0)).astype(int), 0, shape - 1)
        high = np.clip(np.ceil(ijk[inside].max(axis=0)).astype(int) + 1, low + 1, shape)
        box = np.asarray(volume.array[tuple(slice(a, b) for a, b in zip(low, high, strict=True))], np.float32)
        result[inside] = ndimage.map_coordinates(box, (ijk[inside] - low).T, order=1, mode="nearest")
    return result.reshape(points.shape[:-1])


def voxels_in_cylinder(
    volume: Volume, centre: np.ndarray, axis: np.ndarray, radius: float, low: float, high: float
) -> np.ndarray:
    """HU (n,) float32 of the CT's own voxels inside a cylinder (mm): no interpolation, so noise stays as it is.

    Args:
        centre: (3,) RAS mm; ``axis``: (3,) unit vector.
        radius: mm around the axis; ``low`` and ``high``: extent in mm along the axis, relative to the centre.
    """
    grid = volume.grid
    corners = np.asarray(centre, float) + np.outer((low, high), axis)
    reach = radius * np.sqrt(np.clip(1 - np.asarray(axis, float) ** 2, 0, 1))
    box = np.array([corners.min(axis=0) - reach, corners.max(axis=0) + reach])
    first, last = grid.box_around(np.array(np.meshgrid(*box.T)).reshape(3, -1).T)
    if np.any(last <= first):
        return np.empty(0, np.float32)
    values = np.asarray(volume.array[tuple(slice(a, b) for a, b in zip(first, last, strict=True))], np.float32)
    ijk = np.stack(np.meshgrid(*(np.arange(a, b) for a, b in zip(first, last, strict=True)), indexing="ij"), axis=-1)
    offset = grid.to_ras(ijk) - centre
    along = offset @ np.asarray(axis, float)
    across = np.sqrt(np.maximum((offset**2).sum(axis=-1) - along**2, 0))
    return values[(along >= low) & (along <= high) & (across <= radius)]
