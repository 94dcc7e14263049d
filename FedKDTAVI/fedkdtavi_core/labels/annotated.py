"""The label files of one annotated CT, and what was changed in them since.

``provenance.json`` keeps the prediction beside the label files. What a person then moves, deletes or paints in 3D
Slicer is found by comparing the two, so that nothing a person set is taken for the model's, nor the other way round.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from .. import __version__, schema
from ..annotation import Annotation, Landmark, Status
from ..errors import InputError, UsageError
from ..volume import Grid
from .jsonfile import read_json, write_json
from .markups import LandmarkFile, read_contour, read_landmarks, write_contour, write_landmarks
from .record import now
from .segmentation import bounding_box, read_segment, write_segment

LANDMARKS, CALCIFICATION, CONTOUR, PROVENANCE = (
    "landmarks.mrk.json", "calcification.seg.nrrd", "annulus.mrk.json", "provenance.json",
)  # fmt: skip
# A click moves nothing and saving rounds nothing away: what moved further than this was moved by a person.
MOVED_MM = 0.05


@dataclass
class AnnotatedCT:
    """Label files read back.

    Attributes:
        annotation: with covariance, flags and warnings from the provenance where the prediction still stands.
        provenance: content of ``provenance.json``.
        changed: ids of the labels that differ from the prediction.
        notes: sentences on what was not as expected.
    """

    annotation: Annotation
    provenance: dict[str, Any]
    changed: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def write_annotation(folder: Path, annotation: Annotation, grid: Grid, source: dict[str, Any]) -> None:
    """Write landmarks, calcification, contour (where there is one) and provenance into ``folder``.

    Args:
        folder: an existing folder, see :func:`~.case.output_folder`.
        annotation: positions in RAS mm, mask on ``grid``.
        grid: the CT's own grid.
        source: where the CT can be found again, JSON-able; added to what the annotation's provenance says of it.
    """
    write_landmarks(folder / LANDMARKS, annotation.landmarks)
    write_segment(folder / CALCIFICATION, annotation.calcification, grid, status=annotation.calcification_status)
    if annotation.annulus_contour is not None:
        write_contour(folder / CONTOUR, annotation.annulus_contour, annotation.contour_status)
    provenance = {
        "code_version": __version__,
        "schema_version": schema.SCHEMA_VERSION,
        "written": now(),
        **annotation.provenance,
        "ct": {**annotation.provenance.get("ct", {}), **source},
        "landmarks": {i: kept_landmark(landmark) for i, landmark in annotation.landmarks.items()},
        "calcification_sha256": mask_digest(annotation.calcification),
        "annulus_contour_ras_mm": annotation.annulus_contour,
        # Where there is nothing to draw, no file says that a person has called it absent.
        "statuses": {
            "calcification": str(annotation.calcification_status),
            "annulus_contour": str(annotation.contour_status),
        },
        "warnings": annotation.warnings,
    }
    write_json(folder / PROVENANCE, provenance)


def read_provenance(folder: Path) -> dict[str, Any]:
    """``provenance.json`` of an annotation folder.

    Raises:
        InputError: the folder is none.
    """
    if not Path(folder).is_dir():
        raise InputError(f"{folder}: is no folder; give the folder of one CT that annotate has written.")
    if not (Path(folder) / PROVENANCE).is_file():
        raise InputError(f"{folder}: holds no {PROVENANCE}; give the folder of one CT that annotate has written.")
    return read_json(Path(folder) / PROVENANCE, "the provenance of an annotation")


def read_annotation(folder: Path, grid: Grid) -> AnnotatedCT:
    """Read the label files of ``folder`` back onto the CT's grid.

    Raises:
        InputError: a file is missing or broken.
    """
    folder = Path(folder)
    provenance = read_provenance(folder)
    found = read_landmarks(folder / LANDMARKS)
    segment = read_segment(folder / CALCIFICATION, grid)
    result = AnnotatedCT(Annotation(), provenance, [], [*found.notes, *segment.notes])
    before = _landmarks_before(provenance)
    for label_id, landmark in found.landmarks.items():
        kept, changed = _compared(landmark, before.get(label_id))
        result.annotation.landmarks[label_id] = kept
        if changed:
            result.changed.append(label_id)
    result.annotation.calcification = segment.mask
    edited = mask_changed(segment.mask, provenance)
    result.annotation.calcification_status = status_of(segment.status, edited)
    if edited:
        result.changed.append("calcification")
    if (folder / CONTOUR).is_file():
        contour, status = read_contour(folder / CONTOUR)
        result.annotation.annulus_contour = contour
        edited = curve_changed(contour, provenance)
        result.annotation.contour_status = status_of(status, edited)
        if edited:
            result.changed.append("annulus_contour")
    _restore_absent(result.annotation, provenance.get("statuses"))
    result.annotation.provenance = provenance
    warnings = provenance.get("warnings")
    result.annotation.warnings = [str(w) for w in warnings] if isinstance(warnings, list) else []
    return result


def _restore_absent(annotation: Annotation, statuses: Any) -> None:
    said = statuses if isinstance(statuses, dict) else {}
    if annotation.calcification is None and said.get("calcification") == str(Status.ABSENT):
        annotation.calcification_status = Status.ABSENT
    if annotation.annulus_contour is None and said.get("annulus_contour") == str(Status.ABSENT):
        annotation.contour_status = Status.ABSENT


def read_points(path: Path) -> LandmarkFile:
    """Landmarks that a person has set, to annotate with: :func:`~.markups.read_landmarks`, and two things more.

    Where the prediction lies beside the file (``provenance.json``), a point that was moved in Slicer counts as
    corrected. A note says which points nobody has reviewed.
    """
    found = read_landmarks(path)
    beside = provenance_beside(path)
    if beside is not None:
        found.landmarks = moved_landmarks(found.landmarks, beside)
    left = [schema.by_id(i).name for i, landmark in found.landmarks.items() if landmark.status is Status.PREDICTED]
    if left and len(left) == len(found.landmarks):
        if beside is not None:
            raise UsageError(
                f"{path}: no point in it has been moved or confirmed since it was predicted, so there is nothing to "
                "keep; correct it first, or leave out --points."
            )
        raise UsageError(
            f"{path}: all its points say that they are predicted, and the prediction they can be compared with is not "
            "beside it; give the file in its result folder (beside provenance.json), or in Slicer delete the "
            "description of each point that you have set."
        )
    if left:
        found.notes.append(f"{Path(path).name}: nobody has reviewed {', '.join(left)}; predicted anew.")
    return found


def provenance_beside(path: Path) -> dict[str, Any] | None:
    """The provenance that lies beside a label file, if one does. Raises InputError when it is broken."""
    folder = Path(path).parent
    return read_provenance(folder) if (folder / PROVENANCE).is_file() else None


def moved_landmarks(landmarks: dict[str, Landmark], provenance: dict[str, Any]) -> dict[str, Landmark]:
    """The landmarks, those that lie elsewhere than they were predicted as corrected: Slicer leaves their status."""
    before = _landmarks_before(provenance)
    return {i: _compared(landmark, before.get(i))[0] for i, landmark in landmarks.items()}


def _landmarks_before(provenance: dict[str, Any]) -> dict[str, Any]:
    before = provenance.get("landmarks")
    return before if isinstance(before, dict) else {}


def mask_changed(mask: np.ndarray | None, provenance: dict[str, Any]) -> bool:
    """Is the segment another than the one that was predicted?"""
    digest = mask_digest(mask)
    return digest != provenance.get("calcification_sha256", digest)


def curve_changed(curve: np.ndarray, provenance: dict[str, Any]) -> bool:
    """Is the contour another than the one that was predicted?"""
    return not _same_curve(curve, provenance.get("annulus_contour_ras_mm"))


def status_of(status: Status, changed: bool) -> Status:
    """What a file says, and corrected where it says predicted of what has changed since: Slicer leaves the status."""
    return Status.CORRECTED if changed and status is Status.PREDICTED else status


def kept_landmark(landmark: Landmark) -> dict[str, Any]:
    """One landmark as ``provenance.json`` keeps it, to tell later what a person changed."""
    return {
        "position_ras_mm": landmark.position,
        "confidence": landmark.confidence,
        "covariance_mm2": landmark.covariance,
        "status": str(landmark.status),
        "flags": landmark.flags,
    }


def _compared(landmark: Landmark, before: Any) -> tuple[Landmark, bool]:
    """The landmark as it is now, and whether it differs from what was written."""
    if not isinstance(before, dict):
        return landmark, False
    old, new = _vector(before.get("position_ras_mm"), (3,)), landmark.position
    moved = (old is None) != (new is None) or (old is not None and float(np.linalg.norm(new - old)) > MOVED_MM)
    if moved:
        # What the model said of the place where it was does not hold for the place where it is.
        status = landmark.status
        if new is not None and status is Status.PREDICTED:
            status = Status.CORRECTED
        return Landmark(landmark.id, new, None, None, status), True
    flags = before.get("flags")
    landmark.flags = [str(flag) for flag in flags] if isinstance(flags, list) else []
    landmark.covariance = _vector(before.get("covariance_mm2"), (3, 3))
    return landmark, str(landmark.status) != before.get("status")


def _vector(value: Any, shape: tuple[int, ...]) -> np.ndarray | None:
    try:
        array = np.array(value, dtype=float)
    except (TypeError, ValueError):
        return None
    return array if array.shape == shape and np.all(np.isfinite(array)) else None


def mask_digest(mask: np.ndarray | None) -> str | None:
    """Digest of which voxels belong to a segment, whatever order they lie in memory; None when not assessed."""
    if mask is None:
        return None
    box = bounding_box(mask)
    if box is None:
        return hashlib.sha256(repr(mask.shape).encode()).hexdigest()
    place = repr((mask.shape, [(part.start, part.stop) for part in box]))
    return hashlib.sha256(place.encode() + np.packbits(mask[box] != 0).tobytes()).hexdigest()


def _same_curve(curve: np.ndarray, before: Any) -> bool:
    old = _vector(before, curve.shape)
    return old is not None and float(np.abs(old - curve).max()) <= MOVED_MM
