"""Observers of VTK objects that can all be removed at once, so that none is left when a review ends."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Observers:
    """Adds observers and remembers them.

    >>> observers = Observers()
    >>> observers.add(node, vtk.vtkCommand.ModifiedEvent, onModified)
    >>> observers.removeAll()
    """

    def __init__(self) -> None:
        self._tags: list[tuple[Any, int]] = []

    def add(self, target: Any, event: int, callback: Callable[..., None], priority: float = 0.0) -> None:
        """Call ``callback(caller, event)`` at every ``event`` of ``target``; a higher ``priority`` is called first."""
        self._tags.append((target, target.AddObserver(event, callback, priority)))

    def removeAll(self) -> None:
        """Remove all of them; can be called again."""
        while self._tags:
            target, tag = self._tags.pop()
            target.RemoveObserver(tag)

    def __len__(self) -> int:
        return len(self._tags)
