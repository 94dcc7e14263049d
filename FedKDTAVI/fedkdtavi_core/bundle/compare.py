"""Which of two bundles is better on a site's own cases: both run the product's way, against what a person has set.

A landmark that a bundle does not give counts as missing and as :data:`~.paired.WORST_MM` in every mean; so do all
landmarks of a CT in which it finds no root. No failure is left out. Cases that one of the bundles has learned from are
no test of it: they are listed, and count only where there are no others.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from .. import schema
from ..annotation import Annotation, Status
from ..errors import Cancelled, FedKDTAVIError, InputError, UsageError
from ..progress import Progress
from ..site.dataset import SiteCase, open_site
from . import held_out, paired
from .verify import Bundle

CALCIFICATION = "calcification"
COLUMNS = ("case", "label", "status", "taken_from", "learned_by", "unit", "old", "new")


@dataclass(frozen=True)
class Pair:
    """One reviewed label and what both bundles make of it.

    Attributes:
        case, label: ids.
        status: confirmed or corrected.
        taken_from: ``old`` or ``new`` when the label was confirmed as this bundle had predicted it, else empty.
        old, new: error in mm (inf: missing), or Dice for the calcification (a refused assessment is empty).
        learned_by: ``old``, ``new`` or ``both`` when these bundles have learned from the case, else empty.
    """

    case: str
    label: str
    status: str
    taken_from: str
    old: float
    new: float
    learned_by: str = ""

    @property
    def unit(self) -> str:
        """``mm`` or ``Dice``."""
        return "Dice" if self.label == CALCIFICATION else "mm"


@dataclass
class Comparison:
    """All pairs of a site, the cases that were skipped (id -> sentence), and those in which a bundle refused the CT."""

    site: str
    synthetic: bool
    pairs: list[Pair] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    refused: dict[str, dict[str, str]] = field(default_factory=lambda: {"old": {}, "new": {}})


def compare(
    old: Bundle,
    new: Bundle,
    folder: Path,
    *,
    device: str = "auto",
    start: Callable[[int, str], Progress] = lambda index, name: Progress(),
) -> Comparison:
    """Annotate every case that has reviewed labels with both bundles.

    Args:
        start: (index, case) -> its progress.

    Raises:
        UsageError: the bundles are the same; the folder is no site; nobody has reviewed a label.
        InputError: no case can be read.
        Cancelled: the person asked to stop.
    """
    if old.digest == new.digest:
        raise UsageError(f"{new.path}: is the same bundle as {old.path}; give two different ones.")
    site = open_site(folder)
    result = Comparison(site.info.id, site.info.synthetic, skipped=dict(site.unreadable))
    learned = {row.id for row in schema.LABELS if row.head}
    cases = [case for case in site.cases if learned & set(case.record.truth())]
    if not cases:
        raise UsageError(f"{folder}: holds no confirmed or corrected label to compare with; review some first.")
    for index, case in enumerate(cases):
        try:
            result.pairs += _pairs(case, {"old": old, "new": new}, device, start(index, case.id), result)
        except InputError as error:
            result.skipped[case.id] = str(error)
    if not result.pairs:
        raise InputError(f"{folder}: no case could be compared; the first: {next(iter(result.skipped.values()))}")
    return result


def _pairs(
    case: SiteCase, bundles: dict[str, Bundle], device: str, progress: Progress, result: Comparison
) -> list[Pair]:
    from ..labels.record import volume_digest

    volume = case.read_volume(progress.part(0.0, 0.1))
    if volume_digest(volume) != case.record.ct_sha256:
        raise InputError(f"{case.path}: its CT is not the one that its labels were made on; it is skipped.")
    labels = case.read_labels(volume.grid)
    found: dict[str, Annotation | None] = {}
    for number, (name, bundle) in enumerate(bundles.items()):
        part = progress.part(0.1 + 0.45 * number, 0.55 + 0.45 * number)
        found[name], reason = _annotated(volume, bundle, device, part)
        if reason:
            result.refused[name][case.id] = reason
    learners = [name for name, b in bundles.items() if _has_learned(b, result.site, case)]
    learned_by = "both" if len(learners) == 2 else "".join(learners)
    by_digest = {bundle.digest: name for name, bundle in bundles.items()}
    pairs = []
    for label_id in labels.truth:
        if not schema.by_id(label_id).head:
            continue
        if label_id == CALCIFICATION:
            values = {name: _dice(annotation, labels.mask) for name, annotation in found.items()}
        else:
            truth = labels.landmarks[label_id].position
            values = {name: _error(annotation, label_id, truth) for name, annotation in found.items()}
        record = case.record.labels[label_id]
        taken = by_digest.get(record.bundle or "", "") if record.status is Status.CONFIRMED else ""
        pairs.append(Pair(case.id, label_id, str(record.status), taken, values["old"], values["new"], learned_by))
    return pairs


def _has_learned(bundle: Bundle, site_id: str, case: SiteCase) -> bool:
    return held_out.has_learned_from(bundle.provenance, site_id, case.record.ct_sha256)


def _annotated(volume: Any, bundle: Bundle, device: str, progress: Progress) -> tuple[Annotation | None, str]:
    """The prediction, or None and why there is none: a CT that is refused is a result of this bundle."""
    from ..pipeline import annotate

    try:
        return annotate(volume, bundle, device=device, progress=progress), ""
    except Cancelled:
        raise
    except FedKDTAVIError as error:
        if error.code == "bundle":
            raise
        return None, str(error)


def _error(annotation: Annotation | None, label_id: str, truth: np.ndarray) -> float:
    place = None if annotation is None else annotation.point(label_id)
    return float("inf") if place is None else round(float(np.linalg.norm(place - truth)), 3)


def _dice(annotation: Annotation | None, truth: np.ndarray) -> float:
    """Dice on the CT's grid; two empty masks agree."""
    found = None if annotation is None else annotation.calcification
    given, wanted = np.zeros(truth.shape, bool) if found is None else found > 0, truth > 0
    size = int(given.sum() + wanted.sum())
    return round(float(2 * (given & wanted).sum() / size), 4) if size else 1.0


def summarise(result: Comparison) -> dict[str, Any]:
    """Per label and in all: medians, missing, the paired difference with its interval, and what may be said of it."""
    unseen = [pair for pair in result.pairs if not pair.learned_by]
    used = unseen or result.pairs
    points = [pair for pair in used if pair.unit == "mm"]
    calcium = [pair for pair in used if pair.unit == "Dice"]
    learned = {n: {p.case for p in result.pairs if p.learned_by in (n, "both")} for n in ("old", "new")}
    rows = {label: _row([pair for pair in points if pair.label == label]) for label in schema.LANDMARK_IDS}
    return {
        "site": result.site,
        "synthetic": result.synthetic,
        "cases": len({pair.case for pair in used}),
        "learned_from": {name: len(cases) for name, cases in learned.items()},
        "only_learned_cases": bool(result.pairs) and not unseen,
        "landmarks": {label: row for label, row in rows.items() if row["n"]},
        "all_landmarks": _row(points),
        "calcification": _row(calcium, dice=True),
        "confirmed_as_predicted_by": {n: sum(p.taken_from == n for p in used) for n in ("old", "new")},
        "skipped": result.skipped,
        "refused": result.refused,
        "verdict": _row(points)["sentence"] if points else _row(calcium, dice=True)["sentence"],
        "rule": f"a missing landmark, and one further off than that, counts as {paired.WORST_MM:g} mm in differences",
    }


def _row(pairs: Sequence[Pair], *, dice: bool = False) -> dict[str, Any]:
    differences: dict[str, list[float]] = defaultdict(list)
    for pair in pairs:
        gain = pair.new - pair.old if dice else paired.counted(pair.old) - paired.counted(pair.new)
        differences[pair.case].append(gain)
    found = paired.paired(differences)
    row: dict[str, Any] = {"n": len(pairs), "cases": found.cases}
    for name in ("old", "new"):
        values = [getattr(pair, name) for pair in pairs]
        middle = float(np.median(values)) if values else np.nan
        row[f"{name}_median"] = round(middle, 3) if np.isfinite(middle) else None
        row[f"{name}_missing"] = int(np.isinf(values).sum())
    for name in ("mean", "low", "high"):
        value = getattr(found, name)
        row[f"gain_{name}"] = round(value, 3) if np.isfinite(value) else None
    row["sentence"] = found.sentence(unit="Dice" if dice else "mm", digits=2 if dice else 1)
    return row


def write_table(path: Path, pairs: Sequence[Pair]) -> None:
    """One row for each case and label. Raises UsageError when it cannot be written."""
    try:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows({name: getattr(pair, name) for name in COLUMNS} for pair in pairs)
    except OSError as error:
        raise UsageError(f"{path}: cannot be written ({error.strerror or error}); choose another --out.") from error
