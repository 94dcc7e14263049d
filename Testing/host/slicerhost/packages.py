"""The parts of Slicer's ``Base/Python/slicer`` that ``slicer-core`` lacks: Slicer's own files, or stand-ins."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

import slicer

NAMES = ("i18n",)


def install_packages() -> None:
    """Make ``slicer.<name>`` importable for every name; from the folder SLICER_BASE_PYTHON where it is set."""
    checkout = os.environ.get("SLICER_BASE_PYTHON")
    folder = Path(checkout) / "slicer" if checkout else Path(__file__).parent / "standins"
    for name in NAMES:
        _load(name, folder)


def _load(name: str, folder: Path) -> None:
    package = folder / name / "__init__.py"
    path = package if package.exists() else folder / f"{name}.py"
    inside = [str(package.parent)] if package.exists() else None
    spec = importlib.util.spec_from_file_location(f"slicer.{name}", path, submodule_search_locations=inside)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    setattr(slicer, name, module)
    spec.loader.exec_module(module)
