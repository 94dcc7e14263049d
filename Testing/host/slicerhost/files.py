"""``slicer.app.coreIOManager()``: reading and writing nodes with the storage nodes of real MRML."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import slicer
import vtk

# Ending -> Slicer's name of the file type; the first that fits counts.
_TYPES = {
    ".mrk.json": "MarkupsFile",
    ".fcsv": "MarkupsFile",
    ".seg.nrrd": "SegmentationFile",
    ".mrb": "SceneFile",
    ".mrml": "SceneFile",
    ".nii.gz": "VolumeFile",
    ".nii": "VolumeFile",
    ".nrrd": "VolumeFile",
    ".nhdr": "VolumeFile",
    ".mha": "VolumeFile",
    ".vtp": "ModelFile",
    ".stl": "ModelFile",
    ".h5": "TransformFile",
    ".tfm": "TransformFile",
    ".csv": "TableFile",
    ".tsv": "TableFile",
    ".txt": "TextFile",
    ".json": "TextFile",
}

# File type -> class of the node and of its storage, for those that no logic reads.
_NODES = {
    "SegmentationFile": ("vtkMRMLSegmentationNode", "vtkMRMLSegmentationStorageNode"),
    "ModelFile": ("vtkMRMLModelNode", "vtkMRMLModelStorageNode"),
    "TransformFile": ("vtkMRMLTransformNode", "vtkMRMLTransformStorageNode"),
    "TableFile": ("vtkMRMLTableNode", "vtkMRMLTableStorageNode"),
    "TextFile": ("vtkMRMLTextNode", "vtkMRMLTextStorageNode"),
}


class FileManager:
    """The calls of qSlicerCoreIOManager that ``slicer.util.load...`` and ``save...`` make."""

    def fileType(self, fileName: str) -> str:
        ending = _ending(fileName)
        return _TYPES[ending] if ending else "NoFile"

    def loadNodes(self, fileType: str, properties: dict[str, Any], loadedNodes=None, userMessages=None) -> bool:
        path = Path(properties["fileName"]).absolute()
        if not path.exists():
            if userMessages is not None:
                userMessages.AddMessage(vtk.vtkCommand.ErrorEvent, f"File does not exist: {path}")
            return False
        if fileType == "SceneFile":
            return _loadScene(path, bool(properties.get("clear")))
        name = properties.get("name") or slicer.mrmlScene.GenerateUniqueName(_stem(path))
        node = _loadNode(fileType, path, name, properties, userMessages)
        if node is None:
            return False
        if loadedNodes is not None:
            loadedNodes.AddItem(node)
        return True

    def fileWriterFileType(self, node) -> str:
        return node.GetClassName()

    def saveNodes(self, fileType: str, properties: dict[str, Any], userMessages=None) -> bool:
        path = Path(properties["fileName"]).absolute()
        if fileType == "SceneFile":
            return _saveScene(path)
        node = slicer.mrmlScene.GetNodeByID(properties["nodeID"])
        if node.GetStorageNode() is None:
            node.AddDefaultStorageNode()
        storage = node.GetStorageNode()
        if storage is None:
            return False
        storage.SetFileName(str(path))
        if "useCompression" in properties:
            storage.SetUseCompression(int(properties["useCompression"]))
        return bool(storage.WriteData(node))


def _loadNode(fileType: str, path: Path, name: str, properties: dict[str, Any], userMessages):
    scene = slicer.mrmlScene
    if fileType == "VolumeFile":
        options = int(bool(properties.get("labelmap"))) | 2 * bool(properties.get("center"))
        options |= 4 * bool(properties.get("singleFile"))
        return slicer.modules.volumes.logic().AddArchetypeVolume(str(path), name, options)
    if fileType == "MarkupsFile":
        ids = slicer.modules.markups.logic().LoadMarkups(str(path), name, userMessages)
        return scene.GetNodeByID(ids.split(",")[0]) if ids else None
    if fileType not in _NODES:
        return None
    nodeClass, storageClass = _NODES[fileType]
    node = scene.AddNewNodeByClass(nodeClass, name)
    storage = scene.AddNewNodeByClass(storageClass)
    storage.SetFileName(str(path))
    if not storage.ReadData(node):
        scene.RemoveNode(node)
        scene.RemoveNode(storage)
        return None
    node.SetAndObserveStorageNodeID(storage.GetID())
    if node.IsA("vtkMRMLDisplayableNode"):
        node.CreateDefaultDisplayNodes()
    return node


def _loadScene(path: Path, clear: bool) -> bool:
    scene = slicer.mrmlScene
    if path.suffix == ".mrb":
        return bool(scene.ReadFromMRB(str(path), clear))
    scene.SetURL(str(path))
    return bool(scene.Connect() if clear else scene.Import())


def _saveScene(path: Path) -> bool:
    scene = slicer.mrmlScene
    if path.suffix == ".mrb":
        return bool(scene.WriteToMRB(str(path)))
    scene.SetURL(str(path))
    scene.SetRootDirectory(str(path.parent))
    return bool(scene.Commit())


def _ending(fileName: str | Path) -> str:
    name = str(fileName).lower()
    return next((ending for ending in _TYPES if name.endswith(ending)), "")


def _stem(path: Path) -> str:
    ending = _ending(path) or path.suffix
    return path.name[: len(path.name) - len(ending)] or path.name
