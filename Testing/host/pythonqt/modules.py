"""Loads a scripted module as Slicer's module factory does."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import slicer
from PySide6 import QtWidgets


@dataclass
class LoadedModule:
    """A module with its window: ``python`` is the file's own namespace, ``widget`` its ...Widget, after setup()."""

    python: ModuleType
    parent: Any
    instance: Any
    widget: Any


def loadModule(path: Path) -> LoadedModule:
    """Import a module's file, tell Slicer of it, and open its window (``setup`` and ``enter`` have run)."""
    name = path.stem
    spec = importlib.util.spec_from_file_location(name, path)
    python = importlib.util.module_from_spec(spec)
    sys.modules[name] = python
    spec.loader.exec_module(python)

    parent = slicer.qSlicerScriptedLoadableModule()
    parent.path = str(path)
    instance = getattr(python, name)(parent)
    setattr(slicer.modules, name.lower(), parent)
    setattr(slicer.modules, f"{name}Instance", instance)
    setattr(slicer.moduleNames, name, name)

    window = slicer.qSlicerScriptedLoadableModuleWidget()
    window.setLayout(QtWidgets.QVBoxLayout())
    window.setMRMLScene(slicer.mrmlScene)
    parent.__dict__["_window"] = window
    window.__dict__["_name"] = name
    type(parent).widgetRepresentation = lambda one: one.__dict__["_window"]
    type(window).reload = lambda one: _setUp(one.__dict__["_name"], one)
    widget = _setUp(name, window)
    enter(widget)
    return LoadedModule(python, parent, instance, widget)


def _setUp(name: str, window: Any):
    """The panel of the module's code as it is imported now, in its window; at the first time and after a reload."""
    widget = getattr(sys.modules[name], f"{name}Widget")(window)
    setattr(slicer.modules, f"{name}Widget", widget)
    widget.setup()
    return widget


def enter(widget) -> None:
    """What Slicer does when the person opens the module: ``parent.isEntered`` is true from here on."""
    widget.parent.isEntered = True
    widget.enter()


def leave(widget) -> None:
    """What Slicer does when the person opens another module."""
    widget.parent.isEntered = False
    widget.exit()
