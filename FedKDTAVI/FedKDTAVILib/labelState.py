"""What a label is at one moment: its status and its value, small enough to be kept for every step of a review."""

from __future__ import annotations

import base64
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from fedkdtavi_core.annotation import Status

# A click moves nothing and storing rounds nothing away: what moved further was moved by a person.
MOVED_MM = 0.05
REVIEWED = frozenset({Status.ABSENT, Status.CORRECTED, Status.CONFIRMED})

Point = tuple[float, float, float]
Curve = tuple[Point, ...]


@dataclass(frozen=True)
class Voxels:
    """Which voxels of the CT belong to a segment: packed bits of their bounding box, compressed.

    Two of them are equal exactly when the same voxels are set, whatever grid they were read from.

    Attributes:
        start: (i, j, k) of the box's first voxel on the CT's grid; zeros when nothing is set.
        shape: (i, j, k) size of the box; zeros when nothing is set.
        bits: the packed and compressed box.
    """

    start: tuple[int, int, int] = (0, 0, 0)
    shape: tuple[int, int, int] = (0, 0, 0)
    bits: bytes = b""

    @staticmethod
    def of(mask: np.ndarray, start: tuple[int, int, int] = (0, 0, 0)) -> Voxels:
        """The voxels set in ``mask`` (i, j, k), whose first voxel lies at ``start`` on the CT's grid."""
        mask = np.asarray(mask)
        mask = mask.view(bool) if mask.dtype.itemsize == 1 else mask != 0
        box = [slice(0, size) for size in mask.shape]
        # Slice by slice along memory: a CT's mask is large and mostly empty, and this is done at every step.
        for axis in np.argsort(np.abs(mask.strides))[::-1]:
            slices = np.moveaxis(mask[tuple(box)], axis, 0)
            used = [number for number in range(len(slices)) if slices[number].any()]
            if not used:
                return Voxels()
            box[axis] = slice(used[0], used[-1] + 1)
        inner = np.ascontiguousarray(mask[tuple(box)])
        place = tuple(int(first) + part.start for first, part in zip(start, box, strict=True))
        return Voxels(place, inner.shape, zlib.compress(np.packbits(inner).tobytes(), 1))

    def box(self) -> np.ndarray:
        """bool (i, j, k) of ``shape``: the box's voxels."""
        count = int(np.prod(self.shape))
        if not count:
            return np.zeros(self.shape, bool)
        packed = np.frombuffer(zlib.decompress(self.bits), np.uint8)
        return np.unpackbits(packed, count=count).reshape(self.shape).astype(bool)

    def mask(self, shape: tuple[int, int, int]) -> np.ndarray:
        """uint8 (i, j, k) on a CT grid of ``shape``; voxels beyond it are left out."""
        full = np.zeros(shape, np.uint8)
        inside = tuple(
            slice(max(first, 0), min(first + size, most))
            for first, size, most in zip(self.start, self.shape, shape, strict=True)
        )
        part = tuple(slice(cut.start - first, cut.stop - first) for cut, first in zip(inside, self.start, strict=True))
        if all(cut.stop > cut.start for cut in inside):
            full[inside] = self.box()[part]
        return full

    @property
    def count(self) -> int:
        """How many voxels are set."""
        return int(np.count_nonzero(self.box()))


Value = Point | Voxels | Curve | None


@dataclass(frozen=True)
class LabelState:
    """One label at one moment.

    Attributes:
        status: see :class:`~fedkdtavi_core.annotation.Status`.
        value: a landmark's (R, A, S) in mm; a segment's :class:`Voxels`; a contour's control points in RAS mm; None
            when there is none (not found, absent, not assessed, not measurable).
    """

    status: Status = Status.PREDICTED
    value: Value = None

    @property
    def reviewed(self) -> bool:
        """Has a person decided on it?"""
        return self.status in REVIEWED


def point(position: Any) -> Point | None:
    """A position (3,) in RAS mm as a label's value; None stays None."""
    return None if position is None else tuple(float(x) for x in position)


def curve(points: Any) -> Curve | None:
    """Control points (N, 3) in RAS mm as a label's value; None and an empty curve are None."""
    return None if points is None or not len(points) else tuple(point(p) for p in np.asarray(points, float))


def differs(first: Value, second: Value) -> bool:
    """Are these different for a person: other voxels, other points, or points over ``MOVED_MM`` away?"""
    if first is None or second is None or isinstance(first, Voxels) or isinstance(second, Voxels):
        return first != second
    a, b = np.asarray(first, float), np.asarray(second, float)
    return a.shape != b.shape or float(np.linalg.norm(np.atleast_2d(a - b), axis=1).max()) > MOVED_MM


def toJson(state: LabelState) -> dict[str, Any]:
    """JSON-able, for the scene file."""
    value: Any = state.value
    if isinstance(value, Voxels):
        bits = base64.b64encode(value.bits).decode("ascii")
        value = {"start": list(value.start), "shape": list(value.shape), "bits": bits}
    return {"status": str(state.status), "value": value}


def fromJson(content: Any) -> LabelState:
    """What :func:`toJson` wrote. Raises ValueError when it is something else."""
    try:
        value, status = content["value"], Status(content["status"])
        if isinstance(value, dict):
            start, shape = (tuple(int(n) for n in value[key]) for key in ("start", "shape"))
            voxels = Voxels(start, shape, base64.b64decode(value["bits"]))
            voxels.box()  # broken bits are refused here, not in the middle of an undo
            return LabelState(status, voxels)
        if value and isinstance(value[0], list):
            return LabelState(status, curve(value))
        return LabelState(status, point(value))
    except (KeyError, TypeError, zlib.error, IndexError, AttributeError) as error:
        raise ValueError(f"not the state of a label: {error}") from None
