"""The host's window behaves as PythonQt does, and refuses what Slicer would not know."""

from __future__ import annotations

import sys

import pytest

qt = pytest.importorskip("qt")
import ctk  # noqa: E402
import slicer  # noqa: E402

UI = """<ui version="4.0"><widget class="qMRMLWidget" name="Panel"><layout class="QVBoxLayout">
<item><widget class="qMRMLNodeComboBox" name="selector">
<property name="nodeTypes"><stringlist><string>vtkMRMLScalarVolumeNode</string></stringlist></property>
<property name="SlicerParameterName" stdset="0"><string>inputVolume</string></property></widget></item>
<item><widget class="ctkPathLineEdit" name="folder">
<property name="filters"><set>ctkPathLineEdit::Dirs</set></property></widget></item></layout></widget>
<connections><connection><sender>Panel</sender><signal>mrmlSceneChanged(vtkMRMLScene*)</signal>
<receiver>selector</receiver><slot>setMRMLScene(vtkMRMLScene*)</slot></connection></connections></ui>"""


@pytest.fixture
def panel(scene, tmp_path):
    path = tmp_path / "panel.ui"
    path.write_text(UI, encoding="utf-8")
    widget = slicer.util.loadUI(str(path))
    yield widget
    widget.setMRMLScene(None)


def test_properties_have_no_parentheses() -> None:
    button = qt.QPushButton("Run")
    button.enabled = False
    button.toolTip = "No CT"
    assert (button.text, button.enabled, button.toolTip) == ("Run", False, "No CT")


def test_timer_has_a_property_and_a_function_of_one_name() -> None:
    heard = []

    class Listener:
        def hear(self) -> None:
            heard.append("method")

    listener = Listener()
    qt.QTimer.singleShot(0, lambda: heard.append("function"))
    qt.QTimer.singleShot(0, listener.hear)
    slicer.app.processEvents()
    assert sorted(heard) == ["function", "method"]
    assert qt.QTimer().singleShot is False


def test_misspelt_property_raises() -> None:
    with pytest.raises(AttributeError, match="toolTpi"):
        qt.QPushButton().toolTpi = "No CT"
    with pytest.raises(AttributeError, match="collapsd"):
        ctk.ctkCollapsibleButton().collapsd = True


@pytest.mark.parametrize("signal", ["cliked(bool)", "clicked(int)", "currentNodeChanged(vtkMRMLNode*)"])
def test_misspelt_signal_raises(signal) -> None:
    with pytest.raises(ValueError, match="has no signal"):
        qt.QPushButton().connect(signal, print)


def test_connect_by_signature() -> None:
    heard = []
    button = qt.QPushButton()
    button.connect("clicked(bool)", heard.append)
    button.connect("clicked()", lambda: heard.append("clicked"))
    button.click()
    assert heard == [False, "clicked"]


def test_overloads_of_a_node_selector(panel, ctVolumeNode) -> None:
    selector = slicer.util.childWidgetVariables(panel).selector
    heard = []
    selector.connect("currentNodeChanged(vtkMRMLNode*)", heard.append)
    selector.connect("currentNodeChanged(bool)", heard.append)
    panel.setMRMLScene(slicer.mrmlScene)
    assert heard == [ctVolumeNode, True]
    assert selector.currentNode() is ctVolumeNode
    slicer.mrmlScene.RemoveNode(ctVolumeNode)
    assert heard[2:] == [None, False]


def test_ui_file_sets_properties_of_stand_ins(panel) -> None:
    ui = slicer.util.childWidgetVariables(panel)
    assert ui.selector.nodeTypes == ["vtkMRMLScalarVolumeNode"]
    assert ui.folder.filters == ctk.ctkPathLineEdit.Dirs


def test_unknown_class_in_a_ui_file_raises(tmp_path) -> None:
    path = tmp_path / "wrong.ui"
    path.write_text(UI.replace("ctkPathLineEdit", "ctkPathLineEditor"), encoding="utf-8")
    with pytest.raises(RuntimeError):
        slicer.util.loadUI(str(path))


def test_collapsible_button_hides_its_contents() -> None:
    button = ctk.ctkCollapsibleButton()
    form = qt.QVBoxLayout(button)
    label = qt.QLabel("inside")
    form.addWidget(label)
    heard = []
    button.connect("contentsCollapsed(bool)", heard.append)
    button.collapsed = True
    assert (heard, label.isHidden(), button.checked) == ([True], True, False)


def test_slice_views_hold_real_nodes(scene) -> None:
    layouts = slicer.app.layoutManager()
    assert layouts.sliceViewNames() == ["Red", "Green", "Yellow"]
    scene.Clear(0)
    assert layouts.sliceWidget("Red").mrmlSliceNode().GetLayoutName() == "Red"
    assert layouts.plotWidget(0).mrmlPlotViewNode().IsA("vtkMRMLPlotViewNode")


def test_errors_in_slots_and_observers_are_seen(scene, hiddenErrors) -> None:
    button = qt.QPushButton()
    button.connect("clicked()", lambda: 1 / 0)
    button.click()
    node = scene.AddNewNodeByClass("vtkMRMLTextNode")
    node.AddObserver("ModifiedEvent", lambda *_: 1 / 0)
    node.Modified()
    assert [type(error) for error in hiddenErrors] == [ZeroDivisionError, ZeroDivisionError]
    hiddenErrors.clear()


def test_process_is_connected_by_signature() -> None:
    heard = []
    process = qt.QProcess()
    process.connect("finished(int,QProcess::ExitStatus)", lambda code, _status: heard.append(code))
    process.start(sys.executable, ["-c", "raise SystemExit(3)"])
    assert process.waitForFinished(10_000)
    assert heard == [3]
