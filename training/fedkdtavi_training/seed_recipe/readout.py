"""How the published system reads a landmark: the centroid of the largest component of its class."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from fedkdtavi_core import heatmap
from fedkdtavi_core.volume import Grid

HEATMAPS, SPHERES = "heatmaps", "spheres"


def read(recipe: str, logits: np.ndarray, grid: Grid) -> Sequence[heatmap.Decoded | None]:
    """Landmarks from one head's logits (C, D, H, W), in the way of ``recipe``; None: not found."""
    return centroids(logits, grid) if recipe == SPHERES else heatmap.decode(logits, grid)


def centroids(logits: np.ndarray, grid: Grid) -> list[heatmap.Decoded | None]:
    """One landmark for each channel, None where its class wins no voxel.

    Confidence is the class's mean probability in the component; the covariance is that of the component's voxels.
    """
    full = np.concatenate([np.zeros_like(logits[:1]), logits])
    winner = full.argmax(0)
    shifted = np.exp(full - full.max(0))
    probability = shifted / shifted.sum(0)
    return [_centroid(winner == number, probability[number], grid) for number in range(1, len(full))]


def _centroid(region: np.ndarray, probability: np.ndarray, grid: Grid) -> heatmap.Decoded | None:
    components, count = ndimage.label(region)
    if not count:
        return None
    largest = 1 + int(np.argmax(np.bincount(components.ravel())[1:]))
    inside = np.argwhere(components == largest)
    places = grid.to_ras(inside)
    spread = np.cov(places.T) if len(places) > 1 else np.zeros((3, 3))
    peak = inside[np.argmax(probability[tuple(inside.T)])]
    confidence = float(probability[tuple(inside.T)].mean())
    return heatmap.Decoded(places.mean(0), spread, confidence, tuple(int(n) for n in peak))
