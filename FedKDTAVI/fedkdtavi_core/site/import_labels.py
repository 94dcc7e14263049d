"""Put labels onto a case. What a person has reviewed is never replaced unasked, and a prediction stays a prediction."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from .. import schema
from ..annotation import Landmark, Status
from ..errors import InputError, UsageError
from ..labels.annotated import (
    CALCIFICATION,
    CONTOUR,
    LANDMARKS,
    MOVED_MM,
    PROVENANCE,
    kept_landmark,
    mask_digest,
    provenance_beside,
    read_provenance,
    write_annotation,
)
from ..labels.case import output_folder
from ..labels.jsonfile import write_json
from ..labels.markups import write_contour, write_landmarks
from ..labels.record import CaseRecord, LabelRecord, now, volume_digest, write_record
from ..labels.segmentation import write_segment
from ..progress import SILENT, Progress
from ..volume import Volume
from .dataset import CT, LABELS, CaseLabels, Site, SiteCase, open_case
from .incoming import REVIEWED, Incoming, ct_digest, read_incoming
from .localkey import KeyEntry, read_key
from .pseudonym import check_pseudonym


@dataclass(frozen=True)
class Imported:
    """What became of it: label id -> status of the labels taken, those that stayed as they were, and notes."""

    case: str
    taken: dict[str, str]
    kept: list[str]
    notes: list[str] = field(default_factory=list)


def find_case(site: Site, source: Path, key: Path, case_id: str | None = None) -> SiteCase:
    """The case that labels belong to: by the digest of the CT they were made on, or as ``case_id`` says.

    Raises:
        InputError: they belong to another CT.
        UsageError: a plain file, which does not tell its CT, without ``case_id``.
    """
    digest = ct_digest(source)
    if digest is None and case_id is None:
        raise UsageError(f"{source}: does not tell which CT it belongs to; name the case with --case.")
    if case_id is not None:
        case = site.case(case_id)
        if digest is not None and not _belongs(case, digest, read_key(key)):
            raise InputError(f"{source}: these are labels of another CT than {case_id}; leave out --case to find it.")
        return case
    case = case_with(site, digest, key)
    if case is not None:
        return case
    raise InputError(f"{source}: the CT it was made on is not in this site; add it with `fedkdtavi site add` first.")


def case_with(site: Site, digest: str, key: Path) -> SiteCase | None:
    """The case with the CT of this digest, as the site has it or as it was before it came in; None without one."""
    entries = read_key(key)
    return next((case for case in site.cases if _belongs(case, digest, entries)), None)


def import_labels(
    case: SiteCase,
    sources: Sequence[Path],
    *,
    reviewer: str | None = None,
    force: bool = False,
    progress: Progress = SILENT,
) -> Imported:
    """Put the labels of ``sources`` onto ``case``, all of them or none.

    Args:
        case: see :func:`find_case`.
        sources: a folder written by annotate, or plain .mrk.json and .seg.nrrd files.
        reviewer: pseudonym of who reviewed them; needed when any of them is corrected, confirmed or absent.
        force: reviewed labels that came replace reviewed labels that differ.
        progress: reports and can cancel.

    Raises:
        InputError: the CT or a label file cannot be read, or they do not belong together.
        UsageError: no reviewer is named though labels are reviewed or moved, or one who may be a name; reviewed labels
            differ without ``force``; or the case cannot be written.
    """
    reviewer = None if reviewer is None else check_pseudonym(reviewer)
    progress.step(0.0, "Reading CT")
    volume = case.read_volume(progress.part(0.0, 0.5))
    if volume_digest(volume) != case.record.ct_sha256:
        raise InputError(f"{case.path / CT}: changed since the case was made; labels do not fit it any more.")
    with output_folder(case.path, force=True, marker=LABELS) as partial:
        # Read again under the case's lock: a reviewer may have written it since it was listed.
        case = open_case(case.path)
        before = case.read_labels(volume.grid)
        incoming = read_incoming(sources, volume.grid)
        _compare_loose(sources, case.record, before, incoming, reviewer)
        chosen, kept = _choose(case.record, before, incoming, force)
        if reviewer is None and any(incoming.statuses()[i] in REVIEWED for i in chosen):
            raise UsageError(f"{sources[0]}: holds reviewed labels; name who reviewed them with --reviewer PSEUDONYM.")
        progress.step(0.7, "Writing")
        shutil.copytree(case.path, partial, copy_function=_link, dirs_exist_ok=True)
        record = _write(partial, volume, case.record, before, incoming, chosen, reviewer)
        progress.check()  # the last moment to stop
    progress.step(1.0, "Imported")
    taken = {label_id: str(record.labels[label_id].status) for label_id in chosen}
    return Imported(case.id, taken, kept, incoming.notes)


def _belongs(case: SiteCase, digest: str, entries: dict[str, KeyEntry]) -> bool:
    entry = entries.get(case.id)
    return digest == case.record.ct_sha256 or (entry is not None and digest == entry.source_sha256)


def _compare_loose(
    sources: Sequence[Path], record: CaseRecord, before: CaseLabels, incoming: Incoming, reviewer: str | None
) -> None:
    """Tell the case's own prediction in plain files from what a person changed: Slicer leaves their status.

    What is the case's prediction already does not come at all, so that its bundle, time and covariance stay.
    """
    statuses = incoming.statuses()
    points = [i for i in schema.LANDMARK_IDS if i in incoming.loose]
    unknown = points and all(statuses[i] is Status.PREDICTED and i not in record.labels for i in points)
    if unknown and reviewer is not None and all(provenance_beside(path) is None for path in sources if path.is_file()):
        raise UsageError(
            f"{sources[0]}: says that all its points are predicted, and there is no prediction to compare them with; "
            "import the folder that annotate wrote, or in Slicer delete the description of each point that was set."
        )
    changed = []
    for label_id in [row.id for row in schema.LABELS if row.id in incoming.loose]:
        old = record.labels.get(label_id)
        predicted = incoming.statuses()[label_id] is Status.PREDICTED
        if not predicted or old is None or old.status is not Status.PREDICTED:
            continue
        if _same(label_id, before, incoming, old.status):
            incoming.drop(label_id)
        else:
            changed.append(label_id)
            incoming.correct(label_id)
    if changed and reviewer is None:
        names = ", ".join(schema.by_id(i).name for i in changed)
        raise UsageError(
            f"{sources[0]}: says predicted of {names}, but this case's prediction is another; name who changed it with "
            "--reviewer PSEUDONYM, or import the folder that annotate wrote."
        )


def _choose(record: CaseRecord, before: CaseLabels, incoming: Incoming, force: bool) -> tuple[list[str], list[str]]:
    """Ids of labels to take, and of those that stay because a person has reviewed them."""
    chosen, kept, conflicts = [], [], []
    statuses = incoming.statuses()
    for label_id in (row.id for row in schema.LABELS if row.id in statuses):
        old, status = record.labels.get(label_id), statuses[label_id]
        if old is None or old.status not in REVIEWED:
            chosen.append(label_id)
        elif status not in REVIEWED or _same(label_id, before, incoming, old.status):
            kept.append(label_id)
        elif force:
            chosen.append(label_id)
        else:
            conflicts.append(schema.by_id(label_id).name)
    if conflicts:
        raise UsageError(
            f"{', '.join(conflicts)} of this case: reviewed already, and otherwise; add --force to replace that review."
        )
    return chosen, kept


def _same(label_id: str, before: CaseLabels, incoming: Incoming, status: Status) -> bool:
    """Is the reviewed label that came the one that is there? Corrected and confirmed say the same of one place."""
    if (status is Status.ABSENT) != (incoming.statuses()[label_id] is Status.ABSENT):
        return False
    if label_id == "calcification":
        return before.mask is not None and np.array_equal(before.mask != 0, incoming.mask[0] != 0)
    if label_id == "annulus_contour":
        old, new = before.contour, incoming.contour[0]
        return old is not None and old.shape == new.shape and float(np.abs(old - new).max()) <= MOVED_MM
    old, new = before.landmarks[label_id].position, incoming.landmarks[label_id].position
    if old is None or new is None:
        return old is new
    return float(np.linalg.norm(old - new)) <= MOVED_MM


def _write(
    folder: Path,
    volume: Volume,
    record: CaseRecord,
    before: CaseLabels,
    incoming: Incoming,
    chosen: list[str],
    reviewer: str | None,
) -> CaseRecord:
    statuses, moment = incoming.statuses(), now()
    labels = dict(record.labels)
    for label_id in chosen:
        seen = statuses[label_id] in REVIEWED
        bundle, old = incoming.bundle, record.labels.get(label_id)
        if label_id in incoming.loose:
            bundle = old.bundle if old is not None and _same(label_id, before, incoming, old.status) else None
        labels[label_id] = LabelRecord(statuses[label_id], moment, reviewer if seen else None, bundle)
    landmarks: dict[str, Landmark] = before.landmarks | {
        label_id: incoming.landmarks[label_id] for label_id in chosen if label_id in incoming.landmarks
    }
    result = CaseRecord(record.ct_sha256, labels)
    # Every file that is written here is a hard link to the old case's: it is replaced, never written into.
    _fresh(folder / LABELS)
    write_record(folder / LABELS, result)
    if incoming.provenance is not None and labels.keys() == set(chosen):
        # Nothing stays of what was there: the case is what annotate wrote, and can be reviewed as such.
        for name in (LANDMARKS, CALCIFICATION, CONTOUR, PROVENANCE):
            _fresh(folder / name)
        write_annotation(folder, incoming.annotation(), volume.grid, {"sha256": record.ct_sha256})
        return result
    if any(label_id in labels for label_id in schema.LANDMARK_IDS):
        _fresh(folder / LANDMARKS)
        write_landmarks(folder / LANDMARKS, landmarks)
    if "calcification" in chosen and incoming.mask is not None:
        _fresh(folder / CALCIFICATION)
        write_segment(folder / CALCIFICATION, incoming.mask[0], volume.grid, status=incoming.mask[1])
    if "annulus_contour" in chosen and incoming.contour is not None:
        _fresh(folder / CONTOUR)
        write_contour(folder / CONTOUR, *incoming.contour)
    if (folder / PROVENANCE).is_file():
        _renew_provenance(folder, incoming, chosen)
    return result


def _renew_provenance(folder: Path, incoming: Incoming, chosen: list[str]) -> None:
    """Enter what was imported, or whoever opens the case would take it for changes that a person made by hand."""
    content = read_provenance(folder)
    written = content.get("landmarks")
    landmarks = {i: kept_landmark(incoming.landmarks[i]) for i in chosen if i in incoming.landmarks}
    content["landmarks"] = (written if isinstance(written, dict) else {}) | landmarks
    if "calcification" in chosen:
        content["calcification_sha256"] = mask_digest(incoming.mask[0])
    if "annulus_contour" in chosen:
        content["annulus_contour_ras_mm"] = incoming.contour[0]
    _fresh(folder / PROVENANCE)
    write_json(folder / PROVENANCE, content)


def _fresh(path: Path) -> None:
    path.unlink(missing_ok=True)


def _link(source: str, target: str) -> None:
    """A hard link where the drive has them: a CT that stays as it is need not be copied."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
