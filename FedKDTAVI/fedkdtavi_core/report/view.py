"""Planes through the CT: where a picture of the page lies in the patient, and its voxels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..geometry import resample, resample_labels
from ..volume import Grid, Volume

LEFT = np.array([-1.0, 0.0, 0.0])
ANTERIOR = np.array([0.0, 1.0, 0.0])
SUPERIOR = np.array([0.0, 0.0, 1.0])
_LETTERS = (("R", "L"), ("A", "P"), ("S", "I"))  # along +x, -x of RAS, and so on


@dataclass(frozen=True)
class View:
    """An oblique square picture.

    Attributes:
        center: (3,) RAS mm, the middle of the picture.
        right, up: (3,) unit vectors in RAS, orthogonal; where the picture's axes point in the patient.
        width: side of the square in mm.
        pixel: pixel size in mm.
    """

    center: np.ndarray
    right: np.ndarray
    up: np.ndarray
    width: float
    pixel: float = 0.25

    @property
    def extent(self) -> tuple[float, float, float, float]:
        """Left, right, bottom, top in mm from the centre, as matplotlib's imshow takes it."""
        half = self.width / 2
        return (-half, half, -half, half)

    def project(self, points: np.ndarray) -> np.ndarray:
        """(..., 3) RAS mm -> (..., 2) mm along ``right`` and ``up`` from the centre."""
        offset = np.asarray(points, float) - self.center
        return np.stack([offset @ self.right, offset @ self.up], axis=-1)

    def _grid(self, low: float, high: float, step: float, pixel: float) -> Grid:
        count = round(self.width / pixel)
        layers = 1 + max(round((high - low) / step), 0)
        normal = np.cross(self.right, self.up)
        affine = np.eye(4)
        affine[:3, 0], affine[:3, 1], affine[:3, 2] = self.right * pixel, self.up * pixel, normal * step
        shift = (count - 1) / 2 * pixel
        affine[:3, 3] = self.center - shift * (self.right + self.up) + low * normal
        return Grid((count, count, layers), affine)

    def sample(self, volume: Volume) -> np.ndarray:
        """(rows, columns) HU of the plane, linear interpolation, for imshow with ``origin="lower"``; NaN outside."""
        return resample(volume, self._grid(0.0, 0.0, 1.0, self.pixel), fill=np.nan)[:, :, 0].T

    def slab(self, volume: Volume, low: float, high: float) -> np.ndarray:
        """(rows, columns) HU: maximum intensity over ``low``..``high`` mm along right x up; NaN outside."""
        # Twice the pixel is enough under a maximum, and keeps the samples few.
        values = resample(volume, self._grid(low, high, 0.7, 2 * self.pixel), fill=-np.inf).max(axis=2).T
        return np.where(np.isfinite(values), values, np.nan)

    def slab_mask(self, mask: np.ndarray, affine: np.ndarray, low: float, high: float) -> np.ndarray:
        """(rows, columns) bool: is any voxel of ``mask`` seen through the slab ``low``..``high`` mm?"""
        part, affine = _crop(mask, affine)
        if part is None:
            count = round(self.width / (2 * self.pixel))
            return np.zeros((count, count), bool)
        grid = self._grid(low, high, 0.5, 2 * self.pixel)
        return resample_labels(part, affine, grid).any(axis=2).T

    def letters(self) -> dict[str, str]:
        """The patient's directions at the picture's edges: keys left, right, bottom, top; values such as L or AS."""
        return {
            "left": direction(-self.right),
            "right": direction(self.right),
            "bottom": direction(-self.up),
            "top": direction(self.up),
        }


def direction(vector: np.ndarray) -> str:
    """One or two letters for a direction in RAS, the stronger first; a second only above a third of the first."""
    order = np.argsort(-np.abs(vector))
    words = [_LETTERS[axis][0 if vector[axis] > 0 else 1] for axis in order]
    return words[0] + (words[1] if abs(vector[order[1]]) > abs(vector[order[0]]) / 3 else "")


def unit(vector: np.ndarray) -> np.ndarray:
    """The vector at length 1."""
    return vector / np.linalg.norm(vector)


def across(normal: np.ndarray, center: np.ndarray, width: float, pixel: float = 0.25) -> View:
    """The plane across ``normal`` seen from the left ventricle, as axial slices are: patient's left on the right.

    ``right`` x ``up`` is -normal: the picture's third axis runs towards the viewer, who looks along ``normal``.
    """
    along = LEFT if abs(normal @ LEFT) < 0.9 else ANTERIOR
    right = unit(along - (along @ normal) * normal)
    return View(center, right, np.cross(right, normal), width, pixel)


def lengthwise(normal: np.ndarray, center: np.ndarray, towards: np.ndarray, width: float, pixel: float = 0.25) -> View:
    """The plane that holds the axis ``normal`` through ``center`` and the point ``towards``; ``normal`` points up.

    Left and right are as in coronal pictures (patient's left on the right) where the plane is more coronal, otherwise
    as in sagittal ones (anterior on the left).
    """
    offset = towards - center
    flat = offset - (offset @ normal) * normal
    if np.linalg.norm(flat) < 1.0:  # the point lies on the axis: any plane holds both
        flat = LEFT - (LEFT @ normal) * normal
    right = unit(flat)
    coronal = abs(right @ LEFT) >= abs(right @ ANTERIOR)
    if (right @ LEFT if coronal else -right @ ANTERIOR) < 0:
        right = -right
    return View(center, right, normal, width, pixel)


def _crop(mask: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray | None, np.ndarray]:
    """The part of a mask that is set, with its affine; None when nothing is."""
    bounds = []
    for axis in range(3):
        others = tuple(a for a in range(3) if a != axis)
        found = np.flatnonzero(mask.any(axis=others))
        if not len(found):
            return None, affine
        bounds.append((int(found[0]), int(found[-1]) + 1))
    moved = np.array(affine, float)
    moved[:3, 3] += moved[:3, :3] @ [start for start, _ in bounds]
    return mask[tuple(slice(a, b) for a, b in bounds)], moved
