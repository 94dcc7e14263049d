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


def readQt() -> None:
    """Read Qt's names now; to be called before the first widget is made."""
    _read()


@cache
def _read() -> dict[str, tuple[frozenset[str], frozenset[str]]]:
    """Class of Qt -> its signals and its properties, with those of its bases.

    All at once, before there is any widget: PySide6 may delete a class's meta-object together with a widget.
    """
    found = {}
    for module in MODULES:
        for name in dir(module):
            cls = qtClass(name)
            if cls is not None and issubclass(cls, QtCore.QObject):
                meta = cls.staticMetaObject
                methods = [meta.method(index) for index in range(meta.methodCount())]
                heard = (one for one in methods if one.methodType() == QtCore.QMetaMethod.MethodType.Signal)
                names = (meta.property(index).name() for index in range(meta.propertyCount()))
                found[name] = (frozenset(_text(one.methodSignature()) for one in heard), frozenset(names))
    return found


def _ofQt(name: str) -> tuple[frozenset[str], frozenset[str]]:
    """Those of Qt's class, or of the one which a class of CTK or Slicer builds on (VTK's own widgets are QWidgets)."""
    base = NAMES.qtBase(name) if name in NAMES.classes else name
    return _read().get(base, _read()["QWidget"])


def signals(name: str) -> set[str]:
    """Normalised signatures of all signals of a class of Qt, CTK or Slicer, with those of its bases."""
    return NAMES.signals(name) | _ofQt(name)[0]


def properties(name: str) -> set[str]:
    """All properties of a class of Qt, CTK or Slicer, with those of its bases."""
    return set(NAMES.properties(name)) | _ofQt(name)[1]


@cache
def attributes(name: str) -> set[str]:
    """Everything that may stand behind the dot of such an object in PythonQt."""
    base = NAMES.qtBase(name) if name in NAMES.classes else name
    ours = {"name", "className", "connect", "disconnect", "exec_"}
    return NAMES.attributes(name) | properties(name) | set(dir(qtClass(base) or QtWidgets.QWidget)) | ours


@cache
def everySignal() -> set[str]:
    """Signals of all classes of the table and of Qt, for senders whose class a file does not tell."""
    ofQt = (signals for signals, _properties in _read().values())
    return set().union(*ofQt, *(NAMES.signals(name) for name in NAMES.classes))


def _text(data) -> str:
    return bytes(data.data()).decode() if hasattr(data, "data") else str(data)
