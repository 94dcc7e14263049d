"""A small module of the usual make runs in the host, on our stand-ins or on Slicer's files (SLICER_BASE_PYTHON)."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("qt")
import slicer
from pythonqt import loadModule
from pythonqt.modules import enter, leave

UI = """<ui version="4.0"><widget class="qMRMLWidget" name="Tiny"><layout class="QVBoxLayout">
<item><widget class="qMRMLNodeComboBox" name="inputSelector">
<property name="nodeTypes"><stringlist><string>vtkMRMLScalarVolumeNode</string></stringlist></property>
<property name="noneEnabled"><bool>true</bool></property>
<property name="SlicerParameterName" stdset="0"><string>inputVolume</string></property></widget></item>
<item><widget class="ctkSliderWidget" name="thresholdSlider">
<property name="maximum"><double>500</double></property>
<property name="SlicerParameterName" stdset="0"><string>threshold</string></property></widget></item>
<item><widget class="QCheckBox" name="invertBox">
<property name="SlicerParameterName" stdset="0"><string>invert</string></property></widget></item>
<item><widget class="QPushButton" name="applyButton"><property name="text"><string>Apply</string></property>
</widget></item></layout></widget>
<connections><connection><sender>Tiny</sender><signal>mrmlSceneChanged(vtkMRMLScene*)</signal>
<receiver>inputSelector</receiver><slot>setMRMLScene(vtkMRMLScene*)</slot></connection></connections></ui>"""

CODE = """
from typing import Annotated

import slicer
from slicer import vtkMRMLScalarVolumeNode
from slicer.i18n import tr as _
from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule, ScriptedLoadableModuleLogic, ScriptedLoadableModuleTest, ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin


class Tiny(ScriptedLoadableModule):
    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("Tiny")
        slicer.app.connect("startupCompleted()", print)


@parameterNodeWrapper
class TinyParameterNode:
    inputVolume: vtkMRMLScalarVolumeNode
    threshold: Annotated[float, WithinRange(0, 500)] = 100.0
    invert: bool = False


class TinyWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.parameters = None
        self.clicks = 0

    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        panel = slicer.util.loadUI(self.resourcePath("UI/Tiny.ui"))
        self.layout.addWidget(panel)
        self.ui = slicer.util.childWidgetVariables(panel)
        panel.setMRMLScene(slicer.mrmlScene)
        self.logic = TinyLogic()
        self.ui.applyButton.connect("clicked(bool)", self.onApply)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.onStartClose)

    def enter(self):
        self.parameters = self.logic.getParameterNode()
        self.tag = self.parameters.connectGui(self.ui)

    def exit(self):
        self.onStartClose()

    def cleanup(self):
        self.removeObservers()

    def onStartClose(self, caller=None, event=None):
        if self.parameters:
            self.parameters.disconnectGui(self.tag)
            self.parameters = None

    def onApply(self, checked):
        self.clicks += 1


class TinyLogic(ScriptedLoadableModuleLogic):
    def getParameterNode(self):
        return TinyParameterNode(super().getParameterNode())


class TinyTest(ScriptedLoadableModuleTest):
    def runTest(self):
        raise AssertionError("ran")
"""


@pytest.fixture
def tiny(scene, tmp_path: Path):
    (tmp_path / "Resources" / "UI").mkdir(parents=True)
    (tmp_path / "Resources" / "UI" / "Tiny.ui").write_text(UI, encoding="utf-8")
    (tmp_path / "Tiny.py").write_text(CODE, encoding="utf-8")
    module = loadModule(tmp_path / "Tiny.py")
    yield module
    leave(module.widget)
    module.widget.cleanup()
    module.widget.parent.setMRMLScene(None)


def test_module_is_listed(tiny) -> None:
    assert tiny.parent.title == "Tiny"
    assert slicer.util.modulePath("Tiny").endswith("Tiny.py")
    with pytest.raises(AssertionError, match="ran"):
        slicer.selfTests["Tiny"]()


def test_button_reaches_the_widget(tiny) -> None:
    tiny.widget.ui.applyButton.click()
    assert tiny.widget.clicks == 1


def test_parameters_and_widgets_follow_each_other(tiny) -> None:
    ui, parameters = tiny.widget.ui, tiny.widget.parameters
    assert (ui.thresholdSlider.value, ui.invertBox.checked) == (100.0, False)
    ui.thresholdSlider.value = 250.0
    assert parameters.threshold == 250.0
    parameters.threshold = 20.0
    parameters.invert = True
    assert (ui.thresholdSlider.value, ui.invertBox.checked) == (20.0, True)
    volume = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "CT")
    ui.inputSelector.setCurrentNode(volume)
    assert parameters.inputVolume is volume
    assert parameters.parameterNode.GetNodeReference("inputVolume") is volume
    slicer.mrmlScene.RemoveNode(volume)
    assert parameters.inputVolume is None


def test_parameters_refuse_what_does_not_fit(tiny) -> None:
    with pytest.raises(ValueError):
        tiny.widget.parameters.threshold = 501.0
    with pytest.raises(TypeError):
        tiny.widget.parameters.inputVolume = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLSelectionNode")


def test_parameters_survive_their_scene_file(tiny, tmp_path: Path) -> None:
    tiny.widget.parameters.threshold = 33.0
    path = str(tmp_path / "scene.mrml")
    assert slicer.util.saveScene(path)
    leave(tiny.widget)
    slicer.mrmlScene.Clear(0)
    slicer.util.loadScene(path)
    enter(tiny.widget)
    assert tiny.widget.parameters.threshold == 33.0


def test_left_module_no_longer_writes(tiny) -> None:
    parameters = tiny.widget.parameters
    leave(tiny.widget)
    tiny.widget.ui.thresholdSlider.value = 7.0
    assert parameters.threshold == 100.0
    enter(tiny.widget)
    assert tiny.widget.ui.thresholdSlider.value == 100.0
