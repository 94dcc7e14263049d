"""Makes ``qt``, ``ctk``, Slicer's widgets and the windowed ``slicer.app`` of this process."""

from __future__ import annotations

import ctypes
import os
import sys
import types

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

import slicer
import slicerhost
from PySide6 import QtCore, QtWidgets
from slicerhost.packages import installWindowPackages

from . import ctkWidgets, layouts, mrmlWidgets, uiLoader
from .application import qSlicerApplication
from .standin import buildClasses
from .style import MODULES, applyStyle

_KEPT: list[object] = []


def start():
    """``slicer.app`` with a window's event loop; made at the first call, after the scene."""
    slicerhost.start()
    if isinstance(slicer.app, QtCore.QObject):
        return slicer.app
    _KEPT.append(QtWidgets.QApplication.instance() or QtWidgets.QApplication(["Slicer"]))
    QtCore.QCoreApplication.setOrganizationName("slicerhost")
    QtCore.QSettings.setPath(QtCore.QSettings.NativeFormat, QtCore.QSettings.UserScope, slicer.app.temporaryPath)
    applyStyle()
    _keep_constants()
    classes = buildClasses(ctkWidgets.WRITTEN | mrmlWidgets.WRITTEN | layouts.WRITTEN)
    uiLoader.CLASSES.update(classes)
    _makeModules(classes)
    manager = classes["qSlicerLayoutManager"]()
    slicer.app = qSlicerApplication(slicer.app, manager, classes["qSlicerModuleManager"]())
    manager._makeViews()
    installWindowPackages()
    return slicer.app


def _keep_constants() -> None:
    """Lend None, True and False two million references each: PySide6 gives back more than it took.

    A test with a whole panel loses about 2,000 of None; at zero the interpreter aborts ("deallocating None"). From
    Python 3.12 on they are not counted.
    """
    if sys.version_info < (3, 12):
        ctypes.pythonapi.Py_IncRef(ctypes.py_object([None, True, False] * 2_000_000))


def _makeModules(classes: dict[str, type]) -> None:
    """Slicer's module names: all of Qt in ``qt``, CTK's widgets in ``ctk``, Slicer's own in ``slicer``."""
    qt, ctk = types.ModuleType("qt"), types.ModuleType("ctk")
    for module in MODULES:
        vars(qt).update({name: getattr(module, name) for name in dir(module) if name.startswith("Q")})
    qt.QUiLoader = uiLoader.QUiLoader
    for name, cls in classes.items():
        setattr(ctk if name.startswith("ctk") else slicer, name, cls)
    sys.modules["qt"], sys.modules["ctk"] = qt, ctk
