"""Tells what a person did to the points of a markups node: moved, placed, deleted; never what a program did.

Slicer's ``PointEndInteractionEvent`` comes after a drag, but as well after a plain click and on a locked point, and
carries no index. So the positions at its start are kept, the index comes from the node's attribute
``Markups.MovingMarkupIndex``, and a point counts as moved only beyond 0.05 mm.

Some starts have no end: the key "s" over a point in a slice view (snap to slice) starts, moves, and never ends. Such a
drag is ended by :meth:`PointTracker.finish`, by the next start, or by what else a person does to the points.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
import slicer

from .labelState import MOVED_MM
from .observers import Observers


class PointListener(Protocol):
    """Who wants to know. ``node`` is the markups node, ``index`` a control point."""

    def pointsMoved(self, node: Any, indices: list[int]) -> None:
        """A person dragged these points, or all of them at once, to where they are now."""

    def pointPlaced(self, node: Any, index: int) -> None:
        """A person placed a point that was not there before."""

    def pointUnset(self, node: Any, index: int, missing: bool) -> None:
        """A person deleted a point (index -1: one that is no longer there), or called it missing."""


class PointTracker:
    """Watches one markups node from its making until :meth:`stop`.

    Args:
        node: a vtkMRMLMarkupsNode: fiducials or a curve.
        listener: is told of each thing a person did, once it is done.
    """

    def __init__(self, node: Any, listener: PointListener) -> None:
        self.node = node
        self._listener = listener
        self._observers = Observers()
        self._suppressions = 0
        self._start: np.ndarray | None = None
        self._held: int | None = None
        self._interacting = False
        self._known = self._statuses()
        for event, callback in (
            (node.PointStartInteractionEvent, self._onStart),
            (node.PointEndInteractionEvent, self._onEnd),
            (node.PointPositionDefinedEvent, self._onStatus),
            (node.PointPositionUndefinedEvent, self._onStatus),
            (node.PointPositionMissingEvent, self._onStatus),
            (node.PointRemovedEvent, self._onStatus),
        ):
            self._observers.add(node, event, callback)

    def stop(self) -> None:
        """Remove all observers; can be called again."""
        self._observers.removeAll()
        self._start, self._interacting = None, False

    @property
    def interacting(self) -> bool:
        """Is a person dragging right now, or is the end of a drag still missing?"""
        return self._interacting

    def finish(self) -> None:
        """Tell of a drag as if it ended now; harmless when there is none.

        An end that comes after all tells of what moved since.
        """
        if not self._interacting:
            return
        self._tell()
        self._start = self._positions()
        # Slicer's own end does the same: left behind, it would name the wrong point for a handle.
        self.node.SetAttribute(slicer.vtkMRMLMarkupsDisplayNode.GetMovingMarkupIndexAttributeName(), "")

    @contextmanager
    def suppressed(self) -> Iterator[None]:
        """What happens inside is a program's doing and is not told; may be nested."""
        self._suppressions += 1
        try:
            yield
        finally:
            self._suppressions -= 1
            if not self._suppressions:
                self._known = self._statuses()
                if self._start is not None and not self._interacting:
                    self._start = self._positions()  # a late end must not tell of what a program moved

    def _onStart(self, _caller: Any, _event: str) -> None:
        if self._interacting:
            self._tell()
        # The index is that of this drag already, so that of the one before is kept.
        self._start, self._held, self._interacting = self._positions(), self._heldIndex(), True

    def _onEnd(self, _caller: Any, _event: str) -> None:
        self._tell()
        self._start = None

    def _tell(self) -> None:
        """The drag is over: what moved since its start was moved by a person."""
        start, self._interacting = self._start, False
        if start is None or self._suppressions:
            return
        now = self._positions()
        if len(now) != len(start) or self.node.GetLocked():
            return
        own = [
            index
            for index in (range(len(now)) if self._held is None else [self._held])
            if index < len(now) and not self.node.GetNthControlPointLocked(index)
        ]
        # Not a number where a point has no position: never over the limit.
        distance = np.linalg.norm(now - start, axis=1)
        self._putBack(start, [index for index in own if 0 < distance[index] <= MOVED_MM])
        moved = [index for index in own if distance[index] > MOVED_MM]
        if moved:
            self._listener.pointsMoved(self.node, moved)

    def _putBack(self, start: np.ndarray, indices: list[int]) -> None:
        """What was no move leaves no trace: many of them would add up to one that nobody was told of."""
        with self.suppressed():
            for index in indices:
                self.node.SetNthControlPointPositionWorld(index, start[index].tolist())

    def _heldIndex(self) -> int | None:
        """The point under the mouse; None when a handle moves the whole node."""
        text = self.node.GetAttribute(slicer.vtkMRMLMarkupsDisplayNode.GetMovingMarkupIndexAttributeName())
        try:
            index = int(text or -1)
        except ValueError:
            return None
        return index if index >= 0 else None

    def _onStatus(self, _caller: Any, _event: str) -> None:
        before, known = self._known, self._statuses()
        self._known = known
        if self._suppressions:
            return
        if known != before:
            self.finish()
        defined, missing = self.node.PositionDefined, self.node.PositionMissing
        if len(known) < len(before) and before.count(defined) > known.count(defined):
            self._listener.pointUnset(self.node, -1, False)
            return
        for index, now in enumerate(known):
            was = before[index] if index < len(before) else None
            if now == defined and was != defined:
                self._listener.pointPlaced(self.node, index)
            elif was == defined and now != defined and now != self.node.PositionPreview:
                self._listener.pointUnset(self.node, index, now == missing)
            elif now == missing and was != missing and was is not None:
                self._listener.pointUnset(self.node, index, True)

    def _statuses(self) -> list[int]:
        return [self.node.GetNthControlPointPositionStatus(i) for i in range(self.node.GetNumberOfControlPoints())]

    def _positions(self) -> np.ndarray:
        """(N, 3) world RAS mm; not a number where a point has no position."""
        positions = np.full((self.node.GetNumberOfControlPoints(), 3), np.nan)
        for index, status in enumerate(self._statuses()):
            if status == self.node.PositionDefined:
                self.node.GetNthControlPointPositionWorld(index, positions[index])
        return positions
