"""Pictures of one phantom by many scanners: contrast, point spread, slices, noise, motion, streaks, context.

Everything works on HU in float32, (X, Y, Z) along R, A, S, and draws from the generator it is given, so that a sample
is a function of its seed. Nothing mirrors: that would swap the left and the right coronary artery. Ranges are wide
on purpose (what transfers from synthetic to real images is the spread, not the likeness).
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from .config import AugmentConfig
from .phantom.scanner import ScannerStyle, degrade

Rng = np.random.Generator


def apply(hu: np.ndarray, points: np.ndarray, spacing: float, config: AugmentConfig, rng: Rng) -> np.ndarray:
    """One scanner's picture of ``hu`` (X, Y, Z) float32; ``points`` (N, 3) voxel indices (NaN: none) keep what is near.

    In the order of a scanner: anatomy's contrast, its motion, the point spread and slices, then noise and streaks.
    """
    if rng.random() < config.contrast:
        hu = contrast(hu, rng)
    if rng.random() < config.context:
        hu = random_context(hu, points, spacing, rng)
    if config.voxels and rng.random() < config.voxels:
        return on_voxels(hu, spacing, config, rng)
    if config.scanner and rng.random() < config.scanner:
        return scan(hu, spacing, rng)
    if rng.random() < config.motion:
        hu = motion(hu, spacing, rng)
    operators = [None, None, None]
    if rng.random() < config.in_plane:
        sigma = rng.uniform(0.3, 1.4)
        operators = [gaussian_operator(n, sigma / spacing) for n in hu.shape]
        operators[2] = None
    if rng.random() < config.slices:
        axis = 2 if rng.random() < 0.8 else int(rng.integers(3))
        width = float(np.exp(rng.uniform(np.log(0.5), np.log(5.0))))
        operators[axis] = slice_operator(hu.shape[axis], width / spacing, rng.uniform(0.6, 1.1), rng.random())
    for axis, operator in enumerate(operators):
        if operator is not None:
            hu = along(hu, operator, axis)
    if rng.random() < config.streaks:
        hu = hu + streaks(hu.shape, rng)
    if rng.random() < config.noise:
        hu = hu + noise(hu.shape, spacing, config.noise_hu, rng)
    return np.ascontiguousarray(hu, np.float32)


def scan(hu: np.ndarray, spacing: float, rng: Rng) -> np.ndarray:
    """What a scanner of the training ranges makes of it: kernel with overshoot, slices with their own noise, motion.

    It is the imaging chain of the virtual hospitals (:mod:`.phantom.scanner`). Slices mostly run along the body.
    """
    axis = 2 if rng.random() < 0.8 else int(rng.integers(2))
    return degrade(hu, np.full(3, spacing), ScannerStyle.sample(rng), rng, axis=axis)


def on_voxels(hu: np.ndarray, spacing: float, config: AugmentConfig, rng: Rng) -> np.ndarray:
    """The picture on cubic voxels 1.2 to 2.4 mm wide, each with its mean, read linearly; then noise."""
    width = rng.uniform(1.2, 2.4)
    for axis, length in enumerate(hu.shape):
        hu = along(hu, slice_operator(length, width / spacing, 1.0, rng.random()), axis)
    if rng.random() < config.noise:
        hu = hu + noise(hu.shape, max(spacing, width), config.noise_hu, rng)
    return np.ascontiguousarray(hu, np.float32)


def contrast(hu: np.ndarray, rng: Rng) -> np.ndarray:
    """A random monotone HU curve: soft tissue moves a little, the step from tissue to enhanced blood much."""
    knots = np.array([-1024.0, -150.0, -50.0, 60.0, 200.0, 350.0, 600.0, 1000.0, 3071.0])
    slopes = np.exp(rng.normal(0, 0.2, 8))
    blood = np.exp(rng.uniform(np.log(0.45), np.log(1.6)))
    slopes[3:6] *= blood
    slopes[6:] *= np.exp(rng.normal(0, 0.2))
    values = np.concatenate([[0.0], np.cumsum(slopes * np.diff(knots))])
    values += rng.normal(40, 25) - np.interp(40.0, knots, values)
    return np.interp(hu, knots, values).astype(np.float32)


def motion(hu: np.ndarray, spacing: float, rng: Rng) -> np.ndarray:
    """Blur along a direction (a beat inside the exposure), or a fainter double beside the picture."""
    direction = rng.normal(size=3)
    direction /= np.linalg.norm(direction)
    reach = rng.uniform(1.0, 6.0) / spacing
    if rng.random() < 0.5:
        weight = rng.uniform(0.15, 0.4)
        return (1 - weight) * hu + weight * _shift(hu, reach * direction)
    steps = np.linspace(-0.5, 0.5, 5)
    return sum(_shift(hu, reach * step * direction) for step in steps) / np.float32(len(steps))


def slice_operator(length: int, width: float, overlap: float, phase: float) -> np.ndarray:
    """(length, length) matrix: mean over a box of ``width`` voxels, at slices ``width * overlap`` apart, read linearly.

    ``phase`` (0..1) shifts the first slice. Where slices are finer than the voxels only the box remains.
    """
    box = _box(length, width)
    step = width * overlap
    if step <= 1.0:
        return box
    centres = np.arange(-step + phase * step, length - 1 + 2 * step, step)
    inside = np.clip(centres, 0, length - 1)
    index = np.clip(np.floor(inside).astype(int), 0, length - 2)
    part = inside - index
    sampled = (1 - part)[:, None] * box[index] + part[:, None] * box[index + 1]
    place = (np.arange(length) - centres[0]) / step
    low = np.floor(place).astype(int)
    rest = place - low
    return ((1 - rest)[:, None] * sampled[low] + rest[:, None] * sampled[low + 1]).astype(np.float32)


def gaussian_operator(length: int, sigma: float) -> np.ndarray:
    """(length, length) matrix of a Gaussian blur with ``sigma`` voxels; rows sum to 1, also at the edges."""
    distance = np.arange(length)[:, None] - np.arange(length)[None, :]
    weights = np.exp(-0.5 * (distance / max(sigma, 1e-3)) ** 2)
    return (weights / weights.sum(1, keepdims=True)).astype(np.float32)


def along(hu: np.ndarray, operator: np.ndarray, axis: int) -> np.ndarray:
    """Apply an (n, n) matrix along one axis."""
    return np.moveaxis(np.tensordot(operator, hu, axes=(1, axis)), 0, axis)


def noise(shape: tuple[int, ...], spacing: float, sd_hu: tuple[float, float], rng: Rng) -> np.ndarray:
    """White and correlated noise, SD drawn log-uniformly from ``sd_hu``; correlation length up to about 3 voxels."""
    sd = np.exp(rng.uniform(*np.log(sd_hu)))
    white = rng.standard_normal(shape, dtype=np.float32)
    share = rng.random()
    if share < 0.3:
        return np.float32(sd) * white
    factor = rng.uniform(1.5, 3.0)
    small = rng.standard_normal([int(np.ceil(n / factor)) for n in shape], dtype=np.float32)
    soft = _enlarge(small, shape)
    soft *= np.float32(share / max(float(soft.std()), 1e-6))
    white *= np.float32(1 - share)
    soft += white
    soft *= np.float32(sd / max(float(soft.std()), 1e-6))
    return soft


def streaks(shape: tuple[int, ...], rng: Rng) -> np.ndarray:
    """Faint rays from a point (wire, calcium, dense contrast) in the axial plane, over some slices only."""
    centre = rng.uniform(-0.2, 1.2, 2) * shape[:2]
    x, y = np.ogrid[: shape[0], : shape[1]]
    angle = np.arctan2(y - centre[1], x - centre[0])
    radius = np.hypot(x - centre[0], y - centre[1])
    rays = sum(np.cos(int(rng.integers(2, 24)) * angle + rng.uniform(0, 2 * np.pi)) for _ in range(4)) / 2.0
    plane = rays * (12.0 / (12.0 + radius))
    z = np.arange(shape[2])
    profile = np.exp(-0.5 * ((z - rng.uniform(0, shape[2])) / rng.uniform(3, 25)) ** 2)
    amplitude = np.exp(rng.uniform(np.log(15.0), np.log(150.0)))
    return (amplitude * plane[:, :, None] * profile).astype(np.float32)


def random_context(hu: np.ndarray, points: np.ndarray, spacing: float, rng: Rng, keep_mm: float = 15.0) -> np.ndarray:
    """Random blobs of any tissue, or one box, for what lies farther than ``keep_mm`` from every landmark."""
    known = points[np.isfinite(points).all(1)]
    keep = np.zeros(hu.shape, np.float32)
    radius = keep_mm / spacing
    for point in known:
        low = np.maximum((point - 1.5 * radius).astype(int), 0)
        high = np.minimum((point + 1.5 * radius).astype(int) + 2, hu.shape)
        box = list(zip(low, high, strict=True))
        if any(a >= b for a, b in box):
            continue
        i, j, k = np.ogrid[tuple(slice(a, b) for a, b in box)]
        distance = np.sqrt((i - point[0]) ** 2 + (j - point[1]) ** 2 + (k - point[2]) ** 2)
        part = keep[tuple(slice(a, b) for a, b in box)]
        np.maximum(part, np.clip(3 - 2 * distance / radius, 0, 1), out=part)
    if rng.random() < 0.5:
        field = _enlarge(rng.standard_normal((6, 6, 6), dtype=np.float32), hu.shape)
        levels = np.sort(rng.uniform(-1.2, 1.2, 4))
        values = rng.choice([-850.0, -100.0, 20.0, 60.0, 120.0, 250.0, 400.0], 5) + rng.normal(0, 20, 5)
        other = values[np.searchsorted(levels, field)].astype(np.float32)
        share = np.float32(rng.uniform(0.5, 1.0))
        other = share * other + (1 - share) * hu
    else:
        other = hu.copy()
        size = rng.uniform(0.2, 0.6, 3) * hu.shape
        start = rng.uniform(0, 1, 3) * (np.array(hu.shape) - size)
        box = tuple(slice(int(a), int(a + s)) for a, s in zip(start, size, strict=True))
        other[box] = rng.uniform(-900, 400)
    return keep * hu + (1 - keep) * other


def _box(length: int, width: float) -> np.ndarray:
    distance = np.abs(np.arange(length)[:, None] - np.arange(length)[None, :])
    weights = np.clip(max(width, 1e-3) / 2 + 0.5 - distance, 0, 1)
    return (weights / weights.sum(1, keepdims=True)).astype(np.float32)


def _shift(hu: np.ndarray, by: np.ndarray) -> np.ndarray:
    """The picture moved by whole voxels, edges repeated."""
    moved = hu
    for axis, amount in enumerate(np.rint(by).astype(int)):
        if amount:
            index = np.clip(np.arange(hu.shape[axis]) - amount, 0, hu.shape[axis] - 1)
            moved = np.take(moved, index, axis=axis)
    return moved


def _enlarge(small: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    tensor = torch.from_numpy(small)[None, None]
    return F.interpolate(tensor, size=tuple(shape), mode="trilinear", align_corners=True)[0, 0].numpy()
