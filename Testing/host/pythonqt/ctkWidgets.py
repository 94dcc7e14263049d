"""Stand-ins for the CTK widgets whose behaviour the window needs; the others come from the table alone."""

from __future__ import annotations

from pathlib import Path

from PySide6 import QtCore, QtGui, QtWidgets
from PySide6.QtCore import Property

from .standin import StandIn, declare, storedProperty

_HEADER = 22  # pixels


class _Collapsible:
    """Hides its contents while it is not checked."""

    def _onToggled(self, checked: bool) -> None:
        self.collapsed = not checked

    def _showContents(self) -> None:
        self.setChecked(not self.collapsed)
        for child in self.children():
            if isinstance(child, QtWidgets.QWidget):
                child.setVisible(not self.collapsed)
        self.setMaximumHeight(self._closedHeight() if self.collapsed else 16777215)

    def _closedHeight(self) -> int:
        return _HEADER


class ctkCollapsibleButton(_Collapsible, QtWidgets.QAbstractButton, StandIn):
    """A header that hides what lies below it; checked while it is open, as in CTK."""

    locals().update(declare("ctkCollapsibleButton"))
    collapsed = storedProperty("collapsed", "bool", after="_showContents", changed="contentsCollapsed")
    collapsedHeight = storedProperty("collapsedHeight", "int", 10)

    def __init__(self, *arguments) -> None:
        super().__init__(next((one for one in arguments if isinstance(one, QtWidgets.QWidget)), None))
        self.setText(next((one for one in arguments if isinstance(one, str)), ""))
        self.setCheckable(True)
        self.setChecked(True)
        self.setContentsMargins(4, _HEADER + 2, 2, 2)
        self.toggled.connect(self._onToggled)

    def showEvent(self, _event) -> None:
        if self.collapsed:
            self._showContents()

    def hitButton(self, position) -> bool:
        return position.y() < _HEADER

    def sizeHint(self) -> QtCore.QSize:
        if self.collapsed or self.layout() is None:
            return QtCore.QSize(120, _HEADER)
        return self.layout().sizeHint()

    def paintEvent(self, _event) -> None:
        option = QtWidgets.QStyleOptionButton()
        option.initFrom(self)
        option.rect = QtCore.QRect(0, 0, self.width, _HEADER)
        option.text = f"{'▸' if self.collapsed else '▾'} {self.text}"
        painter = QtGui.QPainter(self)
        self.style().drawControl(QtWidgets.QStyle.CE_PushButton, option, painter, self)


class ctkPathLineEdit(QtWidgets.QWidget, StandIn):
    """A line for a path, with a button that would open a dialog."""

    NoFilter, Dirs, AllDirs, Files, Drives = 0x0, 0x1, 0x400, 0x2, 0x4
    NoSymLinks, NoDotAndDotDot, AllEntries = 0x8, 0x6000, 0x7
    Readable, Writable, Executable, Hidden = 0x10, 0x20, 0x40, 0x100
    locals().update(declare("ctkPathLineEdit"))
    filters = storedProperty("filters", "int", 0x7)
    showBrowseButton = storedProperty("showBrowseButton", "bool", True)
    showHistoryButton = storedProperty("showHistoryButton", "bool", True)

    def __init__(self, parent=None) -> None:
        super().__init__(parent)
        row = QtWidgets.QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        self._line = QtWidgets.QLineEdit(self)
        self._browse = QtWidgets.QToolButton(self)
        self._browse.setText("…")
        row.addWidget(self._line)
        row.addWidget(self._browse)
        self._line.textChanged.connect(self.currentPathChanged)

    currentPath = Property(str, lambda one: one._line.text, lambda one, path: one._line.setText(path))

    def setCurrentPath(self, path: str) -> None:
        self.currentPath = path


class ctkDirectoryButton(QtWidgets.QWidget, StandIn):
    """Shows a folder."""

    locals().update(declare("ctkDirectoryButton"))
    directory = storedProperty("directory", "QString", str(Path.cwd()), "directoryChanged", "_showText")

    def _showText(self) -> None:
        self.text = self.directory


class ctkCollapsibleGroupBox(_Collapsible, QtWidgets.QGroupBox, StandIn):
    """A group box that is closed by the mark in its title."""

    locals().update(declare("ctkCollapsibleGroupBox"))
    collapsed = storedProperty("collapsed", "bool", after="_showContents")
    collapsedHeight = storedProperty("collapsedHeight", "int", 14)

    def __init__(self, *arguments) -> None:
        super().__init__(*arguments)
        self.setCheckable(True)
        self.setChecked(True)
        self.toggled.connect(self._onToggled)

    def _closedHeight(self) -> int:
        return _HEADER + self.collapsedHeight


class _Number(QtWidgets.QWidget, StandIn):
    """A number in a box; of a slider nothing else is needed."""

    def __init__(self, *arguments) -> None:
        super().__init__(next((one for one in arguments if isinstance(one, QtWidgets.QWidget)), None))
        row = QtWidgets.QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        self._box = QtWidgets.QDoubleSpinBox(self)
        self._box.setRange(0.0, 99.0)
        row.addWidget(self._box)
        self._box.valueChanged.connect(self.valueChanged)


def _ofBox(kind: type, name: str) -> Property:
    """A property that is the box's own."""
    return Property(kind, lambda one: getattr(one._box, name), lambda one, value: setattr(one._box, name, value))


_BOX = {name: _ofBox(float, name) for name in ("value", "minimum", "maximum", "singleStep")}
_BOX |= {"decimals": _ofBox(int, "decimals")} | {name: _ofBox(str, name) for name in ("prefix", "suffix")}


class ctkSliderWidget(_Number):
    """A number with its slider."""

    locals().update(declare("ctkSliderWidget") | _BOX)


class ctkDoubleSpinBox(_Number):
    """A number in a box."""

    locals().update(declare("ctkDoubleSpinBox") | _BOX)


WRITTEN = {
    cls.__name__: cls
    for cls in (
        ctkCollapsibleButton,
        ctkCollapsibleGroupBox,
        ctkDirectoryButton,
        ctkDoubleSpinBox,
        ctkPathLineEdit,
        ctkSliderWidget,
    )
}
