"""Heatmaps: how a landmark is written for a network to learn, and how it is read back with sub-voxel accuracy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .volume import Grid

WINDOW_MM = 9.0  # as wide as the human spread of these points (P95 about 6 mm, FIELD.md section 2) with a margin
_ITERATIONS = 8
_CONVERGED_VOXELS = 0.005
_EDGE_SHARE = 0.05  # of the peak: more than this at the grid's face means that part of the peak is cut off


@dataclass(frozen=True)
class Decoded:
    """One landmark read from one heatmap.

    Attributes:
        position: (3,) RAS mm.
        covariance: (3, 3) mm^2 in RAS axes: the spread of the probability inside the window, so at most about
            (9 mm)^2 / 5 along an axis; what lies outside shows in ``confidence``.
        confidence: raw, 0..1: the share of all probability that lies inside the window. Not yet calibrated.
        peak_ijk: voxel of the highest probability.
    """

    position: np.ndarray
    covariance: np.ndarray
    confidence: float
    peak_ijk: tuple[int, int, int]


def decode(logits: np.ndarray, grid: Grid, *, window_mm: float = WINDOW_MM) -> list[Decoded]:
    """Read one landmark from every channel of a stack of heatmaps.

    Each channel is turned into a probability by a softmax over its voxels. From the highest voxel a spherical window
    moves to the mean of the probability inside it until it rests (mean shift), so that the window's own grid does
    not pull the result. Where the window sticks out of the grid and the peak is cut, the mean would be
    drawn inwards; a Gaussian fitted to the visible part gives position and covariance instead.

    Args:
        logits: (C, D, H, W) float32, axes as the grid's i, j, k.
        grid: the grid of the logits, with orthogonal axes.
        window_mm: radius of the window in mm.

    Returns:
        C results in the order of the channels.

    Raises:
        ValueError: the shape is not (C, *grid.shape), or a channel holds NaN, +inf or nothing above -inf.
    """
    logits = np.asarray(logits)
    if logits.ndim != 4 or logits.shape[1:] != tuple(grid.shape):
        raise ValueError(f"heatmaps of shape {logits.shape} do not fit a grid of shape {tuple(grid.shape)}")
    return [_decode_channel(channel, grid, window_mm, index) for index, channel in enumerate(logits)]


def target(
    points_ijk: Sequence[np.ndarray | None] | np.ndarray,
    shape: tuple[int, int, int],
    sigma_vox: float | Sequence[float],
    *,
    normalised: bool = False,
) -> np.ndarray:
    """Gaussian heatmaps around points, for training.

    Args:
        points_ijk: C points in continuous voxel indices; None or NaN for one that is missing (its channel is all 0,
            and no other channel moves).
        shape: (D, H, W) of the grid.
        sigma_vox: standard deviation in voxels, one number or one per axis.
        normalised: True: every channel sums to 1 (a target for a softmax); False: its value is 1 at the point.

    Returns:
        (C, D, H, W) float32.
    """
    sigmas = np.broadcast_to(np.asarray(sigma_vox, float), (3,))
    out = np.zeros((len(points_ijk), *shape), np.float32)
    for channel, point in zip(out, points_ijk, strict=True):
        if point is None or not np.all(np.isfinite(point)):
            continue
        factors = [
            np.exp(-0.5 * ((np.arange(length) - centre) / sigma) ** 2)
            for length, centre, sigma in zip(shape, point, sigmas, strict=True)
        ]
        if normalised:
            sums = [factor.sum() for factor in factors]
            if min(sums) < 1e-6:  # the point lies far outside: nothing of it can be seen on this grid
                continue
            factors = [factor / total for factor, total in zip(factors, sums, strict=True)]
        i, j, k = (factor.astype(np.float32) for factor in factors)
        channel[...] = i[:, None, None] * j[None, :, None] * k[None, None, :]
    return out


def _decode_channel(logits: np.ndarray, grid: Grid, window_mm: float, index: int) -> Decoded:
    peak = np.unravel_index(int(np.argmax(logits)), logits.shape)
    highest = logits[peak]
    if not np.isfinite(highest):
        raise ValueError(f"heatmap channel {index} holds {highest}, which no position can be read from")
    weights = np.exp(logits - highest)  # 1 at the peak
    total = float(weights.sum(dtype=np.float32))

    # All that the window can see while it moves by up to two voxels.
    reach = np.ceil(window_mm / grid.spacing).astype(int) + 2
    low = np.maximum(np.array(peak) - reach, 0)
    high = np.minimum(np.array(peak) + reach + 1, logits.shape)
    box = weights[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
    axes = [np.arange(a, b, dtype=np.float32) for a, b in zip(low, high, strict=True)]

    centre = np.array(peak, float)
    for _ in range(_ITERATIONS):
        inside = box * _window(axes, centre, grid.spacing, window_mm)
        mass, mean = _mean(inside, axes)
        moved = float(np.abs(mean - centre).max())
        centre = np.clip(mean, np.array(peak) - 2, np.array(peak) + 2)  # never past what the box shows
        if moved < _CONVERGED_VOXELS:
            break
    covariance = _covariance(inside, axes, mass, mean)
    centre = mean
    if _is_cut(box, low, high, logits.shape):
        fitted = _fit_gaussian(inside, box, axes, np.array(logits.shape))
        if fitted is not None:
            centre, covariance = fitted

    matrix = grid.affine[:3, :3]
    return Decoded(
        position=grid.to_ras(centre),
        covariance=matrix @ covariance @ matrix.T,
        confidence=min(max(mass / total, 0.0), 1.0),
        peak_ijk=tuple(int(p) for p in peak),
    )


def _window(axes: list[np.ndarray], centre: np.ndarray, spacing: np.ndarray, radius_mm: float) -> np.ndarray:
    """A ball with an edge one voxel soft, so that its content changes smoothly as it moves."""
    i, j, k = (((axis - np.float32(c)) * np.float32(s)) ** 2 for axis, c, s in zip(axes, centre, spacing, strict=True))
    distance = np.sqrt(i[:, None, None] + j[None, :, None] + k[None, None, :])
    edge = np.float32(spacing.max())
    return np.clip((np.float32(radius_mm) - distance) / edge + np.float32(0.5), 0, 1)


def _marginals(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sums onto the planes (i, j), (i, k) and (j, k), in float64."""
    return tuple(weights.sum(axis=axis, dtype=np.float64) for axis in (2, 1, 0))


def _mean(weights: np.ndarray, axes: list[np.ndarray]) -> tuple[float, np.ndarray]:
    ij = weights.sum(axis=2)
    k = weights.sum(axis=(0, 1))
    i, j = ij.sum(axis=1), ij.sum(axis=0)
    mass = float(k.sum())
    return mass, np.array([float(axis @ marginal) for axis, marginal in zip(axes, (i, j, k), strict=True)]) / mass


def _covariance(weights: np.ndarray, axes: list[np.ndarray], mass: float, mean: np.ndarray) -> np.ndarray:
    ij, ik, jk = _marginals(weights)
    x, y, z = (axis - m for axis, m in zip(axes, mean, strict=True))
    xx, yy, zz = x**2 @ ij.sum(axis=1), y**2 @ ij.sum(axis=0), z**2 @ jk.sum(axis=0)
    xy, xz, yz = x @ ij @ y, x @ ik @ z, y @ jk @ z
    return np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]]) / mass


def _is_cut(box: np.ndarray, low: np.ndarray, high: np.ndarray, shape: tuple[int, ...]) -> bool:
    """Does a face of the grid carry a noticeable part of the peak (whose height is 1)?"""
    for axis in range(3):
        if low[axis] == 0 and np.take(box, 0, axis=axis).max() > _EDGE_SHARE:
            return True
        if high[axis] == shape[axis] and np.take(box, -1, axis=axis).max() > _EDGE_SHARE:
            return True
    return False


def _fit_gaussian(
    inside: np.ndarray, box: np.ndarray, axes: list[np.ndarray], shape: np.ndarray
) -> tuple[np.ndarray, np.ndarray] | None:
    """Mean and covariance (voxels) of a Gaussian fitted to the visible part of a peak, or None if it is no peak.

    The logarithm of a Gaussian is a quadratic polynomial, so this is linear least squares on log p, each voxel
    weighted by p^2 (which undoes the logarithm's exaggeration of small values; Guo, IEEE Signal Processing
    Magazine 28(5), 2011).
    """
    chosen = inside > _EDGE_SHARE
    if np.count_nonzero(chosen) < 20:
        return None
    voxels = np.stack([axis[at] for axis, at in zip(axes, np.nonzero(chosen), strict=True)], axis=1).astype(float)
    value = box[chosen].astype(float)
    origin = (voxels * value[:, None]).sum(axis=0) / value.sum()
    x, y, z = (voxels - origin).T
    columns = np.stack([np.ones_like(x), x, y, z, x * x, y * y, z * z, x * y, x * z, y * z], axis=1)
    solution = np.linalg.lstsq(columns * value[:, None], np.log(value) * value, rcond=None)[0]
    _, bx, by, bz, xx, yy, zz, xy, xz, yz = solution
    precision = -np.array([[2 * xx, xy, xz], [xy, 2 * yy, yz], [xz, yz, 2 * zz]])
    if np.linalg.eigvalsh(precision).min() <= 1e-6:
        return None
    covariance = np.linalg.inv(precision)
    centre = origin + covariance @ np.array([bx, by, bz])
    # The peak's highest voxel was seen on the grid, so its centre cannot lie beyond the voxels' faces.
    return np.clip(centre, -0.5, shape - 0.5), covariance
