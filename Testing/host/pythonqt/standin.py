"""Builds stand-ins for classes of CTK and Slicer out of the table of names."""

from __future__ import annotations

from typing import Any

from names import NAMES
from PySide6 import QtCore, QtGui, QtWidgets
from PySide6.QtCore import Property, Signal

_PYTHON = {"bool": bool, "int": int, "double": float, "QString": str, "QStringList": "QStringList"}
_EMPTY = {"bool": False, "int": 0, "double": 0.0, "QString": "", "QStringList": ()}


class StandIn:
    """Marks a stand-in; ``_calls`` records (method, arguments) of what it knows by name but does not do."""

    _calls: list[tuple[str, tuple]]


def argumentTypes(signal: str) -> tuple:
    """Python's types for the arguments of a signal's normalised signature."""
    inside = signal.partition("(")[2].rstrip(")")
    kinds = (_PYTHON.get(kind, object) for kind in inside.split(",") if kind)
    return tuple(list if kind == "QStringList" else kind for kind in kinds)


def storedProperty(name: str, kind: str, default: Any = None, changed: str = "", after: str = "") -> Property:
    """A property that keeps its value; on a change it emits signal ``changed`` and calls method ``after``."""
    key = f"_{name}"
    empty = _EMPTY.get(kind) if default is None else default

    def read(one):
        return one.__dict__.get(key, list(empty) if isinstance(empty, tuple) else empty)

    def write(one, value) -> None:
        if read(one) == value:
            return
        one.__dict__[key] = value
        if after:
            getattr(one, after)()
        if changed:
            getattr(one, changed).emit(value)

    return Property(_PYTHON.get(kind, "QVariant"), read, write)


def buildClasses(written: dict[str, type]) -> dict[str, type]:
    """Stand-ins for all classes of the table: those that are written by hand, the others from their names alone."""
    built: dict[str, type] = {}
    for name in NAMES.classes:
        _build(name, written, built)
    return built


def declare(name: str) -> dict[str, Any]:
    """Signals, properties (each keeps its value) and constants that a class of the table has itself.

    To be put into the body of a class first; what is written below takes their place.
    """
    known = NAMES.classes[name]
    body: dict[str, Any] = {constant: 1 << index for index, constant in enumerate(known.constants)}
    body |= {key: storedProperty(key, kind) for key, kind in known.properties.items()}
    overloads: dict[str, list[tuple]] = {}
    for signal in NAMES.classes[name].signals:
        overloads.setdefault(signal.split("(")[0], []).append(argumentTypes(signal))
    for key, variants in overloads.items():
        body[key] = Signal(*variants) if len(variants) > 1 else Signal(*variants[0])
    return body


def _build(name: str, written: dict[str, type], built: dict[str, type]) -> type:
    if name in built:
        return built[name]
    known = NAMES.classes[name]
    if name in written:
        cls = written[name]
        _addMethods(cls, name)
    else:
        base = _build(known.base, written, built) if known.base in NAMES.classes else _qtClass(known.base)
        bases = (base,) if issubclass(base, StandIn) else (base, StandIn)
        body = {"__module__": __name__, "__doc__": "Knows its names, does nothing."}
        cls = type(base)(name, bases, body | declare(name))
        _addMethods(cls, name)
    built[name] = cls
    return cls


def _addMethods(cls: type, name: str) -> None:
    """Methods that Slicer has and nobody wrote here: setters set their property, the others are recorded."""
    properties = NAMES.properties(name)
    for method in NAMES.methods(name):
        if hasattr(cls, method):
            continue
        target = method[3:4].lower() + method[4:]
        setattr(cls, method, _setter(target) if method.startswith("set") and target in properties else _record(method))


def _setter(target: str):
    def call(one, value) -> None:
        setattr(one, target, value)

    return call


def _record(method: str):
    def call(one, *arguments):
        one.__dict__.setdefault("_calls", []).append((method, arguments))

    return call


def _qtClass(name: str | None) -> type:
    for module in (QtWidgets, QtGui, QtCore):
        if name and hasattr(module, name):
            return getattr(module, name)
    return QtCore.QObject
