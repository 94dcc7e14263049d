"""The Gaussian that a pseudo-landmark is learned as: as wide as its teacher was unsure, never narrower than a label."""

from __future__ import annotations

import numpy as np


def widened(covariance: np.ndarray, sigma: float) -> np.ndarray:
    """(3, 3) covariance with no axis narrower than ``sigma``.

    A teacher's heatmap has learned to be as wide as the targets are, so a sure teacher's covariance is sigma^2 and is
    not added to it again.
    """
    values, axes = np.linalg.eigh((covariance + covariance.T) / 2)
    return (axes * np.maximum(values, sigma**2)) @ axes.T


def gaussian(point: np.ndarray, covariance: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """(D, H, W) float32 that sums to 1: a normal density around ``point`` (voxel indices), covariance in voxels^2."""
    precision = np.linalg.inv(covariance)
    offsets = np.ogrid[tuple(slice(n) for n in shape)]
    x, y, z = (axis - c for axis, c in zip(offsets, np.asarray(point, float), strict=True))
    (xx, xy, xz), (_, yy, yz), (_, _, zz) = precision
    exponent = xx * x * x + yy * y * y + zz * z * z + 2 * (xy * x * y + xz * x * z + yz * y * z)
    density = np.exp(-0.5 * (exponent - exponent.min()))
    return (density / density.sum()).astype(np.float32)
