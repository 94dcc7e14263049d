"""The lumen's edge on a polar image: one radius for every ray around a centre.

Three steps. A closed path of steepest fall from blood to tissue is found by dynamic programming; it may not jump, so it
bridges where calcium hides the edge. Along each ray a blurred step is then fitted around the path: its midpoint is the
half-maximum between the blood and what lies directly outside, whatever their HU are, and calcified samples have no say.
Last, the radii are smoothed with the period of the circle, rays without an edge following their neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.special import ndtr

N_RAYS = 180
STEP_MM = 0.25
FIRST_MM = 2.0  # nothing nearer to the centre is taken for the edge

SOFT_TISSUE_HU = 40.0  # the lumen is walled by soft tissue: darker surroundings (fat, air) are not its neighbours
WALL_HU = 80.0  # soft tissue of the wall where fat or air (under FAT_HU) follows within the window
FAT_HU = 20.0
_WALLS_MM = (1.5, 2.25, 3.0)
_WALL_GAIN = 0.2  # of the noise variance, mean over 15 rays: what a wall has to explain to be believed
_WALL_LOSS = 50.0  # one ray can speak against a wall with no more than this
_BLOOM_MM = 1.0  # calcium's blur hides the edge this far around it
_NEUTRAL = 0.35  # reward of a path through calcium: less than an edge, more than none
_EXPECTED_FREE_MM = 2.0  # an annulus is an ellipse: its edge leaves the circle through the hinge points by this much
_EXPECTED_PULL = 0.02  # reward lost per mm^2 beyond
_MAX_STEP = 2  # bins between neighbouring rays
_WINDOW_MM = np.arange(-2.75, 2.0 + 1e-6, STEP_MM)  # around the path; short outside, where other tissue follows
_OFFSETS_MM = np.arange(-1.25, 1.25 + 1e-6, 0.125)
_BLURS_MM = (0.5, 0.8, 1.2, 1.8)
_CANDIDATES = np.array([(offset, blur) for blur in _BLURS_MM for offset in _OFFSETS_MM])
_SHAPES = ndtr((_CANDIDATES[:, :1] - _WINDOW_MM) / _CANDIDATES[:, 1:])  # (C, W): 1 inside, 0 outside
_SMOOTHING = 100.0  # keeps harmonics up to about the eighth; an ellipse loses 0.2 % of its flattening
_MIN_STEP_SHARE = 0.3  # of the usual step between blood and tissue: less is no edge
_GAP_WEIGHT = 1e-4  # where no edge was seen the curve follows its neighbours, and the path only in the end
_OUTLIER_MM = 1.5  # a ray's edge farther from the smooth curve is another structure's edge


@dataclass(frozen=True)
class Edge:
    """What was found on ``N_RAYS`` rays.

    Attributes:
        radius: (N_RAYS,) mm, smooth and closed.
        found: (N_RAYS,) bool, rays on which an edge was seen.
        bridged: (N_RAYS,) bool, rays on which calcium hides the edge.
        step_hu: median step in HU between blood and tissue over the rays with an edge; NaN without any.
    """

    radius: np.ndarray
    found: np.ndarray
    bridged: np.ndarray
    step_hu: float


def find_edge(
    image: np.ndarray, blood: float, noise: float, calcium_hu: float, expected: np.ndarray | None = None
) -> Edge:
    """The lumen's edge on a polar image.

    Args:
        image: (N_RAYS, R) HU; sample r lies ``FIRST_MM + r * STEP_MM`` from the centre.
        blood: mean HU of the lumen.
        noise: standard deviation of the image's samples in HU.
        calcium_hu: samples above this are calcium.
        expected: (N_RAYS,) mm about where the edge should lie, or None. It decides between edges that compete (a
            leaflet in the plane and the wall behind it) and does not move the edge that is chosen.
    """
    calcium = image > calcium_hu
    hidden = _grow(calcium)
    surround = _surround(image, blood)
    capped = np.where(calcium, blood, image)
    reward = _reward(np.clip(capped, surround, blood), blood, surround, hidden)
    if expected is not None:
        away = np.abs(FIRST_MM + STEP_MM * np.arange(image.shape[1]) - expected[:, None])
        reward -= _EXPECTED_PULL * np.clip(away - _EXPECTED_FREE_MM, 0, None) ** 2
    path = FIRST_MM + STEP_MM * _closed_path(reward)
    smooth_image = ndimage.gaussian_filter1d(capped, 1.0, axis=0, mode="wrap")
    for _ in range(2):
        edge, step, level, bridged = _fit_steps(smooth_image, hidden, path, noise)
        usual = np.median(step[~bridged]) if (~bridged).any() else np.nan
        enough = max(_MIN_STEP_SHARE * min(usual, blood - surround), 2 * noise) if np.isfinite(usual) else np.inf
        # The inner plateau has to be blood: a fall from muscle to fat is no lumen's edge.
        found = ~bridged & (step >= enough) & (np.abs(level - blood) < 0.5 * (blood - surround))
        radius, found = _smooth(edge, found, path)
        path = radius
    usual = float(np.median(step[found])) if found.any() else float("nan")
    return Edge(radius, found, bridged, usual)


def _surround(image: np.ndarray, blood: float) -> float:
    """A first guess of the tissue around the lumen in HU: the typical darkest value of a ray, within reason."""
    smooth = ndimage.uniform_filter(image, (5, 5), mode=("wrap", "nearest"))
    return float(np.clip(np.median(smooth.min(axis=1)), SOFT_TISSUE_HU, blood - 60.0))


def _grow(calcium: np.ndarray) -> np.ndarray:
    """Calcium with its blur: grown along the rays, and across them by about the same length at 12 mm radius."""
    along, across = round(_BLOOM_MM / STEP_MM), 2
    if not calcium.any():
        return calcium
    size = (2 * across + 1, 2 * along + 1)
    return ndimage.maximum_filter(calcium.view(np.uint8), size, mode=("wrap", "nearest")).astype(bool)


def _reward(image: np.ndarray, blood: float, surround: float, hidden: np.ndarray) -> np.ndarray:
    """(N_RAYS, R) how well the edge would lie at each sample, minus the tissue that would lie inside."""
    contrast = blood - surround
    smooth = ndimage.gaussian_filter(image, (1.5, 0.7 / STEP_MM), mode=("wrap", "nearest"))
    fall = -np.gradient(smooth, STEP_MM, axis=1)
    # A full step blurred by 1 mm in all falls by contrast / (1 mm sqrt(2 pi)) per mm; half of it is reward enough.
    reward = np.clip(fall / (0.2 * contrast), 0, 1)
    reward[hidden] = np.maximum(reward[hidden], _NEUTRAL)
    tissue = np.clip((blood + surround) / 2 - smooth, 0, None) / contrast
    inside = np.cumsum(tissue, axis=1) * STEP_MM
    lag = round(1.0 / STEP_MM)  # the blurred edge itself is no tissue inside
    return reward - np.pad(inside, ((0, 0), (lag, 0)))[:, : inside.shape[1]]


def _closed_path(reward: np.ndarray) -> np.ndarray:
    """(N_RAYS,) sample index of the best path around; the circle is run through twice, its middle is closed."""
    rays, samples = reward.shape
    steps = np.arange(-_MAX_STEP, _MAX_STEP + 1)
    cost = 0.05 * steps.astype(float) ** 2
    best = reward[0].copy()
    came = np.empty((2 * rays, samples), np.int8)
    padded = np.full(samples + 2 * _MAX_STEP, -np.inf)
    reachable = np.lib.stride_tricks.sliding_window_view(padded, len(steps))
    for n in range(1, 2 * rays):
        padded[_MAX_STEP:-_MAX_STEP] = best
        options = reachable - cost
        choice = options.argmax(axis=1)
        came[n] = choice
        best = options[np.arange(samples), choice] + reward[n % rays]
    path = np.empty(2 * rays, int)
    path[-1] = best.argmax()
    for n in range(2 * rays - 1, 0, -1):
        path[n - 1] = path[n] + steps[came[n, path[n]]]
    half = rays // 2
    return np.roll(path[half : half + rays], half)


def _fit_steps(
    image: np.ndarray, hidden: np.ndarray, path: np.ndarray, noise: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Least-squares blurred step on every ray around ``path`` (mm).

    Returns:
        edge in mm, step in HU (blood minus tissue), HU of the inner plateau, and whether calcium hides the edge.
    """
    rays, samples = image.shape
    position = (path[:, None] + _WINDOW_MM - FIRST_MM) / STEP_MM
    y = _interpolate(image, position)
    weight = ((position >= 0) & (position <= samples - 1)).astype(float)
    nearest = np.clip(np.rint(position).astype(int), 0, samples - 1)
    weight[hidden[np.arange(rays)[:, None], nearest]] = 0
    inner, outer = _WINDOW_MM < 0, _WINDOW_MM > 0
    bridged = (weight[:, inner].mean(axis=1) < 0.4) | (weight[:, outer].mean(axis=1) < 0.5)
    weight += 1e-6

    single = _single_step(weight, y)
    by_wall = (_walled_step(weight, y, wall) for wall in _WALLS_MM)
    walled = [np.concatenate(parts, axis=1) for parts in zip(*by_wall, strict=True)]
    # A second step has to earn its place against the noise. What lies behind the wall changes slowly around the lumen,
    # so neighbouring rays decide together.
    best_single, best_walled = single[0].max(axis=1), walled[0].max(axis=1)
    comparable = np.isfinite(best_single) & np.isfinite(best_walled)
    difference = np.subtract(best_walled, best_single, out=np.zeros(rays), where=comparable)
    gain = np.where(comparable, np.maximum(difference, -_WALL_LOSS * noise**2), -_WALL_LOSS * noise**2)
    use_wall = ndimage.uniform_filter1d(gain, 15, mode="wrap") > _WALL_GAIN * noise**2
    explained, step, plateau = (np.concatenate([a, b], axis=1) for a, b in zip(single, walled, strict=True))
    count = len(_CANDIDATES)
    explained[~use_wall, count:] = -np.inf
    explained[use_wall & np.isfinite(best_walled), :count] = -np.inf
    choice = explained.argmax(axis=1)
    pick = np.arange(rays), choice
    step = np.where(np.isfinite(explained[pick]), step[pick], 0.0)
    return path + _CANDIDATES[choice % count, 0], step, plateau[pick], bridged


def _single_step(weight: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Fit base + step * s(r) for all candidates: explained sum of squares, step and inner plateau, each (rays, C)."""
    s = _SHAPES
    s0, s1, s2 = weight.sum(axis=1)[:, None], weight @ s.T, weight @ (s**2).T
    y0, y1 = (weight * y).sum(axis=1)[:, None], (weight * y) @ s.T
    step = (s0 * y1 - s1 * y0) / np.maximum(s0 * s2 - s1**2, 1e-9)
    base = (y0 - step * s1) / s0
    explained = np.where(step > 0, base * y0 + step * y1, -np.inf)
    return explained, step, base + step


def _walled_step(weight: np.ndarray, y: np.ndarray, wall: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The same for blood, then ``wall`` mm of soft tissue of known HU, then something darker (fat, air)."""
    s = _SHAPES
    t = ndtr((_CANDIDATES[:, :1] + wall - _WINDOW_MM) / _CANDIDATES[:, 1:])
    known = WALL_HU * (t - s)
    f = 1 - t  # beyond the wall
    ff, fs, ss = weight @ (f * f).T, weight @ (f * s).T, weight @ (s * s).T
    wy = weight * y
    # Normal equations for (beyond, plateau) after the wall's known share is taken away.
    yf = wy @ f.T - weight @ (known * f).T
    ys = wy @ s.T - weight @ (known * s).T
    determinant = np.maximum(ff * ss - fs**2, 1e-9)
    beyond = (yf * ss - ys * fs) / determinant
    plateau = (ys * ff - yf * fs) / determinant
    known_y = wy @ known.T
    known_known = weight @ (known * known).T
    explained = 2 * known_y - known_known + beyond * yf + plateau * ys
    allowed = (beyond < FAT_HU) & (plateau > WALL_HU)
    return np.where(allowed, explained, -np.inf), plateau - WALL_HU, plateau


def _interpolate(image: np.ndarray, position: np.ndarray) -> np.ndarray:
    """Linear interpolation of each row at fractional ``position`` (rows, n)."""
    left = np.clip(np.floor(position).astype(int), 0, image.shape[1] - 2)
    share = np.clip(position - left, 0, 1)
    row = np.arange(len(image))[:, None]
    return (1 - share) * image[row, left] + share * image[row, left + 1]


def _smooth(edge: np.ndarray, found: np.ndarray, path: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Periodic smoothing (second differences) of the radii; outliers lose their say, gaps follow the path loosely."""
    values = np.where(found, edge, path)
    weight = np.where(found, 1.0, _GAP_WEIGHT)
    for _ in range(3):
        radius = np.linalg.solve(np.diag(weight) + _SMOOTHING * _ROUGHNESS, weight * values)
        if not found.any():
            break
        residual = edge - radius
        scale = max(0.25, 1.4826 * float(np.median(np.abs(residual[found]))))
        weight = np.where(found, 1 / (1 + (residual / (2 * scale)) ** 2), _GAP_WEIGHT)
    return radius, found & (np.abs(edge - radius) < _OUTLIER_MM)


def _roughness(n: int) -> np.ndarray:
    second = -2 * np.eye(n) + np.roll(np.eye(n), 1, axis=0) + np.roll(np.eye(n), -1, axis=0)
    return second.T @ second


_ROUGHNESS = _roughness(N_RAYS)
