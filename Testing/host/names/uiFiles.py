"""Holds a ``.ui`` file against the names that Qt, CTK and Slicer know."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

from . import qtNames
from .headers import normalized
from .table import NAMES

_DESIGNER = {"Line": "QFrame", "Spacer": "QSpacerItem"}  # names that only Qt Designer uses


def objects(path: Path) -> dict[str, str]:
    """Name of every widget and action of the file -> its class."""
    root = ElementTree.parse(path).getroot()
    return {
        element.get("name", ""): "QAction" if element.tag == "action" else element.get("class", "")
        for element in root.iter()
        if element.tag in ("widget", "action")
    }


def problems(path: Path) -> list[str]:
    """One sentence for every class, property, enumerator, signal and slot that nobody knows."""
    root = ElementTree.parse(path).getroot()
    found = []
    for widget in root.iter("widget"):
        name, className = widget.get("name", ""), _DESIGNER.get(widget.get("class", ""), widget.get("class", ""))
        if not known(className):
            found.append(f"{path.name}: {name} is a {className}, which neither Qt nor the table of names knows.")
            continue
        for entry in widget.findall("property"):
            key = entry.get("name", "")
            if key not in qtNames.properties(className) and entry.get("stdset") != "0":
                found.append(f"{path.name}: {name}: {className} has no property {key}.")
            found += [
                f"{path.name}: {name}.{key}: {className} has no {constant}."
                for constant in _constants(entry, className)
                if constant not in NAMES.constants(className)
            ]
    return found + _connections(path, root)


def known(className: str) -> bool:
    return className in NAMES.classes or qtNames.qtClass(className) is not None


def _constants(entry: ElementTree.Element, className: str) -> list[str]:
    """Enumerators of the class itself that a property uses (``ctkPathLineEdit::Dirs``)."""
    texts = [element.text or "" for element in entry if element.tag in ("enum", "set")]
    parts = [part for text in texts for part in text.split("|") if part.startswith(f"{className}::")]
    return [part.split("::")[-1] for part in parts if className in NAMES.classes]


def _connections(path: Path, root: ElementTree.Element) -> list[str]:
    classes, found = objects(path), []
    for link in root.iter("connection"):
        sender, signal, receiver, slot = (link.findtext(part) for part in ("sender", "signal", "receiver", "slot"))
        if sender not in classes or receiver not in classes:
            found.append(f"{path.name}: {signal} connects {sender} with {receiver}, which are not both there.")
        elif normalized(signal) not in qtNames.signals(classes[sender]):
            found.append(f"{path.name}: {sender} ({classes[sender]}) has no signal {signal}.")
        elif slot.split("(")[0] not in qtNames.attributes(classes[receiver]):
            found.append(f"{path.name}: {receiver} ({classes[receiver]}) has no slot {slot}.")
    return found
