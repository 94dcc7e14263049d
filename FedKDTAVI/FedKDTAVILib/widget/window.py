"""The panel as a whole: its sections, and what happens to them when a module or a scene comes and goes."""

from __future__ import annotations

import slicer
import vtk

from ..settings import ModuleSettings
from ..terminologies import loadTerminology
from .bundlePanel import BundlePanel
from .exportPanel import ExportPanel
from .inputPanel import InputPanel
from .installPanel import InstallPanel
from .measurePanel import MeasurePanel
from .noticePanel import NoticePanel
from .reviewPanel import ReviewPanel
from .runPanel import RunPanel
from .segmentPanel import SegmentPanel
from .settingsPanel import SettingsPanel
from .shortcuts import Shortcuts
from .workspace import Workspace

PANELS = (
    NoticePanel,
    InputPanel,
    BundlePanel,
    InstallPanel,
    RunPanel,
    ReviewPanel,
    SegmentPanel,
    MeasurePanel,
    ExportPanel,
    SettingsPanel,
)


class Window:
    """All sections of the panel.

    Args:
        widget: the panel's widget, loaded from ``FedKDTAVI.ui``.
        ui: its named widgets.
        logic: the module's logic.
    """

    def __init__(self, widget, ui, logic) -> None:
        loadTerminology()
        self.ui = ui
        self.workspace = Workspace(logic, ModuleSettings(slicer.app.userSettings()))
        self.panels = [panel(ui, self.workspace) for panel in PANELS]
        self.shortcuts = Shortcuts(widget, ui)
        self.workspace.listen(self.refresh)
        self._guiTag = None
        self._observerTag = None
        self._volumeNode = None

    def panel(self, kind):
        """The section of this class."""
        return next(panel for panel in self.panels if isinstance(panel, kind))

    def refresh(self) -> None:
        """Show the workspace in every section."""
        for panel in self.panels:
            panel.refresh()

    def connectScene(self) -> None:
        """Work on the scene that is open now."""
        self.disconnectScene()
        node = self.workspace.logic.getParameterNode()
        self.workspace.parameterNode = node
        if node.inputVolume is None:
            node.inputVolume = _shownVolume()
        self._guiTag = node.connectGui(self.ui)
        self._observerTag = node.AddObserver(vtk.vtkCommand.ModifiedEvent, self._onParametersModified)
        self._volumeNode = node.inputVolume
        self.workspace.openReview()

    def disconnectScene(self) -> None:
        """Let go of the nodes; a run goes on."""
        self.workspace.closeReview()
        node = self.workspace.parameterNode
        if node is not None:
            node.disconnectGui(self._guiTag)
            node.RemoveObserver(self._observerTag)
            self.workspace.parameterNode = None
            self.workspace.changed()

    def closeScene(self) -> None:
        """The scene is about to close: let go of the nodes, and stop what works for them."""
        for panel in self.panels:
            panel.sceneStartClose()
        self.disconnectScene()
        self._volumeNode = None
        self.workspace.forgetScene()

    def enter(self) -> None:
        """The module is shown."""
        self.connectScene()
        self.shortcuts.install()
        for panel in self.panels:
            panel.enter()

    def exit(self) -> None:
        """Another module is shown: keys, views and observers are given back."""
        self.shortcuts.remove()
        for panel in self.panels:
            panel.exit()
        self.disconnectScene()

    def cleanup(self) -> None:
        """The panel is about to go."""
        self.shortcuts.remove()
        self.closeScene()
        for panel in self.panels:
            panel.cleanup()

    def _onParametersModified(self, caller=None, event=None) -> None:
        """The parameter node also changes with every label: only another CT is news."""
        volumeNode = self.workspace.volumeNode
        if volumeNode is not self._volumeNode:
            self._volumeNode = volumeNode
            self.workspace.openReview()


def _shownVolume():
    """The CT that the red slice view shows, else the first volume that is no label map, or None."""
    for composite in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
        if composite.GetLayoutName() == "Red" and composite.GetBackgroundVolumeID():
            shown = slicer.mrmlScene.GetNodeByID(composite.GetBackgroundVolumeID())
            if shown is not None and shown.GetClassName() == "vtkMRMLScalarVolumeNode":
                return shown
    nodes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
    return next((node for node in nodes if node.GetClassName() == "vtkMRMLScalarVolumeNode"), None)
