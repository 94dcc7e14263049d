"""``slicer.app`` with an event loop: the headless application and Qt's, with signals."""

from __future__ import annotations

from names import NAMES
from PySide6 import QtCore, QtWidgets
from PySide6.QtCore import QObject
from slicerhost.application import Application

from .standin import StandIn, declare


class qSlicerApplication(QObject, StandIn):
    """Passes on what the headless application or QApplication know; signals are its own."""

    locals().update(declare("qSlicerApplication"))

    def __init__(self, headless: Application, layouts: QObject, modules: QObject) -> None:
        super().__init__()
        self._headless = headless
        self._layouts = layouts
        self._modules = modules
        self._settings = QtCore.QSettings(f"{headless.temporaryPath}/Slicer.ini", QtCore.QSettings.IniFormat)

    def __getattr__(self, name: str):
        if name.startswith("_"):
            raise AttributeError(name)
        if name in NAMES.attributes("qSlicerApplication") and hasattr(self._headless, name):
            return getattr(self._headless, name)
        return getattr(QtWidgets.QApplication.instance(), name)

    def layoutManager(self):
        return self._layouts

    def moduleManager(self):
        return self._modules

    def settings(self):
        return self._settings

    def userSettings(self):
        return self._settings

    def testingEnabled(self) -> bool:
        return self._headless.testingEnabled()

    def processEvents(self) -> None:
        QtWidgets.QApplication.processEvents()
