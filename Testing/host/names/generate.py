"""Writes names.json from the source of Slicer and CTK.

    python Testing/host/names/generate.py --slicer SLICER_REPOSITORY --ctk CTK_REPOSITORY [--revision v5.10.0]

Both are git repositories (a bare one will do). Only the classes in WANTED and what they build on are read; add a class
here before using it, and the test of the names will hold every use of it against Slicer.
"""

from __future__ import annotations

import argparse
import ast
import json
import re
import subprocess
from pathlib import Path
from typing import Any

from headers import readClass

# Widgets of the module's window and those that Slicer's own parameterNodeWrapper names; objects behind slicer.app.
WANTED = re.findall(
    r"\w+",
    """
ctkCheckBox ctkCheckablePushButton ctkCollapsibleButton ctkCollapsibleGroupBox ctkColorPickerButton ctkComboBox
ctkDirectoryButton ctkDoubleRangeSlider ctkDoubleSlider ctkDoubleSpinBox ctkExpandButton ctkFittedTextBrowser
ctkMenuButton ctkMessageBox ctkPathLineEdit ctkPopupWidget ctkRangeWidget ctkSearchBox ctkSliderWidget
qMRMLCheckableNodeComboBox qMRMLCollapsibleButton  qMRMLNodeComboBox qMRMLPlotView qMRMLPlotWidget
qMRMLRangeWidget qMRMLSegmentEditorWidget qMRMLSegmentSelectorWidget qMRMLSegmentsTableView qMRMLSliderWidget
qMRMLSliceWidget qMRMLSliceView qMRMLSliceControllerWidget qMRMLSpinBox qMRMLSubjectHierarchyComboBox
qMRMLSubjectHierarchyTreeView qMRMLTableView qMRMLThreeDWidget qMRMLThreeDView qMRMLTreeView qMRMLWidget
qMRMLMarkupsToolBar qSlicerMarkupsPlaceWidget qSlicerSimpleMarkupsWidget qSlicerWidget
qSlicerAbstractCoreModule qSlicerAbstractModule qSlicerAbstractModuleWidget qSlicerApplication qSlicerCommandOptions
qSlicerCoreCommandOptions qSlicerCoreIOManager qSlicerIOManager qSlicerLayoutManager qSlicerModuleFactoryManager
qSlicerAbstractModuleFactoryManager qSlicerModuleManager qSlicerScriptedLoadableModule
qSlicerScriptedLoadableModuleWidget qSlicerSubjectHierarchyPluginHandler qSlicerSubjectHierarchyAbstractPlugin
ctkSettingsPanel ctkSettingsDialog qSlicerTerminologyNavigatorWidget qMRMLColorPickerWidget
""",
)

PYTHON = {
    "slicer.util": "Base/Python/slicer/util.py",
    "slicer.i18n": "Base/Python/slicer/i18n.py",
    "slicer.packaging": "Base/Python/slicer/packaging.py",
    "slicer.ScriptedLoadableModule": "Base/Python/slicer/ScriptedLoadableModule.py",
    "slicer.parameterNodeWrapper": "Base/Python/slicer/parameterNodeWrapper",
    "SampleData": "Modules/Scripted/SampleData/SampleData.py",
}


class Source:
    """One revision of a git repository."""

    def __init__(self, repository: Path, revision: str) -> None:
        self._repository = repository
        self._revision = revision
        self.paths = self._git("ls-tree", "-r", "--name-only", revision).splitlines()

    def _git(self, *arguments: str) -> str:
        command = ["git", "-C", str(self._repository), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True, encoding="utf-8").stdout

    def text(self, path: str) -> str:
        return self._git("show", f"{self._revision}:{path}")

    def header(self, className: str) -> str | None:
        return next((path for path in self.paths if path.endswith(f"/{className}.h")), None)

    def describe(self) -> dict[str, str]:
        commit, date = self._git("log", "-1", "--format=%H %cs", self._revision).split()
        return {"commit": commit, "date": date}


def readClasses(sources: list[Source]) -> dict[str, Any]:
    """Every wanted class and what it builds on, until a class of Qt."""
    found: dict[str, Any] = {}
    waiting = list(WANTED)
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        for source in sources:
            path = source.header(name)
            known = readClass(source.text(path), name) if path else None
            if known is not None:
                found[name] = known
                waiting += [known["base"]] if re.match(r"ctk|q[A-Z]", known["base"] or "") else []
                break
        else:
            raise SystemExit(f"{name} was not found in any header; take it out of WANTED.")
    return dict(sorted(found.items()))


def readPython(source: Source, path: str) -> dict[str, list[str]]:
    """Functions with their parameters, and classes with those of their constructor, of a file or of a package."""
    files = [path] if path.endswith(".py") else [one for one in source.paths if one.startswith(f"{path}/")]
    found: dict[str, list[str]] = {}
    for file in files:
        for node in ast.parse(source.text(file)).body:
            if isinstance(node, ast.FunctionDef):
                found[node.name] = _parameters(node)
            elif isinstance(node, ast.ClassDef):
                methods = {part.name: part for part in node.body if isinstance(part, ast.FunctionDef)}
                found[node.name] = _parameters(methods["__init__"])[1:] if "__init__" in methods else ["*"]
                found |= {f"{node.name}.{name}": _parameters(part) for name, part in methods.items() if name[0] != "_"}
            elif isinstance(node, ast.Assign):
                found |= {target.id: ["*"] for target in node.targets if isinstance(target, ast.Name)}
    return {name: parameters for name, parameters in sorted(found.items()) if not name.startswith("_")}


def _parameters(function: ast.FunctionDef) -> list[str]:
    arguments = function.args
    names = [one.arg for one in [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]]
    return names + (["*"] if arguments.vararg or arguments.kwarg else [])


def moduleNames(source: Source) -> list[str]:
    """The modules that Slicer ships, as ``slicer.modules`` names them."""
    folders = {
        path.split("/")[2].lower() for path in source.paths if re.match(r"Modules/(Loadable|Scripted)/\w+/", path)
    }
    return sorted(folders)


def write(content: dict[str, Any], path: Path) -> None:
    """One line a class or function, so that a change of Slicer is a small change of the table."""
    lines = ["{", *(f'"{key}": {json.dumps(content[key])},' for key in ("sources", "modules")), '"python": {']
    for module, functions in content["python"].items():
        rows = ",\n".join(f"  {json.dumps(name)}: {json.dumps(value)}" for name, value in functions.items())
        lines.append(f" {json.dumps(module)}: {{\n{rows}\n }}{',' if module != list(content['python'])[-1] else ''}")
    rows = ",\n".join(f" {json.dumps(name)}: {json.dumps(value)}" for name, value in content["classes"].items())
    lines += ["},", f'"classes": {{\n{rows}\n}}', "}"]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--slicer", type=Path, required=True, help="git repository of Slicer")
    parser.add_argument("--ctk", type=Path, required=True, help="git repository of CTK")
    parser.add_argument("--revision", default="HEAD", help="revision of Slicer")
    chosen = parser.parse_args()
    slicer, ctk = Source(chosen.slicer, chosen.revision), Source(chosen.ctk, "HEAD")
    content = {
        "sources": {"Slicer": slicer.describe(), "CTK": ctk.describe()},
        "modules": moduleNames(slicer),
        "python": {module: readPython(slicer, path) for module, path in PYTHON.items()},
        "classes": readClasses([slicer, ctk]),
    }
    write(content, Path(__file__).with_name("names.json"))


if __name__ == "__main__":
    main()
