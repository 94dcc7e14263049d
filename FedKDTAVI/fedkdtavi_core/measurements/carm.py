"""C-arm angulations in which the annulus plane is seen edge-on.

Angles in degrees: LAO positive (RAO negative), cranial positive (caudal negative). The direction from the isocentre to
the detector, in LPS, is ``v = (sin a cos b, -cos a cos b, sin b)``; the patient lies supine.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from ..numbers import fixed
from .plane import AnnulusPlane
from .row import Row

# What a usual C-arm reaches beside a patient; devices differ, so a view beyond is marked and not left out.
REACH_LAO_RAO_DEG = 60.0
REACH_CRANIAL_CAUDAL_DEG = 45.0
# Below this |nz| the root's axis is horizontal within 1 degree: the curve is a vertical line and tan b has no value.
MIN_NZ = math.sin(math.radians(1.0))


@dataclass(frozen=True)
class View:
    """One angulation: ``lao`` and ``cranial`` in degrees, and whether a usual C-arm reaches it."""

    lao: float
    cranial: float

    @property
    def reachable(self) -> bool:
        """Is it within ``REACH_LAO_RAO_DEG`` and ``REACH_CRANIAL_CAUDAL_DEG``?"""
        return abs(self.lao) <= REACH_LAO_RAO_DEG and abs(self.cranial) <= REACH_CRANIAL_CAUDAL_DEG

    @property
    def words(self) -> tuple[str, str]:
        """Both angles as they are called out: ``("LAO 12", "CRA 5")``."""
        lao, cranial = fixed(self.lao), fixed(self.cranial)
        across = f"RAO {lao[1:]}" if lao.startswith("-") else f"LAO {lao}"
        along = f"CAU {cranial[1:]}" if cranial.startswith("-") else f"CRA {cranial}"
        return across, along

    def __str__(self) -> str:
        return " ".join(self.words)


@dataclass(frozen=True)
class CArm:
    """Views for one annulus plane.

    Attributes:
        curve: (N, 2) LAO and cranial in degrees of the perpendicular views, in drawing order.
        three_cusp: the view with the RCC hinge point in the middle, between NCC and LCC.
        cusp_overlap: the view in which the RCC and LCC hinge points overlap.
    """

    curve: np.ndarray
    three_cusp: View
    cusp_overlap: View

    def rows(self) -> list[Row]:
        """Four rows: both angles of both views."""
        values: list[Row] = []
        for view, pair in ((self.three_cusp, _ROWS[:2]), (self.cusp_overlap, _ROWS[2:])):
            warning = "" if view.reachable else "out of a usual C-arm's reach"
            for row, value in zip(pair, (view.lao, view.cranial), strict=True):
                values.append(replace(row, value=value, warning=warning))
        return values


def _row(row_id: str, name: str, definition: str) -> Row:
    return Row(row_id, name, None, "deg", "", definition, "", "carm")


_THREE = "view along RCC - (NCC + LCC)/2, perpendicular to the plane's normal; patient supine"
_OVERLAP = "view along RCC - LCC: both hinge points overlap, NCC isolated; patient supine"
_ROWS = (
    _row("three_cusp_lao", "Three-cusp view, LAO + / RAO -", _THREE),
    _row("three_cusp_cranial", "Three-cusp view, cranial + / caudal -", _THREE),
    _row("cusp_overlap_lao", "Cusp-overlap view, LAO + / RAO -", _OVERLAP),
    _row("cusp_overlap_cranial", "Cusp-overlap view, cranial + / caudal -", _OVERLAP),
)


def missing_rows(reason: str) -> list[Row]:
    """The rows when there is no plane."""
    return [row.missing(reason) for row in _ROWS]


def direction(lao: float, cranial: float) -> np.ndarray:
    """(3,) unit vector from the isocentre to the detector in LPS, for angles in degrees."""
    a, b = math.radians(lao), math.radians(cranial)
    return np.array([math.sin(a) * math.cos(b), -math.cos(a) * math.cos(b), math.sin(b)])


def view_along(vector_lps: np.ndarray) -> View:
    """The view whose direction is parallel to ``vector_lps`` (3,), signed so that the detector is in front: v_y < 0."""
    v = np.asarray(vector_lps, float) / np.linalg.norm(vector_lps)
    if v[1] > 0:
        v = -v
    return View(math.degrees(math.atan2(v[0], -v[1])), math.degrees(math.asin(min(1.0, max(-1.0, v[2])))))


def cranial_for(normal_lps: np.ndarray, lao: float) -> float | None:
    """Cranial angle of the perpendicular view at ``lao``: tan b = (ny cos a - nx sin a) / nz; degrees.

    None when the root's axis is horizontal (``|nz| < MIN_NZ``): then the perpendicular views share one LAO angle.
    """
    nx, ny, nz = np.asarray(normal_lps, float)
    if abs(nz) < MIN_NZ:
        return None
    a = math.radians(lao)
    return math.degrees(math.atan((ny * math.cos(a) - nx * math.sin(a)) / nz))


def perpendicular_curve(normal_lps: np.ndarray, step_deg: float = 1.0) -> np.ndarray:
    """(N, 2) LAO in [-90, 90] and cranial in degrees of all views perpendicular to ``normal_lps`` (3,).

    For a horizontal axis the curve is the vertical line at the LAO angle with ny cos a = nx sin a.
    """
    normal = np.asarray(normal_lps, float)
    angles = np.arange(-90.0, 90.0 + step_deg / 2, step_deg)
    if abs(normal[2]) < MIN_NZ:
        # atan2 gives one of two opposite directions; the detector stays in front of the patient (|LAO| <= 90).
        lao = math.degrees(math.atan2(normal[1], normal[0]))
        lao = lao - 180.0 if lao > 90.0 else lao + 180.0 if lao < -90.0 else lao
        return np.column_stack([np.full_like(angles, lao), angles])
    return np.array([(a, cranial_for(normal, a)) for a in angles])


def carm_views(plane: AnnulusPlane) -> CArm:
    """Perpendicular curve, three-cusp and cusp-overlap view of an annulus plane."""
    to_lps = np.array([-1.0, -1.0, 1.0])
    rcc, lcc, ncc = plane.hinges * to_lps
    return CArm(
        curve=perpendicular_curve(plane.normal * to_lps),
        three_cusp=view_along(rcc - (ncc + lcc) / 2),
        cusp_overlap=view_along(rcc - lcc),
    )
