"""Blur, slice profile and sampling along one axis, each as a small float32 matrix (samples out, samples in).

Positions are in mm from the middle of the first input sample. Rows sum to one, so a constant stays a constant and
edges need no padding.
"""

from __future__ import annotations

import numpy as np


def gaussian(n: int, step: float, sigma: float) -> np.ndarray:
    """(n, n) Gaussian blur of ``sigma`` mm on samples ``step`` mm apart; the identity for sigma 0."""
    if sigma < 0.05 * step:
        return np.eye(n, dtype=np.float32)
    place = np.arange(n, dtype=np.float32) * np.float32(step / sigma)
    weight = np.exp(-0.5 * (place[:, None] - place[None, :]) ** 2)
    weight[weight < 1e-6] = 0  # denormal numbers would slow the products down tenfold
    return _rows_to_one(weight)


def linear(out_mm: np.ndarray, positions_mm: np.ndarray) -> np.ndarray:
    """(len(out_mm), len(positions_mm)) linear interpolation between evenly spaced positions, constant beyond."""
    n = len(positions_mm)
    matrix = np.zeros((len(out_mm), n), np.float32)
    rows = np.arange(len(out_mm))
    if n == 1:
        matrix[:, 0] = 1
        return matrix
    place = np.clip((np.asarray(out_mm) - positions_mm[0]) / (positions_mm[1] - positions_mm[0]), 0, n - 1)
    low = np.minimum(place.astype(int), n - 2)
    matrix[rows, low] = 1 - (place - low)
    matrix[rows, low + 1] += (place - low).astype(np.float32)
    return matrix


def box(centres_mm: np.ndarray, n: int, step: float, width: float) -> np.ndarray:
    """(len(centres_mm), n) mean over ``width`` mm around each centre, of ``n`` samples ``step`` mm wide."""
    edge = (np.arange(n + 1) - 0.5) * step
    edge[0], edge[-1] = -1e6, 1e6  # beyond the ends the last sample goes on
    centres = np.asarray(centres_mm, float)[:, None]
    inside = np.clip(edge[None, :], centres - width / 2, centres + width / 2)
    return _rows_to_one(np.diff(inside, axis=1).astype(np.float32))


def kernel(out_mm: np.ndarray, n: int, step: float, sigma: float, edge: float = 0.0) -> np.ndarray:
    """(len(out_mm), n): Gaussian point spread with overshoot ``edge``, read at ``out_mm``."""
    blur = gaussian(n, step, sigma)
    if edge > 0:
        blur = np.float32(1 + edge) * blur - np.float32(edge) * gaussian(n, step, 2 * max(sigma, 0.5 * step))
    if len(out_mm) == n and abs(out_mm[0]) < 1e-6 and abs(out_mm[-1] - (n - 1) * step) < 1e-4:
        return blur
    return linear(out_mm, np.arange(n) * step) @ blur


def apply(x: np.ndarray | None, y: np.ndarray | None, z: np.ndarray | None, image: np.ndarray) -> np.ndarray:
    """The matrices along the three axes of ``image`` (i, j, k), float32; None leaves an axis alone."""
    if z is not None:
        image = (image.reshape(-1, image.shape[2]) @ z.T).reshape(*image.shape[:2], len(z))
    if x is not None:
        image = (x @ image.reshape(image.shape[0], -1)).reshape(len(x), *image.shape[1:])
    if y is not None:
        image = np.matmul(y, image)
    return image


def _rows_to_one(matrix: np.ndarray) -> np.ndarray:
    return (matrix / matrix.sum(axis=1, keepdims=True)).astype(np.float32)
