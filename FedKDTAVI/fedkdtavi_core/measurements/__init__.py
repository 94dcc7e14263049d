"""What a TAVI planner derives from the labels of one CT, each number with unit, definition, normal range and warning.

``measure`` never fails because something is missing: the number is None then, and its row says why.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import schema
from ..annotation import Annotation, Status
from ..volume import Volume
from .annulus import AnnulusContour, annulus_contour, measured_contour
from .blood import root_blood
from .calcium import CalciumVolumes, calcium_rows, calcium_volumes
from .calcium import missing_rows as no_calcium_rows
from .carm import CArm, View, carm_views
from .carm import missing_rows as no_carm_rows
from .contour import Contour, circle_points, trace_lumen
from .coronary import coronary_rows
from .curve import CurveSize, measure_curve
from .doubt import contradicted, doubted, too_thick
from .plane import AnnulusPlane, annulus_plane
from .plane import missing_rows as no_plane_rows
from .points import OUTSIDE, landmark_points, outside_points
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
        points: landmark id -> (3,) RAS mm of what the numbers were derived from; None for what may not be used.
    """

    suitability: Suitability
    plane: AnnulusPlane | None
    plane_reason: str
    contour: AnnulusContour
    calcium: CalciumVolumes | None
    calcium_rule: str
    carm: CArm | None
    points: dict[str, np.ndarray | None]
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

    A landmark that lies outside the CT counts as missing, whoever set it, and the first warning says so.
    A reviewed contour (corrected, confirmed) is measured as it is; otherwise the lumen's edge is traced in the plane
    of the hinge points, unless the annotation's predicted contour already lies in it.
    """
    outside = outside_points(annotation, volume.grid)
    gone = dict.fromkeys(outside, OUTSIDE)
    points = landmark_points(annotation, volume.grid)
    plane, plane_reason = None, ""
    try:
        plane = annulus_plane(points, gone)
    except NotMeasurable as error:
        plane_reason = f"no annulus plane: {error}"
    blood, blood_reason = None, ""
    try:
        blood = root_blood(volume, plane, points)
    except NotMeasurable as error:
        blood_reason = str(error)
    suitability = assess(volume, plane, outside, blood, blood_reason)

    if suitability.refusal:
        # Points that nobody can see on this CT, and nobody has set: no number may be derived from them.
        guessed = [i for i in points if annotation.landmarks[i].status is Status.PREDICTED and points[i] is not None]
        gone |= dict.fromkeys(guessed, "is predicted only, on a CT with no contrast")
        points |= dict.fromkeys(guessed)
        if plane is not None and set(guessed) & set(schema.HINGE_IDS):
            plane, plane_reason = (
                None,
                "no annulus plane: the hinge points are predicted only, on a CT with no contrast",
            )

    contour = measured_contour(volume, annotation, plane, plane_reason, suitability)
    volumes, rule, calcium_table = _measure_calcium(volume, annotation, plane, plane_reason, suitability)
    carm = None if plane is None else carm_views(plane)
    coronary = coronary_rows(plane, points, plane_reason, gone)
    rows = (
        *suitability.rows(),
        *contour.rows(),
        *(no_plane_rows(plane_reason) if plane is None else plane.rows()),
        *coronary,
        *septum_rows(plane, points, plane_reason, gone),
        *calcium_table,
        *(no_carm_rows(plane_reason) if carm is None else carm.rows()),
    )
    rows = contradicted(rows, plane.warning) if plane is not None and plane.warning else rows
    rows = too_thick(rows, suitability.concerns["slice_thickness"]) if suitability.too_thick else rows
    warnings = [suitability.concerns["uncovered"]] if outside else []
    warnings += [f"{row.name}: {row.warning}{_if_true(row.id, annotation)}" for row in coronary if row.warning]
    warnings += [plane.warning] if plane is not None and plane.warning else []
    warnings += [words for words in suitability.warnings if words not in warnings]
    warnings += [plane_reason] if plane_reason else []
    warnings += [f"annulus {contour.reason}"] if contour.reason and not plane_reason else []
    warnings += [contour.warning] if contour.warning else []
    return Measurements(
        suitability,
        plane,
        plane_reason,
        contour,
        volumes,
        rule,
        carm,
        points,
        doubted(rows, annotation),
        tuple(warnings),
    )


def _if_true(row_id: str, annotation: Annotation) -> str:
    """What a warning on an ostium's height adds when more speaks against the predicted point than its height."""
    mark = annotation.landmarks[row_id.replace("height_", "ostium_")]
    odd = [flag for flag in mark.flags if not flag.startswith(("low ostium", "height over"))]
    return "; if the point is right, which is in doubt" if odd and mark.status is Status.PREDICTED else ""


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
