"""A grid that anatomy is painted on: shapes are signed distances in body coordinates, edges carry partial volume."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from fedkdtavi_core.volume import Grid

from .shapes import Ellipsoid


@dataclass
class Warp:
    """A smooth displacement of body coordinates: a few sinusoids, ``amplitude`` (K, 3) mm, ``wave`` (K, 3) rad/mm.

    ``x_anatomy = x_body + warp(x_body)``: anatomy is evaluated at displaced places, so a shape bends the other way.
    """

    amplitude: np.ndarray = field(default_factory=lambda: np.zeros((0, 3)))
    wave: np.ndarray = field(default_factory=lambda: np.zeros((0, 3)))
    phase: np.ndarray = field(default_factory=lambda: np.zeros(0))

    @classmethod
    def sample(cls, rng: np.random.Generator, amplitude_mm: float, count: int = 4) -> Warp:
        """Random waves of 70 to 200 mm, together about ``amplitude_mm`` strong (root mean square per axis)."""
        direction = rng.normal(size=(count, 3))
        direction /= np.linalg.norm(direction, axis=1, keepdims=True)
        wave = direction * (2 * np.pi / rng.uniform(70, 200, size=(count, 1)))
        amplitude = rng.normal(size=(count, 3)) * amplitude_mm * np.sqrt(2 / count)
        return cls(amplitude, wave, rng.uniform(0, 2 * np.pi, count))

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """(..., 3) mm -> displacement (..., 3) mm, in float32."""
        out = np.zeros(points.shape, np.float32)
        for amplitude, wave, phase in zip(self.amplitude, self.wave, self.phase, strict=True):
            out += np.sin(points @ wave.astype(np.float32) + np.float32(phase))[..., None] * amplitude.astype(
                np.float32
            )
        return out


@dataclass
class Pose:
    """Where the body lies in the scanner: ``ras = origin + rotation @ (scale * body)``, and how it is bent."""

    rotation: np.ndarray = field(default_factory=lambda: np.eye(3))
    scale: float = 1.0
    origin: np.ndarray = field(default_factory=lambda: np.zeros(3))
    warp: Warp = field(default_factory=Warp)

    def to_ras(self, anatomy: np.ndarray) -> np.ndarray:
        """(..., 3) anatomical mm -> RAS mm; the warp is inverted by fixed-point iteration (to 0.01 mm)."""
        anatomy = np.asarray(anatomy, float)
        body = anatomy.copy()
        for _ in range(25):
            body = anatomy - self.warp(body.astype(np.float32))
        return self.origin + self.scale * body @ self.rotation.T

    def to_anatomy(self, ras: np.ndarray) -> np.ndarray:
        """(..., 3) RAS mm -> anatomical mm, float32."""
        body = ((np.asarray(ras, np.float32) - self.origin.astype(np.float32)) @ self.rotation.astype(np.float32)) / (
            np.float32(self.scale)
        )
        return body + self.warp(body)


Region = tuple[slice, slice, slice]


class Canvas:
    """HU and class labels on a grid, painted shape after shape; later shapes cover earlier ones.

    Attributes:
        hu: float32 (i, j, k).
        heart: uint8 classes of the core's schema.HEART_CLASSES.
        calcium: float32, fraction of a voxel that is valve calcium.
        points: float32 (i, j, k, 3) anatomical mm of every voxel.
        texture: float32, smooth noise of unit variance, to vary any tissue with.
    """

    def __init__(self, grid: Grid, pose: Pose, rng: np.random.Generator, background_hu: float = -1000.0) -> None:
        self.grid, self.pose = grid, pose
        self.hu = np.full(grid.shape, background_hu, np.float32)
        self.heart = np.zeros(grid.shape, np.uint8)
        self.calcium = np.zeros(grid.shape, np.float32)
        axes = [np.arange(n, dtype=np.float32) for n in grid.shape]
        affine = grid.affine.astype(np.float32)
        ras = np.empty((*grid.shape, 3), np.float32)
        for axis in range(3):
            ras[..., axis] = (
                affine[axis, 3]
                + (axes[0] * affine[axis, 0])[:, None, None]
                + (axes[1] * affine[axis, 1])[None, :, None]
                + (axes[2] * affine[axis, 2])[None, None, :]
            )
        self.points = pose.to_anatomy(ras)
        self.voxel = float(np.cbrt(grid.voxel_volume)) / pose.scale
        self._margin = float(np.abs(pose.warp.amplitude).sum(axis=0).max(initial=0.0)) + 2 * self.voxel
        self._tubes: dict[tuple[bytes, bytes], tuple[float, Region | None, np.ndarray | None]] = {}
        self.texture = smooth_noise(grid.shape, grid.spacing, rng)
        self._place()

    def _place(self) -> None:
        """Prepare the way from body coordinates to voxel indices: ``ijk = matrix @ body + offset``."""
        inverse = np.linalg.inv(self.grid.affine[:3, :3])
        self._matrix = inverse @ (self.pose.scale * self.pose.rotation)
        self._offset = inverse @ (self.pose.origin - self.grid.affine[:3, 3])

    def move(self, shift: np.ndarray) -> None:
        """Add ``shift`` (3,) mm to every voxel's anatomical coordinates; the warp keeps its place in the scanner."""
        pose, shift = self.pose, np.asarray(shift, float)
        warp = Warp(pose.warp.amplitude, pose.warp.wave, pose.warp.phase - pose.warp.wave @ shift)
        self.pose = Pose(pose.rotation, pose.scale, pose.origin - pose.scale * pose.rotation @ shift, warp)
        self.points += shift.astype(np.float32)
        self._tubes.clear()
        self._place()

    def region(self, low: np.ndarray, high: np.ndarray) -> Region | None:
        """Index slices of the box ``low``..``high`` (anatomical mm), with room for the warp; None when outside."""
        low, high = np.asarray(low, float), np.asarray(high, float)
        middle = self._matrix @ (0.5 * (low + high)) + self._offset
        half = np.abs(self._matrix) @ (0.5 * (high - low) + self._margin)
        start = np.maximum(np.floor(middle - half).astype(int), 0)
        stop = np.minimum(np.ceil(middle + half).astype(int) + 1, self.grid.shape)
        if np.any(start >= stop):
            return None
        return tuple(slice(int(a), int(b)) for a, b in zip(start, stop, strict=True))

    def coverage(self, distance: np.ndarray, softness: float = 1.0) -> np.ndarray:
        """Share of a voxel inside a shape, from its signed distance (mm, negative inside)."""
        return np.clip(0.5 - distance / np.float32(self.voxel * softness), 0, 1)

    def paint(
        self,
        region: Region | None,
        alpha: np.ndarray | None,
        hu: float | np.ndarray,
        *,
        texture: float = 0.0,
        heart: int | None = None,
        calcium: bool = False,
    ) -> None:
        """Lay ``hu`` (plus ``texture`` HU of smooth noise) over ``region`` with opacity ``alpha`` (same shape)."""
        if region is None or alpha is None:
            return
        value = hu + np.float32(texture) * self.texture[region] if texture else np.float32(hu)
        target = self.hu[region]
        target += alpha * (value - target)
        if heart is not None:
            self.heart[region][alpha > 0.5] = heart
        target = self.calcium[region]
        if calcium:
            np.maximum(target, alpha, out=target)

    def shape(
        self,
        low: np.ndarray,
        high: np.ndarray,
        distance: Callable[[np.ndarray], np.ndarray],
        hu: float,
        *,
        opacity: float = 1.0,
        softness: float = 1.0,
        **how: object,
    ) -> None:
        """Paint a shape given by its signed distance (points (..., 3) mm -> (...) mm) inside a bounding box."""
        region = self.region(low, high)
        if region is None:
            return
        alpha = self.coverage(distance(self.points[region]), softness)
        self.paint(region, alpha * np.float32(opacity), hu, **how)

    def ellipsoid(self, shape: Ellipsoid, hu: float, *, grow: float = 0.0, **how: object) -> None:
        """Paint an ellipsoid of :mod:`.shapes`, grown by ``grow`` mm."""
        reach = float(max(shape.axes)) + grow
        self.shape(shape.center - reach, shape.center + reach, lambda p: shape.distance(p) - grow, hu, **how)

    def tube_distance(
        self, path: np.ndarray, radii: np.ndarray, grow: float = 0.0
    ) -> tuple[Region | None, np.ndarray | None]:
        """Signed distance (mm) to a tube along ``path`` (N, 3) with ``radii`` (N,), right up to ``grow`` mm outside it.

        A vessel is painted several times (fat, wall, blood), so the last distances are kept.
        """
        path, radii = np.asarray(path, float), np.asarray(radii, float)
        key = (path.tobytes(), radii.tobytes())
        room, region, out = self._tubes.get(key, (-1.0, None, None))
        if room >= grow:
            return region, out
        reach = radii.max() + grow + 2
        region = self.region(path.min(axis=0) - reach, path.max(axis=0) + reach)
        if region is not None:
            out = self._segments(region, path, radii, grow)
        while len(self._tubes) >= 8:
            self._tubes.pop(next(iter(self._tubes)))
        self._tubes[key] = (grow, region, out)
        return region, out

    def _segments(self, region: Region, path: np.ndarray, radii: np.ndarray, grow: float) -> np.ndarray:
        """Distance to the nearest segment, each looked at in its own box only; 1000 mm elsewhere."""
        out = np.full(self.hu[region].shape, 1e3, np.float32)
        offset = [s.start for s in region]
        for a, b, ra, rb in zip(path[:-1], path[1:], radii[:-1], radii[1:], strict=True):
            reach = max(ra, rb) + grow + 2
            box = self.region(np.minimum(a, b) - reach, np.maximum(a, b) + reach)
            if box is None:
                continue
            inner = tuple(
                slice(max(s.start - o, 0), max(min(s.stop - o, n), 0))
                for s, o, n in zip(box, offset, out.shape, strict=True)
            )
            along = (b - a).astype(np.float32)
            length2 = float(along @ along) or 1e-6
            relative = self.points[region][inner] - a.astype(np.float32)
            onto = relative @ along
            t = np.clip(onto / np.float32(length2), 0, 1)
            square = np.einsum("...i,...i->...", relative, relative) + t * (t * np.float32(length2) - 2 * onto)
            gap = np.sqrt(np.maximum(square, 0)) - (ra + (rb - ra) * t).astype(np.float32)
            np.minimum(out[inner], gap, out=out[inner])
        return out

    def tube(
        self, path: np.ndarray, radii: np.ndarray, hu: float, *, grow: float = 0.0, opacity: float = 1.0, **how: object
    ) -> None:
        """Paint a tube; see :meth:`tube_distance`."""
        region, distance = self.tube_distance(path, radii, grow)
        if region is not None:
            self.paint(region, self.coverage(distance - np.float32(grow)) * np.float32(opacity), hu, **how)


def smooth_noise(shape: tuple[int, ...], spacing: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Noise of about unit variance with grains of 5, 12 and 30 mm, float32 of ``shape``."""
    out = np.zeros(shape, np.float32)
    for grain_mm, weight in ((5.0, 0.6), (12.0, 0.6), (30.0, 0.6)):
        knots = [max(int(np.ceil(n * s / grain_mm)) + 2, 2) for n, s in zip(shape, spacing, strict=True)]
        field_ = rng.normal(size=knots).astype(np.float32)
        for axis, n in enumerate(shape):  # linear interpolation, one axis after another
            place = np.linspace(0, knots[axis] - 1.001, n)
            low = place.astype(int)
            weight_high = (place - low).astype(np.float32)
            take = np.moveaxis(field_, axis, -1)
            take = take[..., low] * (1 - weight_high) + take[..., low + 1] * weight_high
            field_ = np.moveaxis(take, -1, axis)
        out += np.float32(weight * 1.8) * field_
    return out
