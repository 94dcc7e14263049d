"""Stand-ins for Slicer's widgets on the real MRML scene."""

from __future__ import annotations

import weakref

import shiboken6
from PySide6 import QtWidgets
from PySide6.QtCore import Property

from .standin import StandIn, declare, storedProperty


class qMRMLWidget(QtWidgets.QWidget, StandIn):
    """Holds the scene and hands it on."""

    locals().update(declare("qMRMLWidget"))

    def setMRMLScene(self, scene) -> None:
        self._scene = scene
        self.mrmlSceneChanged.emit(scene)

    def mrmlScene(self):
        return self.__dict__.get("_scene")


class qMRMLNodeComboBox(QtWidgets.QWidget, StandIn):
    """Lists the scene's nodes of some types and follows the scene."""

    locals().update(declare("qMRMLNodeComboBox"))
    nodeTypes = storedProperty("nodeTypes", "QStringList", after="_refresh")
    hideChildNodeTypes = storedProperty("hideChildNodeTypes", "QStringList", after="_refresh")
    showChildNodeTypes = storedProperty("showChildNodeTypes", "bool", True, after="_refresh")
    showHidden = storedProperty("showHidden", "bool", after="_refresh")
    noneEnabled = storedProperty("noneEnabled", "bool", after="_refresh")
    addEnabled = storedProperty("addEnabled", "bool", True, after="_refresh")
    removeEnabled = storedProperty("removeEnabled", "bool", True)
    selectNodeUponCreation = storedProperty("selectNodeUponCreation", "bool", True)
    noneDisplay = storedProperty("noneDisplay", "QString", "None", after="_refresh")

    def __init__(self, parent=None) -> None:
        super().__init__(parent)
        row = QtWidgets.QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        self._box = QtWidgets.QComboBox(self)
        self._box.setSizePolicy(QtWidgets.QSizePolicy.Expanding, QtWidgets.QSizePolicy.Fixed)
        row.addWidget(self._box)
        self._scene = None
        self._observers: list[int] = []
        self._attributes: list[tuple] = []
        self._ids: list[str | None] = []
        self._chosen: str | None = None
        self._box.activated.connect(self._onActivated)

    def setMRMLScene(self, scene) -> None:
        for observer in self._observers:
            self._scene.RemoveObserver(observer)
        self._scene, self._observers = scene, []
        me = weakref.ref(self)

        def onScene(_caller, _event) -> None:
            living = me()
            if living is not None and shiboken6.isValid(living):
                living._refresh()

        if scene is not None:
            events = (scene.NodeAddedEvent, scene.NodeRemovedEvent, scene.EndBatchProcessEvent)
            self._observers = [scene.AddObserver(event, onScene) for event in events]
        self._refresh()

    def mrmlScene(self):
        return self._scene

    def addAttribute(self, nodeType: str, name: str, value=None) -> None:
        self._attributes.append((nodeType, name, value))
        self._refresh()

    def currentNode(self):
        return self._scene.GetNodeByID(self._chosen) if self._scene is not None and self._chosen else None

    def setCurrentNode(self, node) -> None:
        self.setCurrentNodeID(node.GetID() if hasattr(node, "GetID") else node)

    def setCurrentNodeID(self, nodeId: str | None) -> None:
        self._choose(nodeId if nodeId in self._ids else None)

    currentNodeID = Property(str, lambda one: one._chosen or "", lambda one, nodeId: one.setCurrentNodeID(nodeId))
    currentNodeId = currentNodeID

    def nodeCount(self) -> int:
        return sum(one is not None for one in self._ids)

    def nodeFromIndex(self, index: int):
        ids = [one for one in self._ids if one]
        return self._scene.GetNodeByID(ids[index]) if 0 <= index < len(ids) else None

    def addNode(self, nodeType: str | None = None):
        kind = nodeType or self.nodeTypes[0]
        name = self.baseName or kind.removeprefix("vtkMRML").removesuffix("Node")
        node = self._scene.AddNewNodeByClass(kind, self._scene.GenerateUniqueName(name))
        self._choose(node.GetID())
        self.nodeAddedByUser.emit(node)
        return node

    def removeCurrentNode(self) -> None:
        if self.currentNode() is not None:
            self._scene.RemoveNode(self.currentNode())

    def _fits(self, node) -> bool:
        kinds = self.nodeTypes
        fits = any(map(node.IsA, kinds)) if self.showChildNodeTypes else node.GetClassName() in kinds
        if not fits or any(node.IsA(kind) for kind in self.hideChildNodeTypes):
            return False
        if node.GetHideFromEditors() and not self.showHidden:
            return False
        for kind, name, value in self._attributes:
            found = node.GetAttribute(name)
            if node.IsA(kind) and (found is None if value is None else found != value):
                return False
        return True

    def _refresh(self) -> None:
        if self._scene is None or self._scene.IsBatchProcessing():
            return
        nodes = [self._scene.GetNthNode(index) for index in range(self._scene.GetNumberOfNodes())]
        nodes = [node for node in nodes if self._fits(node)]
        none = self.noneEnabled or not nodes
        self._ids = ([None] if none else []) + [node.GetID() for node in nodes]
        texts = ([self.noneDisplay if self.noneEnabled else "Select a volume"] if none else []) + [
            node.GetName() or "" for node in nodes
        ]
        self._box.blockSignals(True)
        self._box.clear()
        self._box.addItems(texts)
        self._box.blockSignals(False)
        gone = self._chosen not in self._ids
        self._choose((self._ids[0] if self._ids else None) if gone else self._chosen)

    def _onActivated(self, index: int) -> None:
        self._choose(self._ids[index])
        self.nodeActivated.emit(self.currentNode())

    def _choose(self, nodeId: str | None) -> None:
        if nodeId in self._ids:
            self._box.setCurrentIndex(self._ids.index(nodeId))
        if nodeId != self._chosen:
            self._chosen = nodeId
            node = self.currentNode()
            self.currentNodeChanged[object].emit(node)
            self.currentNodeChanged[bool].emit(node is not None)
            self.currentNodeIDChanged.emit(nodeId or "")


class qMRMLSegmentEditorWidget(qMRMLWidget):
    """Keeps the nodes it would edit; painting is done by tests on the segmentation itself."""

    locals().update(declare("qMRMLSegmentEditorWidget"))

    def __init__(self, parent=None) -> None:
        super().__init__(parent)
        self._nodes: dict[str, object] = {}
        self._effect = ""

    def setMRMLSegmentEditorNode(self, node) -> None:
        self._nodes["editor"] = node

    def mrmlSegmentEditorNode(self):
        return self._nodes.get("editor")

    def setSegmentationNode(self, node) -> None:
        self._nodes["segmentation"] = node
        self.segmentationNodeChanged.emit(node)

    def segmentationNode(self):
        return self._nodes.get("segmentation")

    def setSourceVolumeNode(self, node) -> None:
        self._nodes["source"] = node
        self.sourceVolumeNodeChanged.emit(node)

    def sourceVolumeNode(self):
        return self._nodes.get("source")

    def setCurrentSegmentID(self, segmentId: str) -> None:
        self._nodes["segment"] = segmentId
        self.currentSegmentIDChanged.emit(segmentId)

    def currentSegmentID(self) -> str:
        return self._nodes.get("segment", "")


WRITTEN = {cls.__name__: cls for cls in (qMRMLWidget, qMRMLNodeComboBox, qMRMLSegmentEditorWidget)}
