"""Turns PySide6's classes into what PythonQt makes of Qt: properties without parentheses, ``connect`` with a string."""

from __future__ import annotations

import functools

from names.qtNames import MODULES, readQt
from PySide6 import QtCore, QtWidgets
from PySide6.QtCore import QObject

from .signals import connectSignal, disconnectSignal
from .standin import StandIn

_get = QObject.__getattribute__
# Properties behind virtual methods: PySide looks for an override under that name, and would find the property again.
_VIRTUAL = ("sizeHint", "minimumSizeHint")


def applyStyle() -> None:
    """Change the classes of PySide6 for the rest of this process; a second call changes nothing."""
    if getattr(QObject, "className", None) is not None:
        return
    for module in MODULES:
        for name in dir(module):
            getattr(module, name)  # PySide6 makes a class when it is first asked for
    readQt()
    for cls in _descendants(QObject):
        if cls.__module__.split(".")[0] == "PySide6":
            _propertiesAsAttributes(cls)
            cls.__setattr__ = _setAttribute  # every class of Shiboken has its own
            if cls is not QObject and "__getattribute__" in vars(
                cls
            ):  # and some, like QProcess, look names up their way
                cls.__getattribute__ = functools.partialmethod(_getOwnAttribute, vars(cls)["__getattribute__"])
    QObject.name = property(
        lambda one: one.property("objectName"), lambda one, value: one.setProperty("objectName", value)
    )
    QObject.className = _className
    QObject.__getattribute__ = _getAttribute
    for cls in (QtWidgets.QDialog, QtWidgets.QMenu, QtWidgets.QApplication, QtCore.QEventLoop):
        cls.exec_ = cls.exec


def _descendants(cls: type):
    yield cls
    for below in cls.__subclasses__():
        yield from _descendants(below)


def _propertiesAsAttributes(cls: type) -> None:
    meta = cls.staticMetaObject
    for index in range(meta.propertyOffset(), meta.propertyCount()):
        known = meta.property(index)
        if known.name() in _VIRTUAL:
            continue
        name = known.name()
        setattr(cls, name, _Attribute(name, known.isWritable(), getattr(cls, name, None)))


class _Attribute:
    """A property of Qt: its value behind an object; behind a class what Qt has there (QTimer.singleShot)."""

    def __init__(self, name: str, writable: bool, ofClass) -> None:
        self._name = name
        self._writable = writable
        self._ofClass = ofClass

    def __get__(self, one, _cls=None):
        return self._ofClass if one is None else one.property(self._name)

    def __set__(self, one, value) -> None:
        if not self._writable:
            raise AttributeError(f"{type(one).__name__}.{self._name} can only be read.")
        if not one.setProperty(self._name, value) and one.property(self._name) != value:
            raise ValueError(f"{type(one).__name__}.{self._name} cannot be set to {value!r}.")


def _className(one) -> str:
    return type(one).__name__ if isinstance(one, StandIn) else one.metaObject().className()


def _getOwnAttribute(one, own, name: str):
    return _getAttribute(one, name) if name in ("connect", "disconnect") else own(one, name)


def _getAttribute(one, name: str):
    if name == "connect":
        return functools.partial(connectSignal, one)
    if name == "disconnect":
        return functools.partial(disconnectSignal, one)
    return _get(one, name)


def _setAttribute(one, name: str, value) -> None:
    """PythonQt refuses new attributes on Qt's objects; only subclasses written in Python may have their own."""
    cls = type(one)
    if isinstance(value, QObject) and value.objectName == name and not hasattr(cls, name):
        return  # Qt's loader for Python offers the children of a .ui file; childWidgetVariables finds them itself
    fixed = cls.__module__.split(".")[0] == "PySide6" or (cls.__module__.startswith(__package__) and name[0] != "_")
    if fixed and not hasattr(cls, name):
        raise AttributeError(f"{cls.__name__} has no attribute {name}; PythonQt lets nobody add one.")
    for above in cls.__mro__:
        known = vars(above).get(name)
        if known is not None:
            if isinstance(known, QtCore.Property):
                one.setProperty(name, value)
                return
            if hasattr(type(known), "__set__"):
                known.__set__(one, value)
                return
            break
    one.__dict__[name] = value
