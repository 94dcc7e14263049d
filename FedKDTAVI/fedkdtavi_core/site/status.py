"""How far a site's labels are, and which case to label next."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from .. import schema
from .dataset import STATES, Site, SiteCase

# A label that is predicted without a confidence (calcification, annulus) is looked at after every doubtful landmark.
_UNTOLD = 1.0


@dataclass(frozen=True)
class WorkItem:
    """A case with something left to do.

    Attributes:
        case: its id.
        unlabelled: ids of labels that nobody has looked at and nothing has predicted.
        predicted: ids of labels that wait for a reviewer.
        doubtful: id of the least confident of these, or None.
        confidence: of that one, 0..1; 0 where the network found nothing; None where it does not tell.
    """

    case: str
    unlabelled: tuple[str, ...]
    predicted: tuple[str, ...]
    doubtful: str | None
    confidence: float | None


def counts(site: Site) -> dict[str, dict[str, int]]:
    """Label id -> state (:data:`~.dataset.STATES`) -> number of cases, for every row of the schema."""
    table = {row.id: dict.fromkeys(STATES, 0) for row in schema.LABELS}
    for case in site.cases:
        for label_id, state in case.states().items():
            table[label_id][state] += 1
    return table


def worklist(site: Site, heads: Collection[str] = ()) -> tuple[list[WorkItem], dict[str, str]]:
    """Cases in the order in which labelling them helps most, and those that cannot be read (id -> one sentence).

    First the cases with labels that nothing is known of, most of them first; then by the least confident prediction.
    Cases where every label is reviewed are left out. The annulus contour is not learned and does not count.

    Args:
        site: opened.
        heads: only labels of these heads (``hps``, ``ms``, ``calc``); all by default.
    """
    from ..errors import InputError

    wanted = [row.id for row in schema.LABELS if row.head and (not heads or row.head in heads)]
    items, unreadable = [], dict(site.unreadable)
    for case in site.cases:
        try:
            item = _item(case, wanted)
        except InputError as error:
            unreadable[case.id] = str(error)
            continue
        if item.unlabelled or item.predicted:
            items.append(item)
    items.sort(key=_order)
    return items, unreadable


def _item(case: SiteCase, wanted: Collection[str]) -> WorkItem:
    states = case.states()
    predicted = tuple(label_id for label_id in wanted if states[label_id] == "predicted")
    confidences: dict[str, float | None] = dict.fromkeys(predicted)
    if any(label_id in schema.LANDMARK_IDS for label_id in predicted):
        landmarks = case.read_landmarks()
        for label_id in predicted:
            landmark = landmarks.get(label_id)
            if landmark is not None:
                confidences[label_id] = 0.0 if landmark.position is None else landmark.confidence
    doubtful = min(confidences, key=lambda i: _number(confidences[i]), default=None)
    unlabelled = tuple(label_id for label_id in wanted if states[label_id] == "unlabelled")
    return WorkItem(case.id, unlabelled, predicted, doubtful, confidences[doubtful] if doubtful else None)


def _order(item: WorkItem) -> tuple[int, float, str]:
    return -len(item.unlabelled), _number(item.confidence), item.case


def _number(confidence: float | None) -> float:
    return _UNTOLD if confidence is None else confidence
