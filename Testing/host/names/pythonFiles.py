"""Holds a Python file against the names that Slicer, VTK, Qt and CTK know, without running it."""

from __future__ import annotations

import ast
import importlib
from functools import cache
from pathlib import Path

import slicer
import vtk

from . import qtNames
from .headers import normalized
from .table import NAMES

# What a method of Slicer's objects returns, where a file goes on behind it: slicer.app.layoutManager().sliceWidget().
RETURNS = {
    "slicer.app.layoutManager()": "qSlicerLayoutManager",
    "slicer.app.moduleManager()": "qSlicerModuleManager",
    "slicer.app.coreIOManager()": "qSlicerCoreIOManager",
    "slicer.app.ioManager()": "qSlicerIOManager",
    "slicer.app.commandOptions()": "qSlicerCommandOptions",
    "slicer.app.layoutManager().sliceWidget()": "qMRMLSliceWidget",
    "slicer.app.layoutManager().threeDWidget()": "qMRMLThreeDWidget",
    "slicer.app.layoutManager().plotWidget()": "qMRMLPlotWidget",
    "slicer.app.settings()": "QSettings",
    "slicer.app.userSettings()": "QSettings",
    "slicer.app": "qSlicerApplication",
}
OF_MODULES = {"logic", "widgetRepresentation", "createNewWidgetRepresentation"}  # of qSlicerAbstractCoreModule
_SLICER = {"app", "mrmlScene", "modules", "moduleNames", "selfTests", "util", *(name[7:] for name in NAMES.functions)}


def problems(path: Path, ui: dict[str, str]) -> list[str]:
    """One sentence for every name that nobody knows; ``ui``: name of a widget in the .ui files -> its class."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = []
    for node in ast.walk(tree):
        found += [f"{path.name}:{node.lineno}: {sentence}" for sentence in _ofNode(node, ui)]
    return list(dict.fromkeys(found))


def _ofNode(node: ast.AST, ui: dict[str, str]) -> list[str]:
    if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in ("slicer", "qt", "ctk", "vtk"):
        names = [f"{node.module}.{alias.name}" for alias in node.names]
        return [sentence for name in names if (sentence := _unknown(name, ui))]
    if isinstance(node, ast.Attribute) and (dotted := chain(node)):
        sentence = _unknown(dotted, ui) or _unknownMethod(node)
        return [sentence] if sentence else []
    if isinstance(node, ast.Attribute):
        sentence = _unknownMethod(node)
        return [sentence] if sentence else []
    if isinstance(node, ast.Call):
        return _keywords(node) + _signals(node, ui)
    return []


def chain(node: ast.AST) -> str:
    """``slicer.app.layoutManager().layout`` of an expression; empty when it starts with anything but a name."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        before = chain(node.value)
        return f"{before}.{node.attr}" if before else ""
    if isinstance(node, ast.Call):
        before = chain(node.func)
        return f"{before}()" if before else ""
    return ""


def _unknown(dotted: str, ui: dict[str, str]) -> str:
    """A sentence when the last name of the chain does not exist in what stands before it, else nothing."""
    before, _, last = dotted.rpartition(".")
    first = dotted.split(".")[0]
    if last.startswith("__"):
        return ""
    if first in ("slicer", "vtk", "qt", "ctk"):
        return "" if _exists(before, last) else f"{dotted} does not exist."
    parts = dotted.split(".")
    if "ui" in (place := parts[:-1]) or "_ui" in place:
        index = next(index for index, part in enumerate(parts) if part in ("ui", "_ui"))
        if len(parts) == index + 2:
            return "" if last in ui else f"no .ui file has a widget {last}."
        if len(parts) == index + 3 and parts[index + 1] in ui:
            className = ui[parts[index + 1]]
            return "" if last in qtNames.attributes(className) else f"{className} has no {last}."
    return ""


def _exists(before: str, last: str) -> bool:
    if before in RETURNS:
        return last in qtNames.attributes(RETURNS[before])
    if before in NAMES.functions:
        return last in NAMES.functions[before]
    if before == "slicer":
        return last in _SLICER or last in NAMES.classes or (last.startswith("vtk") and hasattr(slicer, last))
    if before == "slicer.mrmlScene":
        return hasattr(slicer.vtkMRMLScene, last)
    if before == "slicer.modules":
        return last in NAMES.modules or last.lower().startswith("fedkdtavi")
    if before.startswith("slicer.modules."):
        return "(" in before or last in OF_MODULES | qtNames.attributes("qSlicerAbstractCoreModule")
    if before in ("qt", "ctk"):
        return last in NAMES.classes if before == "ctk" else last == "Qt" or qtNames.qtClass(last) is not None
    if before.startswith("vtk.util.") and before.count(".") == 2:
        return hasattr(importlib.import_module(before), last)
    if "(" in before:
        return True  # whatever a call returned; the methods of MRML are looked up by their names
    return _inClass(before, last)


def _inClass(before: str, last: str) -> bool:
    """A constant or method of a class: ``qt.QProcess.NotRunning``, ``slicer.vtkMRMLMarkupsNode.PointModifiedEvent``."""
    root, *rest = before.split(".")
    if root == "ctk":
        return last in qtNames.attributes(rest[0])
    if root == "slicer" and rest[0] in NAMES.classes:
        return last in qtNames.attributes(rest[0])
    place = {"slicer": slicer, "vtk": vtk}.get(root)
    if root == "qt":
        place = qtNames.qtClass(rest.pop(0)) if rest[0] != "Qt" else qtNames.QtCore.Qt
        rest = rest if before != "qt.Qt" else []
    for name in rest:
        place = getattr(place, name, None)
    return hasattr(place, last)


@cache
def _methods() -> set[str]:
    """Every method of VTK and of Slicer's libraries."""
    found: set[str] = set()
    for library in (vtk, slicer):
        for name in dir(library):
            member = getattr(library, name) if name.startswith("vtk") else None
            if isinstance(member, type):
                found |= set(dir(member))
    return found


def _unknownMethod(node: ast.Attribute) -> str:
    """VTK's and Slicer's methods are told by their capital letter; ours begin with a small one."""
    name = node.attr
    looks = name[:3] in ("Get", "Set", "Add", "Has", "Is") or name[:6] in ("Remove", "Create", "Update")
    looks = looks or name.endswith("Event")
    if not looks or not name[0].isupper() or name in _methods():
        return ""
    return "" if name in NAMES.functions["slicer.util"] else f"nothing in VTK or Slicer has {name}."


def _keywords(call: ast.Call) -> list[str]:
    """Keyword arguments of Slicer's functions."""
    dotted = chain(call.func)
    module, _, name = dotted.rpartition(".")
    parameters = NAMES.functions.get(module, {}).get(name)
    if parameters is None or "*" in parameters:
        return []
    unknown = [one.arg for one in call.keywords if one.arg and one.arg not in parameters]
    return [f"{dotted} has no argument {name}." for name in unknown]


def _signals(call: ast.Call, ui: dict[str, str]) -> list[str]:
    """Signals given as a signature to ``connect`` and ``disconnect``."""
    if not isinstance(call.func, ast.Attribute) or call.func.attr not in ("connect", "disconnect") or not call.args:
        return []
    signal = call.args[0]
    if not isinstance(signal, ast.Constant) or not isinstance(signal.value, str):
        return []
    sender = chain(call.func.value)
    parts = sender.split(".")
    className = RETURNS.get(sender)
    if className is None and len(parts) > 1 and parts[-2] in ("ui", "_ui"):
        className = ui.get(parts[-1])
    allowed = qtNames.signals(className) if className else qtNames.everySignal()
    if normalized(signal.value) in allowed:
        return []
    return [f"{className or 'no class of Qt, CTK or Slicer'} has no signal {signal.value}."]
