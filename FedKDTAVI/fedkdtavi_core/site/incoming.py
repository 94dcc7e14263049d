"""Labels on their way into a site: from a folder that annotate has written, or from plain files of 3D Slicer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from .. import schema
from ..annotation import Annotation, Landmark, Status
from ..errors import InputError, UsageError
from ..labels.annotated import (
    PROVENANCE,
    curve_changed,
    mask_changed,
    moved_landmarks,
    provenance_beside,
    read_annotation,
    read_provenance,
    status_of,
)
from ..labels.jsonfile import read_json
from ..labels.markups import read_contour, read_landmarks
from ..labels.segmentation import read_segment
from ..volume import Grid
from .provenance import anonymous_provenance

_NOT_FOUND = "not found; give a folder written by annotate, a .mrk.json or a .seg.nrrd."
# What the reader says of points that a file does not hold, and what is true of them here.
_MISSING, _LEFT = "; taken as missing.", "; left as they are."
REVIEWED = frozenset({Status.ABSENT, Status.CORRECTED, Status.CONFIRMED})


@dataclass
class Incoming:
    """Labels by id: each with its status and its value.

    Attributes:
        landmarks: id -> Landmark, only those that say something.
        mask: uint8 on the CT's grid and its status, or None.
        contour: (N, 3) RAS mm and its status, or None.
        bundle: digest of the bundle that predicted them, or None.
        provenance: of an annotation folder, as it lies there, or None.
        loose: ids of the labels from plain files, which do not tell what a person changed in them.
        notes: sentences on what was not as expected.
    """

    landmarks: dict[str, Landmark] = field(default_factory=dict)
    mask: tuple[np.ndarray, Status] | None = None
    contour: tuple[np.ndarray, Status] | None = None
    bundle: str | None = None
    provenance: dict[str, Any] | None = None
    loose: frozenset[str] = frozenset()
    notes: list[str] = field(default_factory=list)

    def statuses(self) -> dict[str, Status]:
        """Label id -> status of every label that came."""
        found = {label_id: landmark.status for label_id, landmark in self.landmarks.items()}
        for label_id, value in (("calcification", self.mask), ("annulus_contour", self.contour)):
            if value is not None:
                found[label_id] = value[1]
        return found

    def annotation(self) -> Annotation:
        """All of it, with a provenance that may lie in a site."""
        provenance = self.provenance or {}
        result = Annotation(provenance=anonymous_provenance(provenance))
        result.landmarks |= self.landmarks
        warnings = provenance.get("warnings")
        result.warnings = [str(words) for words in warnings] if isinstance(warnings, list) else []
        if self.mask is not None:
            result.calcification, result.calcification_status = self.mask
        if self.contour is not None:
            result.annulus_contour, result.contour_status = self.contour
        return result

    def correct(self, label_id: str) -> None:
        """Take a label for what a person made of it."""
        if label_id == "calcification":
            self.mask = self.mask[0], Status.CORRECTED
        elif label_id == "annulus_contour":
            self.contour = self.contour[0], Status.CORRECTED
        else:
            # What the model said of the place where it was does not hold for the place where it is.
            self.landmarks[label_id] = Landmark(label_id, self.landmarks[label_id].position, status=Status.CORRECTED)

    def drop(self, label_id: str) -> None:
        """Forget one label."""
        self.landmarks.pop(label_id, None)
        if label_id == "calcification":
            self.mask = None
        elif label_id == "annulus_contour":
            self.contour = None


def ct_digest(source: Path) -> str | None:
    """Digest of the CT that an annotation folder belongs to; None for a plain file, which does not say.

    Raises:
        InputError: there is nothing, or a folder that annotate has not written or that does not name its CT's digest.
    """
    if not source.exists():
        raise InputError(f"{source}: {_NOT_FOUND}")
    if not source.is_dir():
        return None
    ct = read_provenance(source).get("ct")
    digest = ct.get("sha256") if isinstance(ct, dict) else None
    if not isinstance(digest, str):
        raise InputError(f"{source / PROVENANCE}: does not say which CT it belongs to; annotate that CT again.")
    return digest


def read_incoming(sources: Sequence[Path], grid: Grid) -> Incoming:
    """Read label files for one CT.

    What a person changed in an annotation folder counts as corrected, what nobody touched stays predicted. In a plain
    file a point without a status was made by a person and counts as corrected; so does a segment.

    Raises:
        InputError: a file is missing, broken, or has a label outside the CT.
        UsageError: two sources bring the same kind of label.
    """
    result = Incoming()
    for source in sources:
        part = _from_folder(source, grid) if source.is_dir() else _from_file(source, grid)
        twice = sorted(part.statuses().keys() & result.statuses().keys())
        if twice:
            raise UsageError(f"{source}: brings {_names(twice)} a second time; give each label once.")
        result.landmarks |= part.landmarks
        result.mask = result.mask or part.mask
        result.contour = result.contour or part.contour
        result.bundle = result.bundle or part.bundle
        result.provenance = result.provenance or part.provenance
        if not source.is_dir():
            result.loose |= part.statuses().keys()
        result.notes += part.notes
        _check_inside(source, part, grid)
    return result


def _from_folder(folder: Path, grid: Grid) -> Incoming:
    found = read_annotation(folder, grid)
    annotation, bundle = found.annotation, found.provenance.get("bundle")
    result = Incoming(_placed(annotation.landmarks), notes=found.notes)
    if annotation.calcification is not None:
        result.mask = annotation.calcification, annotation.calcification_status
    if annotation.annulus_contour is not None:
        result.contour = annotation.annulus_contour, annotation.contour_status
    digest = bundle.get("digest") if isinstance(bundle, dict) else None
    result.bundle = digest if isinstance(digest, str) else None
    result.provenance = found.provenance
    return result


def _from_file(path: Path, grid: Grid) -> Incoming:
    if not path.is_file():
        raise InputError(f"{path}: {_NOT_FOUND}")
    beside = provenance_beside(path)  # the prediction it can be compared with
    if path.name.lower().endswith(".nrrd"):
        segment = read_segment(path, grid)
        status = status_of(segment.status, beside is not None and mask_changed(segment.mask, beside))
        return Incoming(mask=None if segment.mask is None else (segment.mask, status), notes=segment.notes)
    markups = read_json(path, "a Slicer markups file (.mrk.json)").get("markups")
    kinds = {m.get("type") for m in markups if isinstance(m, dict)} if isinstance(markups, list) else set()
    if "ClosedCurve" in kinds and "Fiducial" not in kinds:
        contour, status = read_contour(path)
        # A curve that no program marked as its own was drawn by a person.
        status = status if _says_status(markups) else Status.CORRECTED
        return Incoming(contour=(contour, status_of(status, beside is not None and curve_changed(contour, beside))))
    read = read_landmarks(path)
    if beside is not None:
        read.landmarks = moved_landmarks(read.landmarks, beside)
    # A point that is not placed says nothing here: nobody called it absent, and no network missed it.
    said = {i: one for i, one in read.landmarks.items() if one.position is not None or one.status is Status.ABSENT}
    return Incoming(said, notes=[note.replace(_MISSING, _LEFT) for note in read.notes])


def _placed(landmarks: Mapping[str, Landmark]) -> dict[str, Landmark]:
    """The same, but what has no position is no truth: it was deleted, and nobody called it absent."""
    return {
        i: one if one.position is not None or one.status is Status.ABSENT else Landmark(i)
        for i, one in landmarks.items()
    }


def _says_status(markups: list) -> bool:
    points = [point for markup in markups for point in markup.get("controlPoints", [])]
    return any('"status"' in str(point.get("description")) for point in points)


def _check_inside(source: Path, part: Incoming, grid: Grid) -> None:
    outside = [
        label_id
        for label_id, landmark in part.landmarks.items()
        if landmark.position is not None and not grid.contains(landmark.position)
    ]
    if part.contour is not None and not np.all(grid.contains(part.contour[0])):
        outside.append("annulus_contour")
    if outside:
        raise InputError(
            f"{source}: {_names(outside)} would lie outside the CT; these are labels of another CT, or in other "
            "coordinates."
        )
    if any("outside the CT" in note for note in part.notes):
        raise InputError(f"{source}: its segment lies partly outside the CT; it was drawn on another CT.")


def _names(ids: Sequence[str]) -> str:
    return ", ".join(schema.by_id(label_id).name for label_id in ids)
