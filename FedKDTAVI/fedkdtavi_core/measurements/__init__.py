"""What a TAVI planner derives from the labels of one CT, each number with unit, definition, normal range and warning.

``measure`` never fails because something is missing: the number is None then, and its row says why.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..annotation import Annotation, Status
from ..volume import Volume
from .blood import root_blood
from .calcium import CalciumVolumes, calcium_rows, calcium_volumes
from .calcium import missing_rows as no_calcium_rows
from .carm import CArm, View, carm_views
from .carm import missing_rows as no_carm_rows
from .contour import MUCH_CALCIUM_SHARE, Contour, circle_points, trace_lumen
from .coronary import coronary_rows
from .curve import CurveSize, measure_curve, size_rows
from .plane import AnnulusPlane, annulus_plane
from .plane import missing_rows as no_plane_rows
from .row import NotMeasurable, Row
from .septum import septum_rows
from .suitability import Suitability, assess

__all__ = [
    "AnnulusContour",
    "AnnulusPlane",
    "CArm",
    "CalciumVolumes",
    "Contour",
    "CurveSize",
    "Measurements",
    "NotMeasurable",
    "Row",
    "Suitability",
    "View",
    "annulus_contour",
    "annulus_plane",
    "circle_points",
    "landmark_points",
    "measure",
    "measure_curve",
    "trace_lumen",
]

NOT_MEASURABLE = "not measurable: "
# A contour that strays this far from the annulus plane was made for another plane.
MAX_OUT_OF_PLANE_MM = 1.0
# Hinge points lie on the annulus: a contour that passes them by at this mean distance is worth a look.
MAX_HINGE_DISTANCE_MM = 4.0


@dataclass(frozen=True)
class AnnulusContour:
    """The annulus as it is measured: a reviewed curve, or one traced in the CT.

    Attributes:
        points: (N, 3) RAS mm, closed, or None when not measurable.
        size: areas and diameters, or None.
        reason: why it is not measurable; empty when it is.
        warning: what to know about it.
        source: "reviewed", "predicted" or "traced".
    """

    points: np.ndarray | None
    size: CurveSize | None
    reason: str = ""
    warning: str = ""
    source: str = "traced"

    def rows(self) -> list[Row]:
        """Area, perimeter, diameters, eccentricity; a warning stands at the first of them."""
        if self.size is None:
            return size_rows(reason=self.reason.removeprefix(NOT_MEASURABLE))
        first, *rest = self.size.rows()
        return [replace(first, warning=self.warning), *rest]


@dataclass(frozen=True)
class Measurements:
    """All measurements of one CT.

    Attributes:
        suitability: what the CT allows; read it first.
        plane: the annulus plane, or None with ``plane_reason``.
        contour: the annulus contour with sizes, or why there is none.
        calcium: volumes in mm^3, or None.
        calcium_rule: rule and HU threshold of the calcification, or why there is none.
        carm: perpendicular curve and views, or None without a plane.
    """

    suitability: Suitability
    plane: AnnulusPlane | None
    plane_reason: str
    contour: AnnulusContour
    calcium: CalciumVolumes | None
    calcium_rule: str
    carm: CArm | None
    _rows: tuple[Row, ...]
    _warnings: tuple[str, ...]

    def rows(self) -> list[dict[str, Any]]:
        """The table: one dict per number with the keys of :class:`Row`, always the same ids in the same order."""
        return [row.to_dict() for row in self._rows]

    def value(self, row_id: str) -> float | None:
        """One number by its id, unrounded. Raises KeyError for an unknown id."""
        for row in self._rows:
            if row.id == row_id:
                return row.value
        raise KeyError(f"unknown measurement {row_id!r}; known: {', '.join(row.id for row in self._rows)}")

    @property
    def suitability_line(self) -> str:
        """One line: may this CT be measured, and what speaks against it."""
        return self.suitability.line

    @property
    def warnings(self) -> list[str]:
        """Sentences that a reader must see before the numbers, worst first."""
        return list(self._warnings)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able: suitability, plane, C-arm, calcium rule, warnings and all rows."""
        plane, carm, blood = self.plane, self.carm, self.suitability.blood
        return {
            "warnings": self.warnings,
            "suitability": {
                "line": self.suitability.line,
                "contrast": self.suitability.contrast,
                "refusal": self.suitability.refusal,
                "lumen_hu": None if blood is None else round(blood.mean, 1),
                "lumen_sd_hu": None if blood is None else round(blood.sd, 1),
                "phase": self.suitability.phase_text,
                "uncovered": list(self.suitability.uncovered),
            },
            "plane": None
            if plane is None
            else {
                "coordinate_system": "RAS",
                "centre_mm": plane.centre.round(3).tolist(),
                "normal": plane.normal.round(6).tolist(),
                "circle_proxy_diameter_mm": round(plane.circle_diameter, 3),
            },
            "plane_reason": self.plane_reason,
            "annulus_contour": {
                "measurable": self.contour.size is not None,
                "reason": self.contour.reason,
                "source": self.contour.source,
            },
            "calcium_rule": self.calcium_rule,
            "c_arm": None
            if carm is None
            else {
                name: {
                    "text": str(view),
                    "lao_deg": round(view.lao, 1),
                    "cranial_deg": round(view.cranial, 1),
                    "reachable": view.reachable,
                }
                for name, view in (("three_cusp", carm.three_cusp), ("cusp_overlap", carm.cusp_overlap))
            },
            "rows": self.rows(),
        }


def measure(volume: Volume, annotation: Annotation) -> Measurements:
    """All measurements of one CT; nothing raises because a label is missing.

    A reviewed contour (corrected, confirmed) is measured as it is; otherwise the lumen's edge is traced in the plane
    of the hinge points, unless the annotation's predicted contour already lies in it.
    """
    points = landmark_points(annotation)
    plane, plane_reason = None, ""
    try:
        plane = annulus_plane(points)
    except NotMeasurable as error:
        plane_reason = f"no annulus plane: {error}"
    blood, blood_reason = None, ""
    try:
        blood = root_blood(volume, plane, points)
    except NotMeasurable as error:
        blood_reason = str(error)
    suitability = assess(volume, plane, points, blood, blood_reason)

    contour = _contour(volume, annotation, plane, plane_reason, suitability)
    volumes, rule, calcium_table = _measure_calcium(volume, annotation, plane, plane_reason, suitability)
    carm = None if plane is None else carm_views(plane)
    coronary = coronary_rows(plane, points, plane_reason)
    rows = (
        *suitability.rows(),
        *contour.rows(),
        *(no_plane_rows(plane_reason) if plane is None else plane.rows()),
        *coronary,
        *septum_rows(plane, points, plane_reason),
        *calcium_table,
        *(no_carm_rows(plane_reason) if carm is None else carm.rows()),
    )
    warnings = [f"{row.name}: {row.warning}" for row in coronary if row.warning]
    warnings += [plane.warning] if plane is not None and plane.warning else []
    warnings += suitability.warnings
    warnings += [plane_reason] if plane_reason else []
    warnings += [f"annulus {contour.reason}"] if contour.reason and not plane_reason else []
    warnings += [contour.warning] if contour.warning else []
    return Measurements(suitability, plane, plane_reason, contour, volumes, rule, carm, rows, tuple(warnings))


def landmark_points(annotation: Annotation) -> dict[str, np.ndarray | None]:
    """id -> (3,) RAS mm or None, for every landmark; absent or not finite counts as missing."""
    points: dict[str, np.ndarray | None] = {}
    for label_id, landmark in annotation.landmarks.items():
        position = None if landmark.position is None else np.asarray(landmark.position, float)
        usable = landmark.status is not Status.ABSENT and position is not None and np.isfinite(position).all()
        points[label_id] = position if usable else None
    return points


def annulus_contour(volume: Volume, plane: AnnulusPlane) -> AnnulusContour:
    """Trace the annulus in the CT; a contour that leaks is returned as not measurable, with the reason."""
    try:
        found = trace_lumen(volume, plane.centre, plane.normal, expected_radius_mm=plane.radius)
    except NotMeasurable as error:
        return AnnulusContour(None, None, f"{NOT_MEASURABLE}{error}")
    warnings = []
    if found.calcium_share > MUCH_CALCIUM_SHARE:
        warnings.append(f"calcium hides the annulus edge on {100 * found.calcium_share:.0f} % of the rays: check it")
    nearest = np.linalg.norm(found.points[None] - plane.hinges[:, None], axis=2).min(axis=1)
    if nearest.mean() > MAX_HINGE_DISTANCE_MM:
        warnings.append(f"the annulus contour passes the hinge points by {nearest.mean():.0f} mm: check it")
    return AnnulusContour(found.points, found.size, "", "; ".join(warnings))


def _contour(
    volume: Volume,
    annotation: Annotation,
    plane: AnnulusPlane | None,
    plane_reason: str,
    suitability: Suitability,
) -> AnnulusContour:
    given, status = annotation.annulus_contour, annotation.contour_status
    if status is Status.ABSENT:
        return AnnulusContour(None, None, f"{NOT_MEASURABLE}marked so by the reviewer", source="reviewed")
    reviewed = status in (Status.CORRECTED, Status.CONFIRMED)
    if given is not None:
        away = 0.0 if plane is None else float(np.abs(plane.height(given)).max(initial=0.0))
        if reviewed or (plane is not None and away <= MAX_OUT_OF_PLANE_MM and not suitability.refusal):
            return _given_contour(np.asarray(given, float), plane, away, "reviewed" if reviewed else "predicted")
    if suitability.refusal:
        return AnnulusContour(None, None, f"{NOT_MEASURABLE}{suitability.refusal}")
    if plane is None:
        return AnnulusContour(None, None, plane_reason)
    return annulus_contour(volume, plane)


def _given_contour(points: np.ndarray, plane: AnnulusPlane | None, away: float, source: str) -> AnnulusContour:
    in_plane = plane is not None and away <= MAX_OUT_OF_PLANE_MM
    try:
        size = measure_curve(points, plane.normal if in_plane else None)
    except NotMeasurable as error:
        return AnnulusContour(None, None, f"{NOT_MEASURABLE}{error}", source=source)
    warning = ""
    if plane is not None and not in_plane:
        warning = f"the contour lies up to {away:.1f} mm off the annulus plane: measured in its own plane"
    return AnnulusContour(points, size, "", warning, source)


def _measure_calcium(
    volume: Volume,
    annotation: Annotation,
    plane: AnnulusPlane | None,
    plane_reason: str,
    suitability: Suitability,
) -> tuple[CalciumVolumes | None, str, list[Row]]:
    """Volumes, the rule's text, and the rows."""
    record = annotation.provenance.get("calcium") or {}
    status = annotation.calcification_status
    reviewed = status in (Status.CORRECTED, Status.CONFIRMED)
    reason = ""
    if status is Status.ABSENT:
        reason = "marked absent by the reviewer"
    elif annotation.calcification is None:
        reason = str(record.get("refused") or "") or "calcification was not assessed"
    elif suitability.refusal and not reviewed:
        reason = suitability.refusal
    if reason:
        return None, reason, no_calcium_rows(reason)
    rule = str(record.get("rule") or "threshold rule not recorded")
    if status is Status.CORRECTED:
        rule = f"edited by a reviewer; before that: {rule}"
    try:
        volumes = calcium_volumes(annotation.calcification, volume.grid, plane)
    except NotMeasurable as error:
        return None, str(error), no_calcium_rows(str(error))
    warning = str(record.get("warning") or "")
    if suitability.refusal:
        warning = suitability.refusal
    rows = calcium_rows(volumes, rule, plane_reason, warning)
    return volumes, rule, rows
