"""FedKDTAVI in 3D Slicer: from a cardiac CT to reviewed labels for planning a TAVI.

Thin on purpose: the work is in FedKDTAVILib (scene, window) and fedkdtavi_core (numbers). From the Python console::

    from FedKDTAVI import FedKDTAVILogic
    FedKDTAVILogic().annotate(slicer.util.getNode("CT"))
"""

import sys
from pathlib import Path

import slicer
from slicer import (
    vtkMRMLMarkupsClosedCurveNode,
    vtkMRMLMarkupsFiducialNode,
    vtkMRMLScalarVolumeNode,
    vtkMRMLSegmentationNode,
)
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.parameterNodeWrapper import parameterNodeWrapper
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin

MODULE_FOLDER = Path(__file__).resolve().parent

# All extensions share one import namespace, and pip's packages come first in it: a copy of the core installed there
# would win, in another version than this module was written for.
sys.path.insert(0, str(MODULE_FOLDER))
try:
    import fedkdtavi_core
    import FedKDTAVILib
finally:
    sys.path.remove(str(MODULE_FOLDER))

for _package in (FedKDTAVILib, fedkdtavi_core):
    _found = Path(_package.__file__).resolve().parent
    if _found.parent != MODULE_FOLDER:
        raise ImportError(
            f"FedKDTAVI needs its own copy of {_package.__name__} in {MODULE_FOLDER}, but {_found} was imported before "
            "it; uninstall that copy, or restart Slicer without what imports it."
        )

from FedKDTAVILib.logic import ModuleLogic  # noqa: E402
from FedKDTAVILib.sampleData import loadSampleVolume, registerSampleData  # noqa: E402


class FedKDTAVI(ScriptedLoadableModule):
    """What Slicer shows of the module before it is opened."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("FedKDTAVI")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Cardiac")]
        self.parent.dependencies = ["Markups", "Plots", "Segmentations", "Volumes"]
        self.parent.contributors = ["FedKDTAVI contributors"]
        self.parent.helpText = _("""
<p>Suggests the landmarks of the aortic root, the calcification of the aortic valve and what a TAVI planner derives
from them, in a contrast-enhanced cardiac CT; every suggestion is to be reviewed by a person, who can correct it.</p>
<p>Load a CT, press Run, review label by label, export.</p>
<p><b>The shipped model was trained on synthetic phantoms; not for clinical use.</b></p>
<p>From the Python console: <code>from FedKDTAVI import FedKDTAVILogic;
FedKDTAVILogic().annotate(slicer.util.getNode("CT"))</code></p>
""")
        self.parent.acknowledgementText = _("""
Re-implements the method of T&ouml;lle et al., "Real world federated learning with a knowledge distilled transformer
for cardiac CT imaging", npj Digital Medicine 8:88 (2025). Apache License 2.0.
""")
        slicer.app.connect("startupCompleted()", registerSampleData)


@parameterNodeWrapper
class FedKDTAVIParameterNode:
    """What a saved scene remembers of the module.

    inputVolume - the CT to annotate.
    landmarks - seven fixed points of the aortic root.
    ghost - the model's prediction of them, kept to compare.
    calcification - segmentation with the calcification of the aortic valve.
    annulus - contour of the annulus.
    """

    inputVolume: vtkMRMLScalarVolumeNode
    landmarks: vtkMRMLMarkupsFiducialNode
    ghost: vtkMRMLMarkupsFiducialNode
    calcification: vtkMRMLSegmentationNode
    annulus: vtkMRMLMarkupsClosedCurveNode


class FedKDTAVIWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The module's panel: passes on what Slicer tells it to :class:`FedKDTAVILib.widget.window.Window`."""

    def __init__(self, parent=None) -> None:
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = None
        self.window = None

    def setup(self) -> None:
        """Called when the user opens the module for the first time."""
        from FedKDTAVILib.widget.window import Window

        ScriptedLoadableModuleWidget.setup(self)
        uiWidget = slicer.util.loadUI(self.resourcePath("UI/FedKDTAVI.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = FedKDTAVILogic()
        self.window = Window(uiWidget, self.ui, self.logic)
        scene = slicer.mrmlScene
        self.addObserver(scene, scene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(scene, scene.EndCloseEvent, self.onSceneEndClose)
        self.addObserver(scene, scene.EndImportEvent, self.onSceneEndImport)
        if self.parent.isEntered:  # it was reloaded: Slicer does not enter it again
            self.window.enter()
        else:
            self.window.connectScene()

    def cleanup(self) -> None:
        """Called before the module is reloaded, and when the application closes."""
        self.removeObservers()
        if self.window:
            self.window.cleanup()

    def enter(self) -> None:
        """Called each time the user opens this module."""
        self.window.enter()

    def exit(self) -> None:
        """Called each time the user opens another module."""
        self.window.exit()

    def onSceneStartClose(self, caller, event) -> None:
        """Called just before a scene is closed: its nodes are not to be used any more."""
        self.window.closeScene()

    def onSceneEndClose(self, caller, event) -> None:
        """Called just after a scene was closed."""
        if self.parent.isEntered:
            self.window.connectScene()

    def onSceneEndImport(self, caller, event) -> None:
        """Called when a scene was loaded: a review that was saved in it goes on."""
        if self.parent.isEntered:
            self.window.connectScene()

    def onReload(self) -> None:
        """Reload FedKDTAVILib and fedkdtavi_core too (developer mode)."""
        # Before the new code is there: what the old one still imports must be old as well.
        self.cleanup()
        self.window = None
        for name in [name for name in sys.modules if name.split(".")[0] in ("FedKDTAVILib", "fedkdtavi_core")]:
            del sys.modules[name]
        ScriptedLoadableModuleWidget.onReload(self)


class FedKDTAVILogic(ModuleLogic, ScriptedLoadableModuleLogic):
    """The module without its window, for scripts; see :class:`FedKDTAVILib.logic.ModuleLogic`."""

    def __init__(self) -> None:
        ScriptedLoadableModuleLogic.__init__(self)

    def getParameterNode(self) -> FedKDTAVIParameterNode:
        """The parameters of this scene; made at the first call."""
        return FedKDTAVIParameterNode(super().getParameterNode())


class FedKDTAVITest(ScriptedLoadableModuleTest):
    """Annotates the sample CT; for Reload & Test. The other tests lie in Testing/Python."""

    def setUp(self):
        slicer.mrmlScene.Clear()

    def runTest(self):
        self.setUp()
        self.test_annotateSample()

    def test_annotateSample(self):
        self.delayDisplay("Annotating the sample CT")
        volumeNode = loadSampleVolume()
        caseNodes = FedKDTAVILogic().annotate(volumeNode)
        found = caseNodes.toAnnotation()
        missing = [label for label, landmark in found.landmarks.items() if landmark.position is None]
        self.assertEqual(missing, [])
        self.assertGreater(int(found.calcification.sum()), 0)
        self.delayDisplay("Test passed")
