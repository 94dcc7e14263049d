"""From the calcium network's probability on its own grid to the CT's voxels that it takes for calcium."""

from __future__ import annotations

from itertools import product

import numpy as np
from scipy import ndimage

from .volume import Grid, Volume

# A deposit has to be seen this clearly once: what is doubtful all through is a bright wall, or noise.
SURE = 0.9


def in_voxels(
    volume: Volume, probability: np.ndarray, grid: Grid, at_least: float, sure: float = SURE
) -> tuple[np.ndarray, np.ndarray]:
    """Voxels of the CT over which the mean probability is at least ``at_least``, deposit by deposit.

    The mean over a voxel, not the value at its centre: a slice of 5 mm is six of the network's voxels deep, and calcium
    only if most of it is.

    Args:
        volume: the CT; only its grid is used.
        probability: (N, N, N) on ``grid``.
        at_least: share of a voxel from which it counts.
        sure: share that one voxel of each connected deposit (26 neighbours) reaches.

    Returns:
        uint8 mask of the smallest box of the CT's voxels that holds them, and the box's (4, 4) affine to RAS mm; one
        empty voxel when there are none.
    """
    spacing = volume.grid.spacing
    # Somewhere in a voxel that counts the network's own value is that high.
    reach = int(np.ceil(0.5 * spacing.max() / grid.spacing.min())) + 1
    near = ndimage.binary_dilation(probability >= at_least, np.ones((3, 3, 3)), reach)
    voxels = _voxels_in(volume.grid, near, grid)
    if not len(voxels):
        return _box(volume.grid, voxels)
    steps = [(np.arange(n) + 0.5) / n - 0.5 for n in np.ceil(spacing / grid.spacing.mean() - 1e-6).astype(int)]
    share = np.zeros(len(voxels), np.float32)
    offsets = list(product(*steps))
    for offset in offsets:
        place = grid.to_ijk(volume.grid.to_ras(voxels + np.array(offset)))
        share += ndimage.map_coordinates(probability, place.T, order=1, mode="constant", cval=0.0)
    share /= len(offsets)
    counted = share >= at_least
    voxels, share = voxels[counted], share[counted]
    if len(voxels):
        low = voxels.min(axis=0)
        image = np.zeros(voxels.max(axis=0) - low + 1, np.float32)
        image[tuple((voxels - low).T)] = share
        deposits, count = ndimage.label(image > 0, np.ones((3, 3, 3)))
        clearest = np.concatenate([[0.0], ndimage.maximum(image, deposits, np.arange(1, count + 1))])
        voxels = voxels[clearest[deposits[tuple((voxels - low).T)]] >= sure]
    return _box(volume.grid, voxels)


def _voxels_in(ct: Grid, near: np.ndarray, grid: Grid) -> np.ndarray:
    """(n, 3) indices of the CT's voxels whose centres lie in the region ``near`` on ``grid``."""
    found = np.argwhere(near)
    if not len(found):
        return np.zeros((0, 3), int)
    corners = np.array(list(product(*zip(found.min(axis=0) - 1, found.max(axis=0) + 1, strict=True))))
    ijk = ct.to_ijk(grid.to_ras(corners))
    low = np.clip(np.floor(ijk.min(axis=0)).astype(int), 0, ct.shape)
    high = np.clip(np.ceil(ijk.max(axis=0)).astype(int) + 1, 0, ct.shape)
    if np.any(high <= low):
        return np.zeros((0, 3), int)
    voxels = np.argwhere(np.ones(high - low, bool)) + low
    place = np.rint(grid.to_ijk(ct.to_ras(voxels))).astype(int)
    inside = ((place >= 0) & (place < near.shape)).all(axis=1)
    inside[inside] = near[tuple(place[inside].T)]
    return voxels[inside]


def _box(ct: Grid, voxels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    low = voxels.min(axis=0) if len(voxels) else np.zeros(3, int)
    mask = np.zeros(voxels.max(axis=0) - low + 1 if len(voxels) else (1, 1, 1), np.uint8)
    mask[tuple((voxels - low).T)] = 1
    affine = np.array(ct.affine, float)
    affine[:3, 3] = ct.to_ras(low[None].astype(float))[0]
    return mask, affine
