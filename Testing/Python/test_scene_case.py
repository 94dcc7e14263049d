"""The annotation goes into the scene and comes back; what a person changes is told from what the model said."""

from __future__ import annotations

import numpy as np
import pytest
import slicer

from conftest import SAMPLE_CT
from fedkdtavi_core import schema
from fedkdtavi_core.annotation import Status
from fedkdtavi_core.errors import InputError
from FedKDTAVILib import calcificationNodes, contourNodes
from FedKDTAVILib.carmPlot import CArmPlot
from FedKDTAVILib.caseNodes import CaseNodes
from FedKDTAVILib.fileExport import exportFiles
from FedKDTAVILib.landmarkNodes import pointIndex, pointState, setPointState
from FedKDTAVILib.reviewSession import ReviewSession
from FedKDTAVILib.siteCase import exportCase


def drag(caseNodes, labelId: str, by=(0.0, 0.0, 1.0)) -> np.ndarray:
    """Move a point as a mouse does: nothing but its position changes."""
    node, position = caseNodes.landmarks, pointState(caseNodes.landmarks, labelId).position + by
    node.SetNthControlPointPositionWorld(pointIndex(node, labelId), position.tolist())
    return position


def test_round_trip(caseNodes, annotation):
    found = caseNodes.toAnnotation()
    for labelId, landmark in annotation.landmarks.items():
        other = found.landmarks[labelId]
        assert np.abs(other.position - landmark.position).max() < 1e-6
        assert np.allclose(other.covariance, landmark.covariance)
        assert (other.status, other.confidence, other.flags) == (landmark.status, landmark.confidence, landmark.flags)
    assert np.array_equal(found.calcification, annotation.calcification)
    assert np.array_equal(found.suggestion, annotation.suggestion)
    assert np.allclose(found.suggestion_affine, annotation.suggestion_affine)
    assert np.allclose(found.annulus_contour, annotation.annulus_contour)
    assert (found.calcification_status, found.contour_status) == (Status.PREDICTED, Status.PREDICTED)
    assert found.warnings == annotation.warnings
    assert found.provenance["bundle"] == annotation.provenance["bundle"]
    assert not caseNodes.hasReviewedLabels()


def test_what_a_person_moved_is_corrected(caseNodes):
    position = drag(caseNodes, "hinge_rcc")
    found = caseNodes.toAnnotation().landmarks["hinge_rcc"]
    assert (found.status, found.confidence, found.covariance) == (Status.CORRECTED, None, None)
    assert np.allclose(found.position, position)
    assert caseNodes.hasReviewedLabels()


def test_a_click_corrects_nothing(caseNodes):
    drag(caseNodes, "hinge_rcc", (0.02, 0.02, 0.0))
    assert caseNodes.toAnnotation().landmarks["hinge_rcc"].status is Status.PREDICTED


def test_moved_after_it_was_confirmed(caseNodes):
    landmark = pointState(caseNodes.landmarks, "ms_lower")
    setPointState(caseNodes.landmarks, "ms_lower", landmark.position, Status.CONFIRMED, landmark.confidence)
    assert caseNodes.toAnnotation().landmarks["ms_lower"].status is Status.CONFIRMED
    drag(caseNodes, "ms_lower")
    assert caseNodes.toAnnotation().landmarks["ms_lower"].status is Status.CORRECTED


def test_painted_voxels_are_corrected(caseNodes):
    mask = calcificationNodes.readMask(caseNodes.segmentation, caseNodes.volume)
    mask[3:5, 3:5, 3] = 1
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask.T, caseNodes.segmentation, "calcification", caseNodes.volume)
    found = caseNodes.toAnnotation()
    assert found.calcification_status is Status.CORRECTED
    assert np.array_equal(found.calcification, mask)
    assert caseNodes.hasReviewedLabels()


def test_a_dragged_contour_is_corrected_and_can_go_back(caseNodes, annotation):
    start = contourNodes.readControlPoints(caseNodes.contour)
    caseNodes.contour.SetNthControlPointPositionWorld(2, (start[2] + [0, 0, 2]).tolist())
    found = caseNodes.toAnnotation()
    assert found.contour_status is Status.CORRECTED
    assert np.abs(found.annulus_contour - (start[2] + [0, 0, 2])).sum(axis=1).min() < 0.5
    caseNodes.contour.SetNthControlPointPositionWorld(2, start[2].tolist())
    found = caseNodes.toAnnotation()
    assert found.contour_status is Status.PREDICTED
    assert np.allclose(found.annulus_contour, annotation.annulus_contour)


def test_an_annotation_without_calcium_and_contour(caseNodes, annotation):
    annotation.calcification = annotation.annulus_contour = annotation.suggestion = None
    caseNodes.showAnnotation(annotation)
    found = caseNodes.toAnnotation()
    assert found.calcification is None
    assert found.annulus_contour is None
    assert found.suggestion is None
    # A person draws and paints where the model gave up.
    for position in ([0, 0, 0], [20, 0, 0], [20, 20, 0], [0, 20, 0]):
        caseNodes.contour.AddControlPointWorld(position)
    mask = np.zeros(caseNodes.volume.GetImageData().GetDimensions(), np.uint8)
    mask[5, 6, 7] = 1
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask.T, caseNodes.segmentation, "calcification", caseNodes.volume)
    found = caseNodes.toAnnotation()
    assert (found.calcification_status, found.contour_status) == (Status.CORRECTED, Status.CORRECTED)
    assert np.array_equal(found.calcification, mask)


def test_shown_again_the_nodes_stay(caseNodes, annotation):
    nodes = [caseNodes.landmarks, caseNodes.segmentation, caseNodes.contour, caseNodes.ghost, caseNodes.state.node]
    count = slicer.mrmlScene.GetNumberOfNodes()
    annotation.landmarks["hinge_rcc"].position += 1.0
    caseNodes.showAnnotation(annotation)
    assert slicer.mrmlScene.GetNumberOfNodes() == count
    now = [caseNodes.landmarks, caseNodes.segmentation, caseNodes.contour, caseNodes.ghost, caseNodes.state.node]
    assert all(a is b for a, b in zip(nodes, now, strict=True))
    assert caseNodes.toAnnotation().landmarks["hinge_rcc"].status is Status.PREDICTED
    assert np.allclose(pointState(caseNodes.ghost, "hinge_rcc").position, annotation.landmarks["hinge_rcc"].position)


@pytest.mark.parametrize("role", ["landmarks", "segmentation", "contour", "volume"])
def test_a_deleted_node_is_told(caseNodes, annotation, role):
    slicer.mrmlScene.RemoveNode(getattr(caseNodes, role))
    assert not caseNodes.isComplete
    with pytest.raises(InputError, match="was deleted; undo that or run again"):
        caseNodes.toAnnotation()
    assert not caseNodes.hasReviewedLabels()
    if role != "volume":
        caseNodes.showAnnotation(annotation)
        assert caseNodes.isComplete


def test_corrections_beside_a_deleted_node_still_count(caseNodes):
    setPointState(caseNodes.landmarks, "hinge_rcc", [0, 0, 0], Status.CORRECTED)
    slicer.mrmlScene.RemoveNode(caseNodes.contour)
    assert caseNodes.hasReviewedLabels()


def test_labels_belong_to_their_ct_when_another_is_chosen(caseNodes, annotation):
    ct, other = caseNodes.volume, slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "Other")
    caseNodes.parameterNode.SetNodeReferenceID("inputVolume", other.GetID())
    assert caseNodes.volume is ct
    found = caseNodes.toAnnotation()
    assert np.allclose(found.landmarks["hinge_lcc"].position, annotation.landmarks["hinge_lcc"].position)


def nodeIds() -> set[str]:
    return {node.GetID() for node in slicer.util.getNodesByClass("vtkMRMLNode")}


def test_labels_do_not_move_to_another_phase_of_a_sequence(caseNodes, tmp_path):
    """A sequence's proxy is one node whose voxels are exchanged as the phases are browsed."""
    voxels = slicer.util.arrayFromVolume(caseNodes.volume)
    before = voxels.copy()
    caseNodes.checkVolume()
    caseNodes.volume.SetOrigin(1.0, 2.0, 3.0)  # where it lies has no part in it
    caseNodes.checkVolume()
    voxels[:] = np.roll(before, 3, axis=0)
    slicer.util.arrayFromVolumeModified(caseNodes.volume)
    for refuse in (
        caseNodes.checkVolume,
        lambda: exportFiles(caseNodes, tmp_path / "files"),
        lambda: exportCase(caseNodes, tmp_path / "site", reviewer="reader-1"),
        lambda: ReviewSession(caseNodes),
    ):
        with pytest.raises(InputError, match="no longer holds the CT that was annotated"):
            refuse()
    assert not any(tmp_path.iterdir())
    voxels[:] = before
    slicer.util.arrayFromVolumeModified(caseNodes.volume)
    caseNodes.checkVolume()


def test_remove_leaves_what_was_there_before(ctVolumeNode, annotation):
    parameterNode = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScriptedModuleNode")
    before = nodeIds()
    parameterNode.SetNodeReferenceID("inputVolume", ctVolumeNode.GetID())
    caseNodes = CaseNodes.find(parameterNode)
    caseNodes.showAnnotation(annotation)
    CArmPlot(parameterNode).show(None, "no plane")
    assert len(nodeIds() - before) > 10
    caseNodes.remove()
    assert nodeIds() == before
    assert ctVolumeNode.GetScene() is not None


def test_case_after_case_leaves_nothing_in_memory(scene, annotation, tmp_path, capfd):
    parameterNode = scene.AddNewNodeByClass("vtkMRMLScriptedModuleNode")
    slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)  # made when it is first asked for
    before, freed = nodeIds(), []
    for _ in range(2):
        volumeNode = slicer.util.loadVolume(str(SAMPLE_CT))
        parameterNode.SetNodeReferenceID("inputVolume", volumeNode.GetID())
        caseNodes = CaseNodes.find(parameterNode)
        caseNodes.showAnnotation(annotation)
        assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
        scalars = volumeNode.GetImageData().GetPointData().GetScalars()
        scalars.AddObserver("DeleteEvent", lambda _caller, _event: freed.append(True))
        del scalars
        caseNodes.remove(withVolume=True)
        del volumeNode
        assert nodeIds() == before
        assert parameterNode.GetNodeReference("inputVolume") is None
    assert "inconsistency" not in capfd.readouterr().err  # of the subject hierarchy
    assert freed == [True, True]


def test_no_volume(scene, annotation):
    caseNodes = CaseNodes.find(slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScriptedModuleNode"))
    with pytest.raises(InputError, match="No volume is chosen"):
        caseNodes.showAnnotation(annotation)
    assert caseNodes.landmarks is None
    assert not caseNodes.hasReviewedLabels()
    caseNodes.remove()


@pytest.mark.parametrize("ending", [".mrb", ".mrml"])
def test_a_saved_scene_goes_on(caseNodes, tmp_path, ending):
    position = drag(caseNodes, "ostium_lca", (0.5, 0.5, -0.5))
    setPointState(caseNodes.landmarks, "ms_upper", None, Status.ABSENT)
    landmark = pointState(caseNodes.landmarks, "hinge_ncc")
    setPointState(caseNodes.landmarks, "hinge_ncc", landmark.position, Status.CONFIRMED, landmark.confidence)
    contourNodes.setContourStatus(caseNodes.contour, Status.CONFIRMED)
    before = caseNodes.toAnnotation()
    path = tmp_path / f"scene{ending}"
    if ending == ".mrml":  # what Slicer's save dialog does: every node's own file first
        for node in (caseNodes.volume, caseNodes.landmarks, caseNodes.ghost, caseNodes.contour):
            name = f"{node.GetID()}.nrrd" if node is caseNodes.volume else f"{node.GetID()}.mrk.json"
            assert slicer.util.saveNode(node, str(tmp_path / name))
        assert slicer.util.saveNode(caseNodes.segmentation, str(tmp_path / "calcification.seg.nrrd"))
    assert slicer.util.saveScene(str(path))
    slicer.mrmlScene.Clear(0)
    slicer.util.loadScene(str(path))
    found = slicer.util.getNodesByClass("vtkMRMLScriptedModuleNode")
    (opened,) = [nodes for nodes in map(CaseNodes.find, found) if nodes.landmarks is not None]
    after = opened.toAnnotation()
    for labelId in schema.LANDMARK_IDS:
        one, other = before.landmarks[labelId], after.landmarks[labelId]
        assert one.status is other.status, labelId
        assert one.confidence == other.confidence
        assert one.position is None or np.abs(one.position - other.position).max() < 1e-3
    assert np.abs(after.landmarks["ostium_lca"].position - position).max() < 1e-3
    assert after.landmarks["ms_upper"].status is Status.ABSENT
    assert np.array_equal(after.calcification, before.calcification)
    assert (after.calcification_status, after.contour_status) == (Status.PREDICTED, Status.CONFIRMED)
    assert np.abs(after.annulus_contour - before.annulus_contour).max() < 1e-3
    assert after.provenance == before.provenance
    assert opened.hasReviewedLabels()
