"""``qt.QUiLoader``: Qt's own loader, which also knows the stand-ins."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

from names import NAMES
from PySide6 import QtCore, QtUiTools
from PySide6.QtCore import QObject

from .signals import connectSignal

CLASSES: dict[str, type] = {}  # class name in the .ui -> stand-in; filled by start()


class QUiLoader(QtUiTools.QUiLoader):
    """Loads a ``.ui``; what Slicer does not know in it raises instead of being left out.

    Properties and connections that belong to stand-ins are set here: Qt's loader knows neither the enumerators nor the
    signals of classes written in Python.
    """

    def load(self, file, parent=None):
        self._made = []
        root = ElementTree.fromstring(bytes(file.readAll()).decode())
        later = _takeProperties(root)
        links = root.find("connections")
        if links is not None:
            root.remove(links)
        buffer = QtCore.QBuffer()
        buffer.setData(ElementTree.tostring(root))
        buffer.open(QtCore.QIODevice.ReadOnly)
        widget = super().load(buffer, parent)
        if widget is None:
            raise RuntimeError(f"The .ui file could not be loaded: {self.errorString()}")
        _KEPT.append((widget, self._made))
        for name, key, value in later:
            setattr(_named(widget, name), key, value)
        for link in links if links is not None else ():
            _connect(widget, *(link.findtext(part) for part in ("sender", "signal", "receiver", "slot")))
        return widget

    def createWidget(self, className, parent=None, name=""):
        if className not in CLASSES:
            if className not in self.availableWidgets():
                raise RuntimeError(f"The .ui file uses {className}, which is neither Qt's nor in the table of names.")
            return super().createWidget(className, parent, name)
        widget = CLASSES[className](parent) if parent is not None else CLASSES[className]()
        widget.setObjectName(name)
        self._made.append(widget)
        return widget


_KEPT: list[tuple] = []  # Python's halves of the widgets must live as long as Qt's


def _named(widget: QObject, name: str) -> QObject:
    found = widget if widget.objectName == name else widget.findChild(QObject, name)
    if found is None:
        raise RuntimeError(f"The .ui file connects {name}, which it does not have.")
    return found


def _takeProperties(root: ElementTree.Element) -> list[tuple[str, str, object]]:
    """Take out the properties of stand-ins: (object's name, property, value)."""
    taken = []
    for widget in root.iter("widget"):
        className = widget.get("class", "")
        if className not in NAMES.classes:
            continue
        for entry in list(widget.findall("property")):
            key = entry.get("name", "")
            if key in NAMES.properties(className):
                taken.append((widget.get("name", ""), key, _value(entry[0], className)))
                widget.remove(entry)
    return taken


def _value(element: ElementTree.Element, className: str):
    text = element.text or ""
    if element.tag == "bool":
        return text == "true"
    if element.tag == "number":
        return int(text)
    if element.tag == "double":
        return float(text)
    if element.tag == "stringlist":
        return [one.text or "" for one in element.findall("string")]
    if element.tag in ("enum", "set"):
        value = 0
        for part in filter(None, text.split("|")):
            name = part.split("::")[-1]
            value |= int(getattr(CLASSES[className], name, 0))
        return value
    return text


def _connect(widget: QObject, sender: str, signal: str, receiver: str, slot: str) -> None:
    target, name = _named(widget, receiver), slot.split("(")[0]
    method = getattr(target, name, None)
    if not callable(method):
        raise RuntimeError(f"The .ui file connects to {receiver}.{slot}, which does not exist.")
    connectSignal(_named(widget, sender), signal, method)
