"""How landmarks are read from a head's outputs: sub-voxel from heatmaps, or as the centroid of a segmented class.

A bundle says for each of its landmark heads which one it was trained for (``heads.<head>.readout``); the default is
``heatmap``.
"""

from __future__ import annotations

import numpy as np

from . import heatmap
from .volume import Grid

HEATMAP, CENTROID = "heatmap", "centroid"
READOUTS = (HEATMAP, CENTROID)


def read(how: str, logits: np.ndarray, grid: Grid) -> list[heatmap.Decoded | None]:
    """One landmark for each channel of a head, None where the read-out finds none (a heatmap always has a peak).

    Args:
        how: one of :data:`READOUTS`.
        logits: (C, D, H, W), axes as the grid's i, j, k.
        grid: the grid of the logits.

    Raises:
        ValueError: the shape does not fit, a channel holds something that cannot be read, or ``how`` is unknown.
    """
    if how == HEATMAP:
        return list(heatmap.decode(logits, grid))
    if how == CENTROID:
        return centroids(logits, grid)
    raise ValueError(f"there is no read-out {how!r}")


def centroids(logits: np.ndarray, grid: Grid) -> list[heatmap.Decoded | None]:
    """The centroid of each class's largest component (Toelle et al., 2025); None where a class wins no voxel.

    The background has no channel; its logit is 0. Neighbours share a face. Confidence is the class's mean probability
    in the component, the covariance is that of the component's voxels, each a box of its own.

    Raises:
        ValueError: the shape is not (C, *grid.shape), or a channel is not finite.
    """
    logits = np.asarray(logits, np.float32)
    if logits.ndim != 4 or logits.shape[1:] != tuple(grid.shape):
        raise ValueError(f"classes of shape {logits.shape} do not fit a grid of shape {tuple(grid.shape)}")
    for index, channel in enumerate(logits):
        if not np.isfinite(channel).all():
            raise ValueError(f"class channel {index} holds {channel[~np.isfinite(channel)][0]}, which is no logit")
    full = np.concatenate([np.zeros_like(logits[:1]), logits])
    winner = full.argmax(0)
    shifted = np.exp(full - full.max(0))
    probability = shifted / shifted.sum(0)
    return [_centroid(winner == number, probability[number], grid) for number in range(1, len(full))]


def _centroid(region: np.ndarray, probability: np.ndarray, grid: Grid) -> heatmap.Decoded | None:
    from scipy import ndimage

    components, count = ndimage.label(region)
    if not count:
        return None
    largest = 1 + int(np.argmax(np.bincount(components.ravel())[1:]))
    inside = np.argwhere(components == largest)
    places = grid.to_ras(inside)
    offsets = places - places.mean(0)
    axes = grid.affine[:3, :3]
    spread = offsets.T @ offsets / len(places) + axes @ axes.T / 12  # 1/12: variance inside a box of width 1
    of_voxels = probability[tuple(inside.T)]
    peak = inside[int(np.argmax(of_voxels))]
    return heatmap.Decoded(places.mean(0), spread, float(of_voxels.mean()), tuple(int(n) for n in peak))
