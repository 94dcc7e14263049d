"""Editing the calcification: Slicer's segment editor inside the panel, made when it is first wanted."""

from __future__ import annotations

import slicer
from slicer.i18n import tr as _

from .panel import Panel

# A node of our own: the Segment Editor module's one holds what the person does there.
NODE_TAG = "FedKDTAVI"


class SegmentPanel(Panel):
    """Slicer's segment editor on the calcification of the case.

    Its keys (digits, space, Esc, Z, Y, ...) are taken only while the group is open and the module is shown.
    """

    def setup(self) -> None:
        self.editor = None
        self._entered = False
        self.ui.segmentGroup.connect("toggled(bool)", self.onToggled)
        self.ui.segmentGroup.flat = True  # a closed group would be an empty box

    def refresh(self) -> None:
        nodes = self.workspace.caseNodes
        segmentation = nodes.segmentation if nodes else None
        self.allow(
            self.ui.segmentGroup,
            "" if segmentation else _("No calcification is there to edit; run first, or open a case."),
            _("Paint and erase; a calcification is corrected when its voxels differ at Accept."),
        )
        if self.editor is None or not self._open:
            return
        if self.editor.segmentationNode() is not segmentation:
            self._attach()

    def enter(self) -> None:
        self._entered = True
        if self._open:
            self._attach()

    def exit(self) -> None:
        self._entered = False
        self._detach()

    def sceneStartClose(self) -> None:
        if self.editor is not None:
            self.editor.setSegmentationNode(None)
            self.editor.removeViewObservations()
            self.editor.setMRMLSegmentEditorNode(None)

    def cleanup(self) -> None:
        self._detach()

    def onToggled(self, opened: bool) -> None:
        """The group was opened or closed."""
        self.ui.segmentGroup.flat = not opened
        if opened:
            self._attach()
        else:
            self._detach()

    @property
    def _open(self) -> bool:
        return self._entered and not self.ui.segmentGroup.collapsed

    def _attach(self) -> None:
        nodes = self.workspace.caseNodes
        if nodes is None or nodes.segmentation is None:
            return
        if self.editor is None:
            self._create()
        self.editor.setMRMLSegmentEditorNode(_editorNode())
        self.editor.setMRMLScene(slicer.mrmlScene)
        self.editor.setSegmentationNode(nodes.segmentation)
        self.editor.setSourceVolumeNode(nodes.volume)
        self.editor.setupViewObservations()
        self.editor.uninstallKeyboardShortcuts()
        self.editor.installKeyboardShortcuts()

    def _detach(self) -> None:
        if self.editor is not None:
            self.editor.setActiveEffect(None)
            self.editor.uninstallKeyboardShortcuts()
            self.editor.removeViewObservations()

    def _create(self) -> None:
        self.editor = slicer.qMRMLSegmentEditorWidget()
        self.editor.setMaximumNumberOfUndoStates(10)
        self.editor.segmentationNodeSelectorVisible = False
        self.editor.sourceVolumeNodeSelectorVisible = False
        self.editor.addRemoveSegmentButtonsVisible = False
        self.editor.switchToSegmentationsButtonVisible = False
        self.editor.setEffectNameOrder(["Paint", "Erase", "Threshold", "Islands", "Scissors"])
        self.editor.unorderedEffectsVisible = False
        self.ui.segmentGroup.layout().addWidget(self.editor)


def _editorNode():
    """The segment editor's own parameters in this scene; made anew after a scene was closed."""
    node = slicer.mrmlScene.GetSingletonNode(NODE_TAG, "vtkMRMLSegmentEditorNode")
    if node is None:
        node = slicer.mrmlScene.CreateNodeByClass("vtkMRMLSegmentEditorNode")
        node.UnRegister(None)
        node.SetSingletonTag(NODE_TAG)
        node = slicer.mrmlScene.AddNode(node)
    return node
