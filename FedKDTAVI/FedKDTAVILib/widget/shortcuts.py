"""Keys of the review, taken only while the module is shown.

Left alone are those of the segment editor (digits, space, Esc, Z, Y, I, Q, W, comma, period) and of the slice views
(B, F, V, R, G, T, brackets, arrows).
"""

from __future__ import annotations

import qt
import slicer

# key -> the button it presses: a key does nothing that the button would not do at that moment.
KEYS = {
    "N": "nextButton",
    "P": "previousButton",
    "A": "acceptButton",
    "X": "absentButton",
    "M": "restoreButton",
    "L": "placeButton",
    "U": "undoButton",
    "Shift+U": "redoButton",
}


class Shortcuts:
    """Keys that press the buttons of the review.

    Args:
        widget: the panel; keys belong to the main window where there is one, so that they work in the views too.
        ui: the named widgets.
    """

    def __init__(self, widget, ui) -> None:
        self._widget = widget
        self._ui = ui
        self._shortcuts: list = []

    def install(self) -> None:
        """Take the keys; a second call takes nothing twice."""
        self.remove()
        window = slicer.util.mainWindow() or self._widget
        for key, name in KEYS.items():
            shortcut = qt.QShortcut(qt.QKeySequence(key), window)
            shortcut.connect("activated()", getattr(self._ui, name).click)
            self._shortcuts.append(shortcut)

    def remove(self) -> None:
        """Give the keys back."""
        release(self._shortcuts)


def release(shortcuts: list) -> None:
    """Give the keys of these QShortcuts back, and empty the list."""
    for shortcut in shortcuts:
        shortcut.setEnabled(False)  # deleteLater waits for the event loop; the key is free now
        shortcut.setParent(None)
        shortcut.deleteLater()
    shortcuts.clear()


def keyOf(button: str) -> str:
    """The key that presses a button, for its tooltip."""
    return next(key for key, name in KEYS.items() if name == button)
