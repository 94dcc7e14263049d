"""What Qt itself knows: read from PySide6, whose classes are Qt's."""

from __future__ import annotations

from functools import cache

from PySide6 import QtCore, QtGui, QtNetwork, QtUiTools, QtWidgets

from .table import NAMES

MODULES = (QtCore, QtGui, QtWidgets, QtNetwork, QtUiTools)


def qtClass(name: str) -> type | None:
    """Qt's class of this name, or None; PySide6's additions (Signal, Slot ...) are not Qt's."""
    if not name.startswith("Q"):
        return None
    found = (getattr(module, name, None) for module in MODULES)
    return next((one for one in found if isinstance(one, type)), None)


def _metaObject(name: str):
    """That of Qt's class, or of the one which a class of CTK or Slicer builds on (VTK's own widgets are QWidgets)."""
    base = NAMES.qtBase(name) if name in NAMES.classes else name
    return (qtClass(base) or QtWidgets.QWidget).staticMetaObject


@cache
def signals(name: str) -> set[str]:
    """Normalised signatures of all signals of a class of Qt, CTK or Slicer, with those of its bases."""
    meta = _metaObject(name)
    methods = (meta.method(index) for index in range(meta.methodCount()))
    kind = QtCore.QMetaMethod.MethodType.Signal
    return NAMES.signals(name) | {_text(one.methodSignature()) for one in methods if one.methodType() == kind}


@cache
def properties(name: str) -> set[str]:
    """All properties of a class of Qt, CTK or Slicer, with those of its bases."""
    meta = _metaObject(name)
    return set(NAMES.properties(name)) | {meta.property(index).name() for index in range(meta.propertyCount())}


@cache
def attributes(name: str) -> set[str]:
    """Everything that may stand behind the dot of such an object in PythonQt."""
    base = NAMES.qtBase(name) if name in NAMES.classes else name
    ours = {"name", "className", "connect", "disconnect", "exec_"}
    return NAMES.attributes(name) | properties(name) | set(dir(qtClass(base) or QtWidgets.QWidget)) | ours


@cache
def everySignal() -> set[str]:
    """Signals of all classes of the table and of Qt, for senders whose class a file does not tell."""
    found: set[str] = set()
    for module in MODULES:
        for name in dir(module):
            cls = getattr(module, name)
            if isinstance(cls, type) and issubclass(cls, QtCore.QObject):
                found |= signals(name)
    return found.union(*(signals(name) for name in NAMES.classes))


def _text(data) -> str:
    return bytes(data.data()).decode() if hasattr(data, "data") else str(data)
