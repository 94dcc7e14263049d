"""A CT in memory: Hounsfield units in NIfTI order with an affine to RAS millimetres."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Grid:
    """A sampling grid: shape (i, j, k) and a 4x4 affine from voxel indices to RAS mm."""

    shape: tuple[int, int, int]
    affine: np.ndarray

    @property
    def spacing(self) -> np.ndarray:
        """(3,) voxel size in mm along i, j, k."""
        return np.linalg.norm(self.affine[:3, :3], axis=0)

    @property
    def voxel_volume(self) -> float:
        """Volume of one voxel in mm^3."""
        return float(abs(np.linalg.det(self.affine[:3, :3])))

    def to_ras(self, ijk: np.ndarray) -> np.ndarray:
        """(..., 3) voxel indices -> (..., 3) RAS mm."""
        return np.asarray(ijk, float) @ self.affine[:3, :3].T + self.affine[:3, 3]

    def to_ijk(self, ras: np.ndarray) -> np.ndarray:
        """(..., 3) RAS mm -> (..., 3) continuous voxel indices."""
        inverse = np.linalg.inv(self.affine[:3, :3])
        return (np.asarray(ras, float) - self.affine[:3, 3]) @ inverse.T

    def contains(self, ras: np.ndarray, margin_mm: float = 0.0) -> np.ndarray:
        """(...,) bool: is the point inside the voxels' extent, at least ``margin_mm`` from its faces?"""
        ijk = self.to_ijk(ras)
        margin = margin_mm / self.spacing
        upper = np.asarray(self.shape) - 0.5 - margin
        return np.all((ijk >= -0.5 + margin) & (ijk <= upper), axis=-1)

    def box_around(self, ras: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The box of voxels around points (N, 3) in RAS mm, cut at the grid: its first index and its end, (3,) each.

        An end that is no larger than the first index: the box holds no voxel.
        """
        ijk = self.to_ijk(ras)
        first = np.clip(np.floor(ijk.min(axis=0)).astype(int), 0, self.shape)
        return first, np.clip(np.ceil(ijk.max(axis=0)).astype(int) + 1, 0, self.shape)


@dataclass(frozen=True)
class Volume:
    """A CT: ``array`` (i, j, k) in HU (int16 or float32), ``affine`` (4, 4) to RAS mm.

    ``info`` is JSON-able: ``path``, ``format``, and where known ``series``, ``phase``, ``slice_thickness_mm``,
    ``kernel``, ``repaired_share`` and ``notes`` (sentences on what the reader chose or mended).
    """

    array: np.ndarray
    affine: np.ndarray
    info: dict[str, Any] = field(default_factory=dict)

    @property
    def grid(self) -> Grid:
        """The grid the voxels lie on."""
        return Grid(tuple(int(n) for n in self.array.shape), self.affine)

    @property
    def spacing(self) -> np.ndarray:
        """(3,) voxel size in mm along i, j, k."""
        return self.grid.spacing
