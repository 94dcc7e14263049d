"""The labels of one CT in the order in which a person should look at them, and what was decided on each.

Pure: knows label states, no nodes. Each action returns the :class:`~.undoStack.Step` it made, or None when it changed
nothing. Landmarks come first, the worst of them first: what was not found, then what the plausibility check flagged,
then by confidence times plausibility. Calcification and contour follow, because both are read against the plane that
the landmarks make.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from slicer.i18n import tr as _

from fedkdtavi_core import schema
from fedkdtavi_core.annotation import Annotation, Status
from fedkdtavi_core.numbers import fixed

from .labelState import LabelState, Value, Voxels, curve, differs, point
from .undoStack import Step


@dataclass(frozen=True)
class Doubt:
    """Why a label comes early: nothing ``found``, sentences that ``flags`` it, ``trust`` 0..1; None: cannot be told."""

    found: bool = True
    flags: tuple[str, ...] = ()
    trust: float | None = None
    confidence: float | None = None

    @property
    def rank(self) -> tuple[bool, bool, float]:
        """Sorts the worst first."""
        return (self.found, not self.flags, 1.0 if self.trust is None else self.trust)


@dataclass(frozen=True)
class Item:
    """One line of the queue: label ``id`` and ``name``, its ``state`` and what the model was sure of (``doubt``)."""

    id: str
    name: str
    kind: str
    state: LabelState
    doubt: Doubt

    @property
    def statusText(self) -> str:
        """ "predicted", "not found", "corrected" ..."""
        if self.state.value is None and self.state.status is not Status.ABSENT:
            return _("not found")
        return _STATUS_TEXT[self.state.status]()

    @property
    def confidenceText(self) -> str:
        """Calibrated confidence of the prediction, "87 %"; empty where there is none."""
        confidence = self.doubt.confidence
        return "" if confidence is None else _("{percent} %").format(percent=fixed(100 * confidence))


_STATUS_TEXT = {
    Status.ABSENT: lambda: _("absent"),
    Status.PREDICTED: lambda: _("predicted"),
    Status.CORRECTED: lambda: _("corrected"),
    Status.CONFIRMED: lambda: _("confirmed"),
}


class ReviewQueue:
    """States of all labels, the order to look at them, and which one is looked at.

    >>> queue = ReviewQueue(annotation)
    >>> step = queue.accept()              # confirmed, or corrected when it differs from the prediction
    >>> queue.next(), queue.progressText
    ('ostium_lca', '1 of 9 reviewed')

    Args:
        annotation: labels as they are now. A contour that there is none of is no item.
        predictions: label id -> what the model had said, when that is no longer what ``annotation`` holds.
        order: label ids in an order kept from before; default: worst first.
    """

    def __init__(
        self,
        annotation: Annotation,
        predictions: Mapping[str, LabelState] | None = None,
        order: Iterable[str] | None = None,
    ) -> None:
        self._states = statesOf(annotation)
        self._predictions = {**self._states, **(predictions or {})}
        self._doubts = doubtsOf(annotation)
        worstFirst = sorted(self._states, key=lambda i: (schema.by_id(i).kind != "landmark", self._doubts[i].rank))
        kept = [i for i in dict.fromkeys(order or ()) if i in self._states]
        self.order: tuple[str, ...] = (*kept, *(i for i in worstFirst if i not in kept))
        self.current: str = self.order[0]
        if self._states[self.current].reviewed:
            self.advance()

    # What there is

    def item(self, labelId: str) -> Item:
        """One line of the queue. Raises KeyError for an id that is not in it."""
        label = schema.by_id(labelId)
        return Item(label.id, label.name, label.kind, self._states[labelId], self._doubts[labelId])

    @property
    def items(self) -> list[Item]:
        """All lines, in order."""
        return [self.item(labelId) for labelId in self.order]

    def state(self, labelId: str) -> LabelState:
        """What a label is now. Raises KeyError for an id that is not in the queue."""
        return self._states[labelId]

    def status(self, labelId: str) -> Status:
        """Status of one label."""
        return self._states[labelId].status

    def prediction(self, labelId: str) -> LabelState:
        """What the model had said."""
        return self._predictions[labelId]

    @property
    def total(self) -> int:
        """How many labels there are to review."""
        return len(self.order)

    @property
    def reviewedCount(self) -> int:
        """How many of them a person has decided on."""
        return sum(state.reviewed for state in self._states.values())

    @property
    def progressText(self) -> str:
        """ "5 of 9 reviewed"."""
        return _("{count} of {total} reviewed").format(count=self.reviewedCount, total=self.total)

    # Which one is looked at

    def select(self, labelId: str) -> str:
        """Look at this one. Raises KeyError for an id that is not in the queue."""
        if labelId not in self._states:
            raise KeyError(f"{labelId!r} is not in the queue: {', '.join(self.order)}")
        self.current = labelId
        return labelId

    def next(self) -> str:
        """Look at the next one in order; after the last comes the first."""
        return self._step(1)

    def previous(self) -> str:
        """Look at the one before; before the first comes the last."""
        return self._step(-1)

    def advance(self) -> str:
        """Look at the next one that nobody has decided on; stays where all are."""
        here = self.order.index(self.current)
        for labelId in (*self.order[here + 1 :], *self.order[: here + 1]):
            if not self._states[labelId].reviewed:
                return self.select(labelId)
        return self.current

    def _step(self, by: int) -> str:
        here = self.order.index(self.current)
        return self.select(self.order[(here + by) % len(self.order)])

    # What is decided

    def whyNotAccept(self, labelId: str | None = None) -> str:
        """Why a label cannot be accepted, for a tooltip; empty when it can."""
        item = self.item(labelId or self.current)
        if item.state.value is None and item.state.status is not Status.ABSENT:
            return _("{name} was not found: place it, or mark it absent.").format(name=item.name)
        return ""

    def accept(self, labelId: str | None = None) -> Step | None:
        """Confirmed where it is what the model said, corrected where it differs; absent stays absent.

        None too for a label without a value: there is nothing to accept, see :meth:`whyNotAccept`.
        """
        labelId = labelId or self.current
        value = self._states[labelId].value
        if value is None:
            return None
        return self._change(_("Accept {name}"), {labelId: LabelState(self._judged(labelId, value), value)})

    def markAbsent(self, labelId: str | None = None) -> Step | None:
        """It is not there, or cannot be seen: nothing of it is left on screen."""
        value = Voxels() if schema.by_id(labelId or self.current).kind == "segment" else None
        return self._change(_("{name} absent"), {labelId or self.current: LabelState(Status.ABSENT, value)})

    def restorePrediction(self, labelId: str | None = None) -> Step | None:
        """Back to what the model said, to be reviewed again."""
        labelId = labelId or self.current
        return self._change(_("{name} back to the prediction"), {labelId: self._predictions[labelId]})

    def correct(self, value: Value, labelId: str | None = None) -> Step | None:
        """A person set a landmark or a curve; None when it has not moved (over 0.05 mm).

        Args:
            value: (R, A, S) in mm, or control points of a curve in RAS mm.
            labelId: default: the one that is looked at.
        """
        labelId = labelId or self.current
        if not differs(value, self._states.get(labelId, LabelState()).value):
            return None
        return self._change(_("Move {name}"), {labelId: LabelState(Status.CORRECTED, value)})

    def edit(self, labelId: str, voxels: Voxels) -> Step | None:
        """A person painted; None when no voxel changed. What was reviewed stays so; the rest waits for accept."""
        before = self._states[labelId]
        if voxels == before.value:
            return None
        status = self._judged(labelId, voxels) if before.reviewed else Status.PREDICTED
        return self._change(_("Edit {name}"), {labelId: LabelState(status, voxels)})

    def clear(self, labelId: str) -> Step | None:
        """A person deleted a point without saying that it is absent: it has to be placed or marked absent."""
        return self._change(_("Delete {name}"), {labelId: LabelState(Status.PREDICTED, None)})

    def derive(self, states: Mapping[str, LabelState], step: Step | None = None) -> Step:
        """Take over what follows from ``step`` (a contour traced in a moved plane) as the new prediction.

        Returns ``step`` widened by it, so that one undo takes back both.
        """
        derived = self._change("{name}", states) or Step("", {}, {})
        predictions = {labelId: (self._predictions[labelId], state) for labelId, state in states.items()}
        self._predictions |= states
        step = step or derived
        return Step(step.text, {**step.before, **derived.before}, {**step.after, **derived.after}, predictions)

    @property
    def unaccepted(self) -> tuple[str, ...]:
        """Labels that a person has changed, and neither accepted nor marked absent."""
        return tuple(
            i
            for i in self.order
            if not self._states[i].reviewed and differs(self._states[i].value, self._predictions[i].value)
        )

    def put(self, states: Mapping[str, LabelState], predictions: Mapping[str, LabelState] | None = None) -> None:
        """Take over states, and predictions, as they are, as undo does; labels not in the queue are left out."""
        self._states |= {labelId: state for labelId, state in states.items() if labelId in self._states}
        self._predictions |= predictions or {}

    def _judged(self, labelId: str, value: Value) -> Status:
        predicted = self._predictions[labelId].value
        return Status.CORRECTED if differs(value, predicted) else Status.CONFIRMED

    def _change(self, text: str, after: Mapping[str, LabelState]) -> Step | None:
        for labelId in after:
            if labelId not in self._states:  # a contour that there was none of: it was drawn, or can be traced now
                self._states[labelId] = self._predictions[labelId] = LabelState()
                self._doubts[labelId] = Doubt(found=False)
                self.order = (*self.order, labelId)
        before = {labelId: self._states[labelId] for labelId in after}
        if before == dict(after):
            return None
        self._states |= after
        return Step(text.format(name=schema.by_id(next(iter(after))).name), before, dict(after))


def statesOf(annotation: Annotation) -> dict[str, LabelState]:
    """label id -> state, in the schema's order; without a contour that there is none of and nobody decided on."""
    states = {}
    for labelId, landmark in annotation.landmarks.items():
        absent = landmark.status is Status.ABSENT
        states[labelId] = LabelState(landmark.status, None if absent else point(landmark.position))
    mask = annotation.calcification
    states["calcification"] = LabelState(annotation.calcification_status, None if mask is None else Voxels.of(mask))
    contour = LabelState(annotation.contour_status, curve(annotation.annulus_contour))
    if contour.value is not None or contour.reviewed:
        states["annulus_contour"] = contour
    return states


def doubtsOf(annotation: Annotation) -> dict[str, Doubt]:
    """label id -> how much it needs a look, from confidence, plausibility and what was said while deriving it."""
    # Reads SciPy: not before a review begins.
    from fedkdtavi_core.plausibility import UNSEEN, plausibility_score

    scores = plausibility_score(annotation)
    doubts = {}
    for labelId, landmark in annotation.landmarks.items():
        confidence = landmark.confidence
        sure = 0.0 if UNSEEN in landmark.flags else 1.0 if confidence is None else float(confidence)
        trust = scores[labelId] * sure
        found = landmark.position is not None or landmark.status is Status.ABSENT
        doubts[labelId] = Doubt(found, tuple(landmark.flags), trust, confidence)
    for labelId, key in (("calcification", "calcium"), ("annulus_contour", "contour")):
        record = annotation.provenance.get(key) or {}
        told = tuple(str(record[name]) for name in ("refused", "reason", "warning") if record.get(name))
        value = annotation.calcification if labelId == "calcification" else annotation.annulus_contour
        doubts[labelId] = Doubt(value is not None, told)
    return doubts
