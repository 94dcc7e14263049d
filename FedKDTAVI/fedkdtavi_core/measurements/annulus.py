"""The annulus: the contour that counts for one CT, reviewed or traced, with its sizes or the reason for none."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from .. import schema
from ..annotation import Annotation, Status
from ..numbers import fixed
from ..volume import Volume
from .contour import MUCH_CALCIUM_SHARE, SAID_GAP_DEG, SAID_SOLIDITY, is_one_lumen, trace_lumen
from .curve import CurveSize, measure_curve, size_rows
from .plane import AnnulusPlane
from .row import NotMeasurable, Row
from .suitability import Suitability

NOT_MEASURABLE = "not measurable: "
# A contour that strays this far from the annulus plane was made for another plane.
MAX_OUT_OF_PLANE_MM = 1.0
# Hinge points lie on the annulus: a contour that passes one of them at this distance is worth a look.
MAX_HINGE_DISTANCE_MM = 3.0


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
        """Area, perimeter, diameters, eccentricity; a warning holds for each of them."""
        if self.size is None:
            return size_rows(reason=self.reason.removeprefix(NOT_MEASURABLE))
        return self.size.rows(warning=self.warning)


def annulus_contour(volume: Volume, plane: AnnulusPlane) -> AnnulusContour:
    """Trace the annulus in the CT; a contour that leaks is returned as not measurable, with the reason."""
    try:
        found = trace_lumen(
            volume,
            plane.centre,
            plane.normal,
            expected_radius_mm=plane.radius,
            expected_circle=(plane.centre, plane.radius),
        )
    except NotMeasurable as error:
        return AnnulusContour(None, None, f"{NOT_MEASURABLE}{error}")
    warnings = []
    if found.calcium_share > MUCH_CALCIUM_SHARE:
        warnings.append(
            f"calcium or metal hides the annulus edge on {fixed(100 * found.calcium_share)} % of the rays: check it"
        )
    if found.gap_deg > SAID_GAP_DEG:
        warnings.append(f"no annulus edge over {fixed(found.gap_deg)} degrees, bridged: check it")
    if found.size.solidity < SAID_SOLIDITY:
        warnings.append("the annulus contour is dented or lobed: check it")
    nearest = np.linalg.norm(found.points[None] - plane.hinges[:, None], axis=2).min(axis=1)
    if nearest.max() > MAX_HINGE_DISTANCE_MM:
        name = schema.by_id(schema.HINGE_IDS[int(nearest.argmax())]).name
        warnings.append(f"the annulus contour passes the {name} hinge point by {fixed(nearest.max())} mm: check it")
    return AnnulusContour(found.points, found.size, "", "; ".join(warnings))


def measured_contour(
    volume: Volume,
    annotation: Annotation,
    plane: AnnulusPlane | None,
    plane_reason: str,
    suitability: Suitability,
) -> AnnulusContour:
    """The contour that is measured: a reviewed one as it is, a predicted oval in its plane, otherwise one traced now.

    ``plane_reason`` says why there is no ``plane``; a CT that ``suitability`` refuses has reviewed contours only.
    """
    given, status = annotation.annulus_contour, annotation.contour_status
    if status is Status.ABSENT:
        return AnnulusContour(None, None, f"{NOT_MEASURABLE}marked so by the reviewer", source="reviewed")
    reviewed = status in (Status.CORRECTED, Status.CONFIRMED)
    if given is not None:
        away = 0.0 if plane is None else float(np.abs(plane.height(given)).max(initial=0.0))
        if reviewed:
            return _given_contour(np.asarray(given, float), plane, away, "reviewed")
        if plane is not None and away <= MAX_OUT_OF_PLANE_MM and not suitability.refusal:
            predicted = _given_contour(np.asarray(given, float), plane, away, "predicted")
            if predicted.size is None or is_one_lumen(predicted.size):
                # What tracing had to say about it travels beside it.
                told = str((annotation.provenance.get("contour") or {}).get("warning") or "")
                return replace(predicted, warning=told)
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
        warning = f"the contour lies up to {fixed(away, 1)} mm off the annulus plane: measured in its own plane"
    if not is_one_lumen(size):  # what a person has drawn stays, and is told
        warning = "; ".join(filter(None, [warning, "the contour is lobed or dented as no annulus is: check it"]))
    return AnnulusContour(points, size, "", warning, source)
