"""Tells what a person did to the points of a markups node: moved, placed, deleted; never what a program did.

Slicer's ``PointEndInteractionEvent`` comes after a drag, but as well after a plain click and on a locked point, and
carries no index. So the positions at its start are kept, the index comes from the node's attribute
``Markups.MovingMarkupIndex``, and a point counts as moved only beyond 0.05 mm. A key pressed over a point can leave a
drag without an end; the next one then ends it.
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
        self._node = node
        self._listener = listener
        self._observers = Observers()
        self._suppressions = 0
        self._start: np.ndarray | None = None
        self._held: int | None = None
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
        self._start = None

    @property
    def interacting(self) -> bool:
        """Is a person dragging right now?"""
        return self._start is not None

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

    def _onStart(self, _caller: Any, _event: str) -> None:
        self._finish(self._held)
        self._start, self._held = self._positions(), self._heldIndex()

    def _onEnd(self, _caller: Any, _event: str) -> None:
        self._finish(self._heldIndex())

    def _finish(self, held: int | None) -> None:
        """End the drag of the point ``held`` (None: of the whole node), if there is one."""
        start, self._start = self._start, None
        if start is None or self._suppressions:
            return
        now = self._positions()
        if len(now) != len(start) or self._node.GetLocked():
            return
        own = [
            index
            for index in (range(len(now)) if held is None else [held])
            if index < len(now) and not self._node.GetNthControlPointLocked(index)
        ]
        # Not a number where a point has no position: never over the limit.
        distance = np.linalg.norm(now - start, axis=1)
        self._putBack(start, [index for index in own if 0 < distance[index] <= MOVED_MM])
        moved = [index for index in own if distance[index] > MOVED_MM]
        if moved:
            self._listener.pointsMoved(self._node, moved)

    def _putBack(self, start: np.ndarray, indices: list[int]) -> None:
        """What was no move leaves no trace: many of them would add up to one that nobody was told of."""
        with self.suppressed():
            for index in indices:
                self._node.SetNthControlPointPositionWorld(index, start[index].tolist())

    def _heldIndex(self) -> int | None:
        """The point under the mouse; None when a handle moves the whole node."""
        text = self._node.GetAttribute(slicer.vtkMRMLMarkupsDisplayNode.GetMovingMarkupIndexAttributeName())
        try:
            index = int(text or -1)
        except ValueError:
            return None
        return index if index >= 0 else None

    def _onStatus(self, _caller: Any, _event: str) -> None:
        before, self._known = self._known, self._statuses()
        if self._suppressions:
            return
        defined, missing = self._node.PositionDefined, self._node.PositionMissing
        if len(self._known) < len(before) and before.count(defined) > self._known.count(defined):
            self._listener.pointUnset(self._node, -1, False)
            return
        for index, now in enumerate(self._known):
            was = before[index] if index < len(before) else None
            if now == defined and was != defined:
                self._listener.pointPlaced(self._node, index)
            elif was == defined and now != defined and now != self._node.PositionPreview:
                self._listener.pointUnset(self._node, index, now == missing)
            elif now == missing and was != missing and was is not None:
                self._listener.pointUnset(self._node, index, True)

    def _statuses(self) -> list[int]:
        return [self._node.GetNthControlPointPositionStatus(i) for i in range(self._node.GetNumberOfControlPoints())]

    def _positions(self) -> np.ndarray:
        """(N, 3) world RAS mm; not a number where a point has no position."""
        positions = np.full((self._node.GetNumberOfControlPoints(), 3), np.nan)
        for index, status in enumerate(self._statuses()):
            if status == self._node.PositionDefined:
                self._node.GetNthControlPointPositionWorld(index, positions[index])
        return positions
