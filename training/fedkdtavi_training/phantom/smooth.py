"""Fields that vary slowly, computed on a thinned grid and interpolated: an outline needs no work per voxel."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from .canvas import Canvas, Region

# Knots at most this far apart: a surface bent with a radius of 50 mm is then off by 0.05 mm.
_KNOT_MM = 4.5
_SLAB_VOXELS = 3_000_000


@dataclass
class _Axis:
    knots: np.ndarray
    low: np.ndarray
    weight: np.ndarray


class SmoothGrid:
    """A thinned copy of a canvas' points on which smooth signed distances are evaluated.

    Attributes:
        points: float32 (a, b, c, 3) anatomical mm of the knots.
    """

    def __init__(self, canvas: Canvas) -> None:
        self.canvas = canvas
        step = max(int(_KNOT_MM / canvas.voxel), 1)
        self._axes = []
        for n in canvas.hu.shape:
            knots = np.unique(np.append(np.arange(0, n, step), n - 1))
            place = np.interp(np.arange(n), knots, np.arange(len(knots)))
            low = np.minimum(place.astype(int), max(len(knots) - 2, 0))
            self._axes.append(_Axis(knots, low, (place - low).astype(np.float32)))
        self._whole = step == 1
        index = np.ix_(*(axis.knots for axis in self._axes))
        self.points = canvas.points if self._whole else canvas.points[index]

    def box(self, mask: np.ndarray) -> Region | None:
        """The voxels around all knots where ``mask`` (a, b, c) holds, one knot wider; None when it holds nowhere."""
        region = []
        for number, axis in enumerate(self._axes):
            hit = np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != number)))
            if not hit.size:
                return None
            first, last = max(hit[0] - 1, 0), min(hit[-1] + 1, len(axis.knots) - 1)
            region.append(slice(int(axis.knots[first]), int(axis.knots[last]) + 1))
        return tuple(region)

    def within(
        self, low: np.ndarray, high: np.ndarray, distance: Callable[[np.ndarray], np.ndarray], far: float = 1e3
    ) -> np.ndarray:
        """A signed distance at the knots, evaluated only in the box ``low``..``high`` (mm) and ``far`` elsewhere."""
        field = np.full(self.points.shape[:3], far, np.float32)
        region = self.canvas.region(low, high)
        if region is not None:
            box = tuple(
                slice(max(np.searchsorted(axis.knots, s.start) - 1, 0), np.searchsorted(axis.knots, s.stop) + 1)
                for axis, s in zip(self._axes, region, strict=True)
            )
            field[box] = distance(self.points[box])
        return field

    def slabs(self, mask: np.ndarray) -> Iterator[Region]:
        """Regions that together hold every voxel near a knot where ``mask`` holds, few enough voxels at a time."""
        box = self.box(mask)
        if box is None:
            return
        rows = max(_SLAB_VOXELS // max((box[1].stop - box[1].start) * (box[2].stop - box[2].start), 1), 1)
        for start in range(box[0].start, box[0].stop, rows):
            yield (slice(start, min(start + rows, box[0].stop)), box[1], box[2])

    def up(self, field: np.ndarray, region: Region) -> np.ndarray:
        """A field at the knots (a, b, c), linearly interpolated to the voxels of ``region``; float32."""
        if self._whole:
            return field[region]
        out = np.asarray(field, np.float32)
        for number in (2, 1, 0):  # the outermost axis last: it copies whole planes
            axis, part = self._axes[number], region[number]
            low, weight = axis.low[part], axis.weight[part]
            if len(axis.knots) == 1:
                continue
            weight = weight.reshape([-1 if a == number else 1 for a in range(3)])
            first = np.take(out, low, axis=number)
            second = np.take(out, low + 1, axis=number)
            second -= first
            second *= weight
            second += first
            out = second
        return out

    def fill(
        self, field: np.ndarray, hu: float | Callable[[Region], np.ndarray], *, opacity: float = 1.0, **how: object
    ) -> None:
        """Paint where ``field`` (signed distance in mm at the knots) is negative; ``hu`` may depend on the region."""
        for region in self.slabs(field < self.canvas.voxel):
            alpha = self.canvas.coverage(self.up(field, region))
            if opacity != 1:
                alpha *= np.float32(opacity)
            self.canvas.paint(region, alpha, hu(region) if callable(hu) else hu, **how)
