"""Sizes of a closed curve in a plane."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from scipy.interpolate import CubicSpline
from scipy.spatial import ConvexHull, QhullError

from .row import NotMeasurable, Row
from .sampling import in_plane_axes

# A curve set by a person has few control points: fewer than this are joined by a periodic cubic spline, as on screen.
MIN_DENSE_POINTS = 60
_DIRECTIONS = 180


@dataclass(frozen=True)
class CurveSize:
    """Sizes of a closed curve in mm and mm^2.

    ``d_min`` and ``d_max`` are the shortest and the longest chord through the area centroid (every degree; outermost
    crossings where the curve is not convex). ``solidity`` is area / area of the convex hull.
    """

    area: float
    perimeter: float
    d_min: float
    d_max: float
    solidity: float
    centroid: np.ndarray

    @property
    def d_area(self) -> float:
        """Diameter in mm of the circle with the same area."""
        return 2 * math.sqrt(self.area / math.pi)

    @property
    def d_perimeter(self) -> float:
        """Diameter in mm of the circle with the same perimeter."""
        return self.perimeter / math.pi

    @property
    def form_factor(self) -> float:
        """4 pi area / perimeter^2: 1 for a circle, less the more lobed or flat a curve is."""
        return 4 * math.pi * self.area / self.perimeter**2

    @property
    def eccentricity(self) -> float:
        """1 - d_min / d_max."""
        return 1 - self.d_min / self.d_max

    def rows(self, prefix: str = "annulus", warning: str = "") -> list[Row]:
        """The rows of the table; ids start with ``prefix``."""
        values = (
            self.area,
            self.perimeter,
            self.d_min,
            self.d_max,
            self.d_area,
            self.d_perimeter,
            self.eccentricity,
        )
        return [replace(row, value=v, warning=warning) for row, v in zip(size_rows(prefix), values, strict=True)]


def size_rows(prefix: str = "annulus", reason: str = "") -> list[Row]:
    """The seven rows without values, with the reason why."""
    name = prefix.capitalize()

    def row(key: str, title: str, unit: str, normal: str, definition: str) -> Row:
        known = normal if prefix == "annulus" else ""
        return Row(f"{prefix}_{key}", f"{name} {title}", None, unit, known, definition, "", prefix, reason)

    return [
        row("area", "area", "mm2", "men 483 ± 76, women 387 ± 59 (PubMed 23347864)", "area inside the lumen's edge"),
        row("perimeter", "perimeter", "mm", "", "length of the lumen's edge"),
        row("d_min", "minimum diameter", "mm", "", "shortest chord through the area centroid"),
        row("d_max", "maximum diameter", "mm", "", "longest chord through the area centroid"),
        row(
            "d_area",
            "area-derived diameter",
            "mm",
            "men 25.7 ± 2.7, women 22.9 ± 2.2 (mean diameter; PubMed 28139364)",
            "2 sqrt(area / pi)",
        ),
        row("d_perimeter", "perimeter-derived diameter", "mm", "", "perimeter / pi"),
        row(
            "eccentricity",
            "eccentricity",
            "",
            "0.22 ± 0.06 (PubMed 23347864, from max/min 1.29 ± 0.1)",
            "1 - minimum/maximum diameter",
        ),
    ]


def measure_curve(points: np.ndarray, normal: np.ndarray | None = None) -> CurveSize:
    """Sizes of a closed curve (N, 3) in RAS mm, projected along ``normal`` (default: its own best-fitting plane).

    Fewer than ``MIN_DENSE_POINTS`` points are taken for control points and joined by a periodic cubic spline.

    Raises:
        NotMeasurable: fewer than three points, points that are not finite, or a curve without area.
    """
    points = np.asarray(points, float)
    if points.ndim != 2 or points.shape[1] != 3 or len(points) < 3 or not np.isfinite(points).all():
        raise NotMeasurable("the contour has fewer than three usable points")
    centre = points.mean(axis=0)
    if normal is None:
        normal = np.linalg.svd(points - centre)[2][2]
    _, u, v = in_plane_axes(normal)
    flat = _dense((points - centre) @ np.column_stack([u, v]))
    nxt = np.roll(flat, -1, axis=0)
    cross = flat[:, 0] * nxt[:, 1] - nxt[:, 0] * flat[:, 1]
    signed = cross.sum() / 2
    if abs(signed) < 1e-3:
        raise NotMeasurable("the contour encloses no area")
    centroid = ((flat + nxt) * cross[:, None]).sum(axis=0) / (6 * signed)
    chords = _chords(flat - centroid)
    return CurveSize(
        area=abs(float(signed)),
        perimeter=float(np.linalg.norm(nxt - flat, axis=1).sum()),
        d_min=float(chords.min()),
        d_max=float(chords.max()),
        solidity=abs(float(signed)) / _hull_area(flat),
        centroid=centre + centroid @ np.stack([u, v]),
    )


def _dense(flat: np.ndarray) -> np.ndarray:
    """The curve as a dense polygon without doubled points."""
    steps = np.linalg.norm(flat - np.roll(flat, 1, axis=0), axis=1)
    flat = flat[steps > 1e-6]
    if len(flat) < 3:
        raise NotMeasurable("the contour has fewer than three different points")
    if len(flat) >= MIN_DENSE_POINTS:
        return flat
    closed = np.vstack([flat, flat[:1]])
    length = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(closed, axis=0), axis=1))])
    spline = CubicSpline(length, closed, bc_type="periodic")
    return spline(np.linspace(0, length[-1], 360, endpoint=False))


def _chords(flat: np.ndarray) -> np.ndarray:
    """Lengths of the chords through the origin, one for every degree in [0, 180)."""
    angles = np.deg2rad(np.arange(_DIRECTIONS) * 180 / _DIRECTIONS)
    direction = np.stack([np.cos(angles), np.sin(angles)])
    along = flat @ direction
    side = flat @ np.stack([-direction[1], direction[0]])
    next_along, next_side = np.roll(along, -1, axis=0), np.roll(side, -1, axis=0)
    crosses = (side > 0) != (next_side > 0)
    share = np.where(crosses, side / np.where(crosses, side - next_side, 1), 0)
    position = along + share * (next_along - along)
    far = np.where(crosses, position, -np.inf).max(axis=0)
    near = np.where(crosses, position, np.inf).min(axis=0)
    return far - near


def _hull_area(flat: np.ndarray) -> float:
    try:
        return float(ConvexHull(flat).volume)  # in two dimensions "volume" is the area
    except QhullError:
        raise NotMeasurable("the contour is flat") from None
