"""An analytic root for the tests of the measurements: an elliptic tube of contrast in soft tissue, in any pose."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr

from fedkdtavi_core.annotation import Annotation
from fedkdtavi_core.volume import Volume

# A change to the noise-free HU: (hu, x, y, z, d) -> hu, all (i, j, k), in mm along u, v, n; d outwards of the edge.
Change = Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Tube:
    """The CT, its tube's axes (u: long half-axis ``a``, v: short half-axis ``b``, n: axis) and centre in RAS mm."""

    volume: Volume
    center: np.ndarray
    u: np.ndarray
    v: np.ndarray
    n: np.ndarray
    a: float
    b: float

    @property
    def area(self) -> float:
        return float(np.pi * self.a * self.b)

    @property
    def perimeter(self) -> float:
        """Ramanujan's second formula."""
        h = ((self.a - self.b) / (self.a + self.b)) ** 2
        return float(np.pi * (self.a + self.b) * (1 + 3 * h / (10 + np.sqrt(4 - 3 * h))))

    def at(self, degrees: float, height: float = 0.0, outwards: float = 0.0) -> np.ndarray:
        """(3,) RAS mm of a point of the edge; the angle grows counter-clockwise as seen against ``n``."""
        t = np.deg2rad(degrees)
        scale = 1 + outwards / np.hypot(self.a * np.cos(t), self.b * np.sin(t))
        flat = scale * (self.a * np.cos(t) * self.u + self.b * np.sin(t) * self.v)
        return self.center + flat + height * self.n

    def annotation(self) -> Annotation:
        """All landmarks at usual places: hinge points on the edge, ostia 15 and 17 mm up, septum between R and N."""
        result = Annotation()
        places = {
            "hinge_rcc": self.at(20), "hinge_lcc": self.at(130), "hinge_ncc": self.at(265),
            "ostium_rca": self.at(12, 17, 3), "ostium_lca": self.at(133, 15, 3),
            "ms_upper": self.at(322, 4.5), "ms_lower": self.at(322, -2.1),
        }  # fmt: skip
        for label_id, place in places.items():
            result.landmarks[label_id].position = place
            result.landmarks[label_id].confidence = 0.9
        return result


def tube(
    a: float = 13.5,
    b: float = 10.5,
    *,
    spacing: tuple[float, float, float] = (0.6, 0.6, 0.8),
    blood: float = 400.0,
    tissue: float = 80.0,
    noise: float = 25.0,
    blur: float = 0.7,
    tilt: float = 50.0,
    azimuth: float = 30.0,
    change: Change | None = None,
    size: float = 56.0,
    center: tuple[float, float, float] = (10.0, -20.0, 130.0),
    seed: int = 0,
) -> Tube:
    """Render the tube. Slices thicker than 1 mm are the mean of five planes, as a scanner's slices are."""
    t, p = np.deg2rad([tilt, azimuth])
    n = np.array([np.sin(t) * np.cos(p), np.sin(t) * np.sin(p), np.cos(t)])
    u = np.cross([0.0, 0.0, 1.0], n) if tilt else np.array([1.0, 0.0, 0.0])
    u = u / np.linalg.norm(u)
    v = np.cross(n, u)
    middle = np.array(center)
    shape = tuple(round(size / step) for step in spacing)
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = middle - (np.array(shape) - 1) / 2 * spacing
    axes = [np.arange(shape[k]) * spacing[k] + affine[k, 3] - middle[k] for k in range(3)]
    layers = np.arange(-2, 3) / 5 * spacing[2] if spacing[2] > 1 else np.zeros(1)
    hu = np.zeros(shape)
    for layer in layers:
        px, py, pz = axes[0][:, None, None], axes[1][None, :, None], axes[2][None, None, :] + layer
        x, y, z = (px * w[0] + py * w[1] + pz * w[2] for w in (u, v, n))
        f = np.hypot(x / a, y / b)
        d = (f - 1) / np.maximum(np.hypot(x / a**2, y / b**2) / np.maximum(f, 1e-6), 1e-6)
        layer_hu = tissue + (blood - tissue) * ndtr(-d / blur)
        hu += (layer_hu if change is None else change(layer_hu, x, y, z, d)) / len(layers)
    hu += np.random.default_rng(seed).normal(size=shape) * noise
    return Tube(Volume(np.rint(hu).astype(np.int16), affine, {}), middle, u, v, n, a, b)


def nodule(x0: float, y0: float, z0: float = 0.0, radius: float = 2.5, peak: float = 1200.0) -> Change:
    """A blurred ball of calcium at (x0, y0, z0) mm."""

    def change(hu, x, y, z, d):
        share = ndtr((radius - np.sqrt((x - x0) ** 2 + (y - y0) ** 2 + (z - z0) ** 2)) / 0.6)
        return hu * (1 - share) + peak * share

    return change


def atrium(width: float, opening: float = 0.0, wall: float = 2.0, blood: float = 380.0, at: float = 0.0) -> Change:
    """Another chamber behind a thin wall over ``width`` degrees, open to the tube over ``opening`` of them."""

    def change(hu, x, y, z, d):
        angle = np.abs((np.rad2deg(np.arctan2(y, x)) - at + 180) % 360 - 180)
        share = ndtr((d - wall) / 0.7) * ndtr((width / 2 - angle) / 3)
        hu = hu * (1 - share) + blood * share
        if opening:
            share = ndtr((opening / 2 - angle) / 2) * (d > -2)
            hu = hu * (1 - share) + blood * share
        return hu

    return change


def fat(wall: float, value: float = -100.0, tissue: float = 80.0) -> Change:
    """Fat behind ``wall`` mm of soft tissue."""
    return lambda hu, x, y, z, d: hu - ndtr((d - wall) / 0.7) * (tissue - value)


def struts(angles, heights) -> list[tuple[float, float, float, float]]:
    """Places for :func:`nodule` on the tube's wall, as of a frame: at every angle in degrees, every height in mm."""
    return [(11.5 * np.cos(a), 11.5 * np.sin(a), h, 1.3) for a in np.radians(angles) for h in heights]


def together(*changes: Change) -> Change:
    """One change after the other."""

    def change(hu, x, y, z, d):
        for each in changes:
            hu = each(hu, x, y, z, d)
        return hu

    return change
