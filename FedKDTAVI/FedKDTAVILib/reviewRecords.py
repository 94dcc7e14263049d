"""Who decided on a label, when, and on which bundle's prediction; kept as long as the label stays what it was."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from fedkdtavi_core import schema
from fedkdtavi_core.annotation import Annotation, Status
from fedkdtavi_core.labels.record import LabelRecord, now

from .calcificationNodes import maskDigest
from .labelState import REVIEWED, curve, differs, point
from .transforms import transformed, worldFromNode

if TYPE_CHECKING:
    from .caseNodes import CaseNodes

Kept = dict[str, dict[str, Any]]


def recordsOf(
    annotation: Annotation, kept: Kept, toLocal: np.ndarray, reviewer: str, time: str
) -> dict[str, LabelRecord]:
    """A record for every label that somebody decided on or something predicted.

    Args:
        annotation: the labels as they are, in world RAS mm.
        kept: what :func:`keep` kept, by label id; a label that still is what it was keeps its record.
        toLocal: (4, 4) from world RAS mm to the CT's own, in which ``kept`` is.
        reviewer: pseudonym for what was decided on since.
        time: moment for it, ISO 8601.
    """
    bundle = (annotation.provenance.get("bundle") or {}).get("digest")
    result = {}
    for label in schema.LABELS:
        status, value = _value(annotation, label.id, toLocal)
        before = kept.get(label.id)
        if status not in REVIEWED:
            if value is not None or (label.kind == "landmark" and bundle is not None):
                result[label.id] = LabelRecord(Status.PREDICTED, bundle=bundle)
        elif before is not None and before["status"] == status and not _changed(value, before["value"]):
            result[label.id] = LabelRecord(status, before["time"], before["reviewer"], before["bundle"])
        else:
            result[label.id] = LabelRecord(status, time, reviewer, bundle)
    return result


def keep(annotation: Annotation, records: dict[str, LabelRecord], toLocal: np.ndarray) -> Kept:
    """The records with the values they are about, as JSON in the CT's own RAS mm."""
    return {
        labelId: {**asdict(record), "status": str(record.status), "value": _value(annotation, labelId, toLocal)[1]}
        for labelId, record in records.items()
        if record.status in REVIEWED
    }


def _value(annotation: Annotation, labelId: str, toLocal: np.ndarray) -> tuple[Status, Any]:
    kind = schema.by_id(labelId).kind
    if kind == "segment":
        return annotation.calcification_status, maskDigest(annotation.calcification)
    if kind == "contour":
        contour = annotation.annulus_contour
        return annotation.contour_status, None if contour is None else curve(transformed(toLocal, contour))
    landmark = annotation.landmarks[labelId]
    position = landmark.position
    return landmark.status, None if position is None else point(transformed(toLocal, position))


def _changed(value: Any, before: Any) -> bool:
    if value is None or before is None or isinstance(value, str) or isinstance(before, str):
        return value != before
    return differs(np.asarray(value, float), np.asarray(before, float))


def signReviews(caseNodes: CaseNodes, reviewer: str) -> None:
    """Keep who decided, now, on every label that was decided on since the last call; an export asks for no more.

    Raises:
        InputError: the nodes hold no whole case.
    """
    toLocal = np.linalg.inv(worldFromNode(caseNodes.volume))
    annotation, kept = caseNodes.toAnnotation(), caseNodes.state.read().get("records", {})
    records = recordsOf(annotation, kept, toLocal, reviewer, now())
    caseNodes.state.update(records=keep(annotation, records, toLocal))
