"""Builds the scene, the application logic and the modules' logics, once in a process."""

from __future__ import annotations

import types
from contextlib import contextmanager

import slicer
import vtk

from .application import Application
from .packages import installPackages

# Module -> class of its logic, as in Slicer. Only modules whose logic is needed by ours or by the scene's files.
MODULE_LOGICS = {
    "Units": "vtkSlicerUnitsLogic",
    "Terminologies": "vtkSlicerTerminologiesModuleLogic",
    "SubjectHierarchy": "vtkSlicerSubjectHierarchyModuleLogic",
    "Transforms": "vtkSlicerTransformLogic",
    "Models": "vtkSlicerModelsLogic",
    "Markups": "vtkSlicerMarkupsLogic",
    "Volumes": "vtkSlicerVolumesLogic",
    "Segmentations": "vtkSlicerSegmentationsModuleLogic",
    "Tables": "vtkSlicerTablesLogic",
    "Texts": "vtkSlicerTextsLogic",
    "Plots": "vtkSlicerPlotsLogic",
    "VolumeRendering": "vtkSlicerVolumeRenderingLogic",
}


class Module:
    """What ``slicer.modules.<name>`` offers of a module that has no window."""

    def __init__(self, name: str, logic) -> None:
        self.name = name
        self._logic = logic

    def logic(self):
        return self._logic


def start():
    """The scene of this process, made at the first call: ``slicer.mrmlScene``, with ``slicer.app`` and the packages."""
    if getattr(slicer, "mrmlScene", None) is not None:
        return slicer.mrmlScene
    _errors_to_stderr()
    scene = slicer.vtkMRMLScene()
    logic = slicer.vtkSlicerApplicationLogic()
    _add_singletons(scene)
    logic.SetMRMLScene(scene)
    logic.GetColorLogic().SetMRMLScene(scene)
    logic.GetColorLogic().AddDefaultColorNodes()
    logic.SetSliceLogics(vtk.vtkCollection())
    logic.SetViewLogics(vtk.vtkCollection())
    slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(scene)
    slicer.mrmlScene = scene
    slicer.app = Application(scene, logic)
    _add_modules(scene, logic)
    _add_data_io(scene, logic)
    scene.AddObserver(slicer.vtkMRMLScene.NodeAddedEvent, _add_to_subject_hierarchy)
    scene.AddObserver(slicer.vtkMRMLScene.NodeAboutToBeRemovedEvent, _remove_from_subject_hierarchy)
    installPackages()
    return scene


def _errors_to_stderr() -> None:
    window = vtk.vtkOutputWindow()
    window.SetDisplayModeToAlwaysStdErr()
    vtk.vtkOutputWindow.SetInstance(window)


def _add_data_io(scene, applicationLogic) -> None:
    """What reads a scene bundle (.mrb) wants its files through; held by ``slicer.app`` as Slicer's application does."""
    remote, manager = slicer.vtkMRMLRemoteIOLogic(), slicer.vtkDataIOManagerLogic()
    for logic in (remote, manager):
        logic.SetMRMLScene(scene)
        logic.SetMRMLApplicationLogic(applicationLogic)
    remote.GetCacheManager().SetRemoteCacheDirectory(slicer.app.temporaryPath)
    manager.SetAndObserveDataIOManager(remote.GetDataIOManager())
    remote.AddDataIOToScene()
    slicer.app._dataIo = (remote, manager)


def _add_singletons(scene) -> None:
    crosshair = slicer.vtkMRMLCrosshairNode()
    crosshair.SetCrosshairName("default")
    scene.AddNode(crosshair)
    for name in ("vtkMRMLSelectionNode", "vtkMRMLInteractionNode"):
        node = getattr(slicer, name)()
        node.SetSingletonTag("Singleton")
        scene.AddNode(node)


def _add_modules(scene, applicationLogic) -> None:
    slicer.modules = types.ModuleType("slicer.modules")
    slicer.moduleNames = types.ModuleType("slicer.moduleNames")
    for name, className in MODULE_LOGICS.items():
        cls = getattr(slicer, className, None)
        if cls is None:
            continue
        logic = cls()
        with _quiet():
            logic.SetMRMLScene(scene)
        logic.SetMRMLApplicationLogic(applicationLogic)
        applicationLogic.SetModuleLogic(name, logic)
        setattr(slicer.modules, name.lower(), Module(name, logic))
        setattr(slicer.moduleNames, name, name)
    colors = applicationLogic.GetColorLogic()
    applicationLogic.SetModuleLogic("Colors", colors)
    slicer.modules.colors = Module("Colors", colors)


@contextmanager
def _quiet():
    """VTK says nothing: the wheel lacks the files of the modules (terminologies), which Slicer would load here."""
    before = vtk.vtkObject.GetGlobalWarningDisplay()
    vtk.vtkObject.GlobalWarningDisplayOff()
    try:
        yield
    finally:
        vtk.vtkObject.SetGlobalWarningDisplay(before)


@vtk.calldata_type(vtk.VTK_OBJECT)
def _add_to_subject_hierarchy(scene, _event, node) -> None:
    """In Slicer Qt plugins do this: every node that can be seen or edited gets an item of the subject hierarchy."""
    if node is None or scene.IsImporting() or node.GetHideFromEditors():
        return
    if not any(node.IsA(kind) for kind in ("vtkMRMLDisplayableNode", "vtkMRMLTableNode", "vtkMRMLTextNode")):
        return
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    if hierarchy is not None and not hierarchy.GetItemByDataNode(node):
        hierarchy.CreateItem(hierarchy.GetSceneItemID(), node)


@vtk.calldata_type(vtk.VTK_OBJECT)
def _remove_from_subject_hierarchy(scene, _event, node) -> None:
    """As Slicer's qSlicerSubjectHierarchyPluginLogic: the item would keep a removed node, and its voxels, alive."""
    if scene.IsClosing() or node is None or node.IsA("vtkMRMLSubjectHierarchyNode"):
        return
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    item = hierarchy.GetItemByDataNode(node) if hierarchy is not None else 0
    if item:
        hierarchy.RemoveItem(item, False, False)
