"""The host's scene behaves as Slicer's."""

from __future__ import annotations

import numpy as np
import slicer


def test_scene_is_emptied_between_tests(scene) -> None:
    scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode")
    scene.Clear(0)
    assert scene.GetNumberOfNodesByClass("vtkMRMLMarkupsFiducialNode") == 0
    assert scene.GetFirstNodeByClass("vtkMRMLSelectionNode") is not None
    assert scene.GetFirstNodeByClass("vtkMRMLColorTableNode") is not None


def test_sample_ct_is_loaded_as_slicer_does(ctVolumeNode) -> None:
    assert ctVolumeNode.IsA("vtkMRMLScalarVolumeNode")
    array = slicer.util.arrayFromVolume(ctVolumeNode)
    assert array.ndim == 3
    assert array.min() < -500 < 100 < array.max()


def test_nodes_survive_their_files(scene, tmp_path) -> None:
    node = scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "points")
    node.AddControlPoint(1.0, 2.0, 3.0, "RCC")
    path = tmp_path / "points.mrk.json"
    assert slicer.util.saveNode(node, str(path))
    again = slicer.util.loadMarkups(str(path))
    assert again.GetNthControlPointLabel(0) == "RCC"
    assert np.allclose(slicer.util.arrayFromMarkupsControlPoints(again), [[1, 2, 3]])


def test_annotation_is_a_copy(annotation, sampleAnnotation) -> None:
    annotation.landmarks.clear()
    assert len(sampleAnnotation.landmarks) == 7


def test_volume_gets_a_subject_hierarchy_item(ctVolumeNode) -> None:
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    assert hierarchy.GetItemByDataNode(ctVolumeNode)
