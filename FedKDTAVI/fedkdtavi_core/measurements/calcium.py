"""Calcium volumes: in all, per cusp, at the annulus and in the outflow tract. Never an Agatston score."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ..volume import Grid
from .plane import AnnulusPlane
from .row import NotMeasurable, Row

ANNULAR_BAND_MM = 2.0
LVOT_DEPTH_MM = 10.0


@dataclass(frozen=True)
class CalciumVolumes:
    """Volumes in mm^3; all but ``total`` are None without an annulus plane.

    Attributes:
        total: all of the mask.
        cusps: (right, left, non-coronary), voxels at or above the plane, each counted to the cusp whose hinge point
            is nearest in angle around the root axis: the sectors are bounded by the mid-angles between hinge points.
        annular: within ``ANNULAR_BAND_MM`` of the plane, on either side; overlaps cusps and outflow tract.
        lvot: below the plane, down to ``LVOT_DEPTH_MM``.
        deeper: below that; part of ``total`` only.
    """

    total: float
    cusps: tuple[float, float, float] | None = None
    annular: float | None = None
    lvot: float | None = None
    deeper: float | None = None


def calcium_volumes(mask: np.ndarray, grid: Grid, plane: AnnulusPlane | None) -> CalciumVolumes:
    """Volumes of a mask (uint8 or bool, (i, j, k)) on the CT's grid.

    Raises:
        NotMeasurable: the mask does not lie on the CT's grid.
    """
    if tuple(mask.shape) != tuple(grid.shape):
        raise NotMeasurable("the calcification does not lie on the CT's voxels")
    ijk = set_voxels(mask)
    unit = grid.voxel_volume
    total = len(ijk) * unit
    if plane is None:
        return CalciumVolumes(total)
    points = grid.to_ras(ijk)
    height = plane.height(points)
    cusp = nearest_cusp(plane, points)
    above = height >= 0
    right, left, non = (float(np.count_nonzero(above & (cusp == n))) * unit for n in range(3))
    below = ~above
    lvot = float(np.count_nonzero(below & (height >= -LVOT_DEPTH_MM))) * unit
    return CalciumVolumes(
        total=total,
        cusps=(right, left, non),
        annular=float(np.count_nonzero(np.abs(height) <= ANNULAR_BAND_MM)) * unit,
        lvot=lvot,
        deeper=float(np.count_nonzero(below)) * unit - lvot,
    )


def nearest_cusp(plane: AnnulusPlane, points: np.ndarray) -> np.ndarray:
    """(...) int 0, 1, 2 = RCC, LCC, NCC: the hinge point nearest in angle around the root axis."""
    difference = np.asarray(plane.angle(points))[..., None] - plane.angle(plane.hinges)
    return np.abs((difference + np.pi) % (2 * np.pi) - np.pi).argmin(axis=-1)


def set_voxels(mask: np.ndarray) -> np.ndarray:
    """(n, 3) indices of the voxels that are set; reads a mostly empty mask eight voxels at a time."""
    order = "F" if mask.flags.f_contiguous and not mask.flags.c_contiguous else "C"
    flat = np.asarray(mask).ravel(order=order)
    flat = flat.view(np.uint8) if flat.dtype.itemsize == 1 else (flat != 0).view(np.uint8)
    whole = len(flat) // 8 * 8
    words = np.flatnonzero(flat[:whole].view(np.uint64))
    places = (words[:, None] * 8 + np.arange(8)).ravel()
    places = np.concatenate([places, np.arange(whole, len(flat))])
    places = places[flat[places] != 0]
    return np.stack(np.unravel_index(places, mask.shape, order=order), axis=-1)


def _row(row_id: str, name: str, normal: str, definition: str) -> Row:
    return Row(row_id, name, None, "mm3", normal, definition, "", "calcium")


_SECTOR = "calcium at or above the annulus plane, in the cusp's sector (bounded by the mid-angles between hinge points)"
_ROWS = (
    _row(
        "calcium_total",
        "Calcium volume",
        "381 [227-632], TAVI patients (CIRCIMAGING.121.012884)",
        "volume of the calcification; not an Agatston score",
    ),
    _row("calcium_rcc", "Calcium, right cusp", "", _SECTOR),
    _row("calcium_lcc", "Calcium, left cusp", "", _SECTOR),
    _row("calcium_ncc", "Calcium, non-coronary cusp", "", _SECTOR),
    _row(
        "calcium_annular",
        "Calcium, annular band (overlaps)",
        "",
        f"calcium within {ANNULAR_BAND_MM:.0f} mm of the annulus plane; also counted to cusps and outflow tract",
    ),
    _row(
        "calcium_lvot",
        "Calcium, LVOT",
        "",
        f"calcium below the annulus plane, down to {LVOT_DEPTH_MM:.0f} mm",
    ),
)


def missing_rows(reason: str) -> list[Row]:
    """The rows when nothing was or can be measured."""
    return [row.missing(reason) for row in _ROWS]


def calcium_rows(volumes: CalciumVolumes, rule: str, no_plane: str = "", warning: str = "") -> list[Row]:
    """Six rows; ``rule`` (rule and HU threshold) is printed in every definition."""
    cusps = volumes.cusps or (None, None, None)
    values = (volumes.total, *cusps, volumes.annular, volumes.lvot)
    rows = []
    for row, value in zip(_ROWS, values, strict=True):
        stated = replace(row, definition=f"{row.definition}; {rule}", warning=warning if row is _ROWS[0] else "")
        rows.append(stated.missing(no_plane) if value is None else replace(stated, value=value))
    return rows
