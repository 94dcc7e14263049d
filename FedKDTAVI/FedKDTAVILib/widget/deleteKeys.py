"""Delete over a landmark, which means that it is absent: Slicer itself would only log an error.

In Slicer, Delete and Backspace remove the point under the mouse, and Shift+Delete all points of the list
(``vtkSlicerMarkupsWidget``). A list with a fixed number of points refuses that, with an error in the log. So these keys
are taken before Slicer's views see them, and only while the mouse is over a landmark: everywhere else they are free.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
import slicer

from ..observers import Observers
from .shortcuts import release

ONE = ("Del", "Backspace")
ALL = ("Shift+Del",)


class DeleteKeys:
    """Watches whether the mouse is over a landmark, and takes the keys meanwhile.

    Args:
        widget: the panel; keys belong to the main window where there is one, so that they work in the views too.
        onOne: is called with the index of the control point under the mouse.
        onAll: is called when all points were to go.
    """

    def __init__(self, widget, onOne: Callable[[int], None], onAll: Callable[[], None]) -> None:
        self._widget = widget
        self._onOne = onOne
        self._onAll = onAll
        self._observers = Observers()
        self._node: Any = None
        self._shortcuts: list = []

    def follow(self, node: Any) -> None:
        """Watch this list of landmarks from now on; None for none."""
        if node is self._node:
            return
        self._observers.removeAll()
        self._node = node
        if node is not None:
            self._observers.add(node, node.DisplayModifiedEvent, self._onHover)
        self._onHover()

    def install(self) -> None:
        """Make the keys; a second call makes nothing twice."""
        self.remove()
        window = slicer.util.mainWindow() or self._widget.window()
        for key in (*ONE, *ALL):
            shortcut = qt.QShortcut(qt.QKeySequence(key), window)
            shortcut.setAutoRepeat(False)
            shortcut.connect("activated()", self._one if key in ONE else self._onAll)
            self._shortcuts.append(shortcut)
        self._onHover()

    def remove(self) -> None:
        """Give the keys back."""
        release(self._shortcuts)

    def _one(self) -> None:
        if self._point() >= 0:
            self._onOne(self._point())

    def _onHover(self, _caller: Any = None, _event: str = "") -> None:
        over = self._point() >= 0
        for shortcut in self._shortcuts:
            shortcut.setEnabled(over)

    def _point(self) -> int:
        """The control point under the mouse; -1 for none."""
        display = self._node.GetDisplayNode() if self._node is not None else None
        return display.GetActiveControlPoint() if display is not None else -1
