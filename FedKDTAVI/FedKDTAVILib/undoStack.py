"""Undo and redo over everything a review did: each step is the labels it changed, before and after."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from .labelState import LabelState

MOST_STEPS = 500  # a step weighs some kilobytes at most


# Gets states and predictions by label id.
Write = Callable[[Mapping[str, LabelState], Mapping[str, LabelState]], None]


@dataclass(frozen=True)
class Step:
    """One thing a person did.

    Attributes:
        text: what it was, for the tooltip of Undo ("Move RCC").
        before: label id -> state that undoing brings back.
        after: label id -> state that redoing brings back.
        predictions: label id -> (before, after) of what the model says, for a contour that was traced anew.
    """

    text: str
    before: Mapping[str, LabelState]
    after: Mapping[str, LabelState]
    predictions: Mapping[str, tuple[LabelState, LabelState]] = field(default_factory=dict)


class UndoStack:
    """Steps done and undone.

    >>> stack = UndoStack(write)            # write(states, predictions) puts them where they are kept
    >>> stack.push(Step("Move RCC", {"hinge_rcc": old}, {"hinge_rcc": new}))
    >>> stack.undo().text
    'Move RCC'
    """

    def __init__(self, write: Write, most: int = MOST_STEPS) -> None:
        self._write = write
        self._most = most
        self._done: list[Step] = []
        self._undone: list[Step] = []

    def push(self, step: Step) -> None:
        """Remember a step that has been done already; what had been undone can no longer be redone."""
        self._done.append(step)
        del self._done[: -self._most]
        self._undone.clear()

    def undo(self) -> Step | None:
        """Take the last step back; returns it, or None when there is none."""
        return self._move(self._done, self._undone, back=True)

    def redo(self) -> Step | None:
        """Do the last undone step again; returns it, or None when there is none."""
        return self._move(self._undone, self._done, back=False)

    def _move(self, source: list[Step], target: list[Step], *, back: bool) -> Step | None:
        if not source:
            return None
        step = source[-1]
        predictions = {labelId: pair[0 if back else 1] for labelId, pair in step.predictions.items()}
        self._write(step.before if back else step.after, predictions)
        # Only what could be written counts as moved: a step whose writing raises can be tried again.
        target.append(source.pop())
        return step

    @property
    def undoText(self) -> str:
        """What Undo would take back; empty when nothing."""
        return self._done[-1].text if self._done else ""

    @property
    def redoText(self) -> str:
        """What Redo would do again; empty when nothing."""
        return self._undone[-1].text if self._undone else ""

    def clear(self) -> None:
        """Forget all steps, as after another case was opened."""
        self._done.clear()
        self._undone.clear()
