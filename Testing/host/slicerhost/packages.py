"""The parts of Slicer's ``Base/Python/slicer`` that ``slicer-core`` lacks: Slicer's own files, or stand-ins."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

import slicer

STANDINS = Path(__file__).parent / "standins"


def installPackages() -> None:
    """Make ``slicer.i18n`` and ``slicer.packaging`` importable; from SLICER_BASE_PYTHON where it is set."""
    for name in ("i18n", "packaging"):
        _load(name)


def installWindowPackages() -> None:
    """Those that import ``qt``: the base classes of a module, and the wrapper of its parameter node."""
    if _checkout() is not None:
        import slicer_core.vtkSlicerBaseLogic

        sys.modules.setdefault("SlicerBaseLogicPython", slicer_core.vtkSlicerBaseLogic)
        sys.modules.setdefault("MRMLCorePython", slicer.MRMLCore)
    for name in ("parameterNodeWrapper", "ScriptedLoadableModule"):
        _load(name)


def _checkout() -> Path | None:
    folder = os.environ.get("SLICER_BASE_PYTHON")
    return Path(folder) / "slicer" if folder else None


def _load(name: str) -> None:
    folder = _checkout() or STANDINS
    package = folder / name / "__init__.py"
    path = package if package.exists() else folder / f"{name}.py"
    inside = [str(package.parent)] if package.exists() else None
    spec = importlib.util.spec_from_file_location(f"slicer.{name}", path, submodule_search_locations=inside)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    setattr(slicer, name, module)
    spec.loader.exec_module(module)
