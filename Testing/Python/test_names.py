"""Every name of Slicer that the module uses is one that Slicer has; the host knows none besides."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

pytest.importorskip("qt")
from names import NAMES, pythonFiles, qtNames, uiFiles
from names.headers import normalized, readClass

MODULE = Path(__file__).resolve().parents[2] / "FedKDTAVI"
UI_FILES = sorted((MODULE / "Resources" / "UI").glob("*.ui"))
PYTHON_FILES = sorted([*MODULE.glob("*.py"), *(MODULE / "FedKDTAVILib").rglob("*.py")])
WIDGETS = {name: kind for path in UI_FILES for name, kind in uiFiles.objects(path).items()}


def test_table_says_where_it_was_read_from() -> None:
    assert len(NAMES.sources["Slicer"]["commit"]) == len(NAMES.sources["CTK"]["commit"]) == 40
    assert NAMES.properties("qMRMLNodeComboBox")["nodeTypes"] == "QStringList"
    assert "loadVolume" in NAMES.functions["slicer.util"]


@pytest.mark.parametrize("path", UI_FILES, ids=lambda path: path.name)
def test_ui_file(path: Path) -> None:
    assert uiFiles.problems(path) == []


@pytest.mark.parametrize("path", PYTHON_FILES, ids=lambda path: path.name)
def test_python_file(path: Path) -> None:
    assert pythonFiles.problems(path, WIDGETS) == []


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        ("slicer.util.loadVolum('a')", "slicer.util.loadVolum does not exist"),
        ("slicer.util.loadVolume('a', return_node=True)", "has no argument return_node"),
        ("slicer.vtkMRMLMarkupsNode.PointMovedEvent", "does not exist"),
        ("slicer.app.layoutManger()", "does not exist"),
        ("slicer.app.layoutManager().sliceWidgets()", "does not exist"),
        ("slicer.modules.markup.logic()", "does not exist"),
        ("qt.QProcess.Runing", "does not exist"),
        ("qt.Signal()", "does not exist"),
        ("ctk.ctkPathLineEdit.Folders", "does not exist"),
        ("ctk.ctkPathEdit()", "does not exist"),
        ("from slicer.util import pipInstall", "does not exist"),
        ("node.GetNthControlPointPositionWorlds(0)", "nothing in VTK or Slicer has"),
        ("self.ui.runButton.toolTpi = ''", "QPushButton has no toolTpi"),
        ("self.ui.noButton.toolTip = ''", "no .ui file has a widget noButton"),
        ("self.ui.runButton.connect('clicked(int)', f)", "QPushButton has no signal clicked(int)"),
        ("button.connect('cliked()', f)", "has no signal cliked()"),
    ],
)
def test_wrong_names_are_found(code: str, sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "wrong.py"
    path.write_text(code, encoding="utf-8")
    found = pythonFiles.problems(path, {"runButton": "QPushButton"})
    assert any(sentence in one for one in found), found


def test_right_names_pass(tmp_path: Path) -> None:
    path = tmp_path / "right.py"
    path.write_text(
        "from slicer.util import VTKObservationMixin\n"
        "slicer.util.loadVolume('a', returnNode=True)\n"
        "slicer.app.layoutManager().sliceWidget('Red').mrmlSliceNode().GetName()\n"
        "slicer.modules.markups.logic().JumpSlicesToLocation(0, 0, 0, True)\n"
        "qt.Qt.AlignCenter, qt.QProcess.NotRunning, ctk.ctkPathLineEdit.Dirs\n"
        "self.ui.runButton.connect('clicked(bool)', f)\n"
        "selector.connect('currentNodeChanged(vtkMRMLNode*)', f)\n",
        encoding="utf-8",
    )
    assert pythonFiles.problems(path, {"runButton": "QPushButton"}) == []


def test_stand_ins_know_no_more_than_slicer() -> None:
    from pythonqt.uiLoader import CLASSES

    overridden = {"showEvent", "hitButton", "sizeHint", "paintEvent"}  # Qt's own, which C++ overrides too
    for name, cls in CLASSES.items():
        own = {key for one in cls.__mro__ if one.__module__.startswith("pythonqt") for key in vars(one)}
        public = {key for key in own if not key.startswith("_")} - overridden
        decorated = pythonFiles.OF_MODULES if name.endswith("Module") else set()  # by Slicer's Python decorators
        assert public <= qtNames.attributes(name) | decorated | {"staticMetaObject"}, name


def test_stand_ins_of_slicers_files_know_no_more_than_slicer() -> None:
    folder = Path(__file__).resolve().parents[1] / "host" / "slicerhost" / "standins"
    for module, known in NAMES.functions.items():
        name = module.removeprefix("slicer.")
        files = [
            *folder.glob(f"{name}.py"),
            *(folder / name).glob("wrapper.py"),
            *(folder / name).glob("validators.py"),
        ]
        for path in files:
            tree = ast.parse(path.read_text(encoding="utf-8"))
            defined = {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
            assert {one for one in defined if not one.startswith("_")} <= set(known), path.name


def test_headers_are_read_as_pythonqt_reads_them() -> None:
    header = """
    class EXPORT_ME Thing : public QWidget { Q_OBJECT
      Q_PROPERTY(bool open READ isOpen WRITE setOpen NOTIFY changed)
    public: enum Mode { One = 1, Two }; bool isOpen() const { return true; } Q_INVOKABLE int count() const;
    public slots: void setOpen(bool open); // void gone();
    signals: void changed(const QString& text, int* = nullptr);
    protected slots: void hidden(); };"""
    found = readClass(header, "Thing")
    assert found["base"] == "QWidget"
    assert found["properties"] == {"open": "bool"}
    assert found["constants"] == ["One", "Two"]
    assert found["methods"] == ["count", "setOpen"]
    assert "changed(QString,int*)" in found["signals"]
    assert normalized("currentNodeChanged( vtkMRMLNode * )") == "currentNodeChanged(vtkMRMLNode*)"
