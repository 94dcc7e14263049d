"""Seven control points carry the landmarks: position, status, confidence, flags; in the scene and in files."""

from __future__ import annotations

import json

import numpy as np
import pytest
import slicer
import vtk
from test_scene_volumes import bent, linear

from fedkdtavi_core import schema
from fedkdtavi_core.annotation import Landmark, Status
from fedkdtavi_core.errors import InputError
from fedkdtavi_core.labels import markups
from FedKDTAVILib.ghostNodes import createGhostNode
from FedKDTAVILib.landmarkNodes import (
    createLandmarkNode,
    pointIndex,
    pointState,
    readLandmarks,
    setPointState,
    writeLandmarks,
)


@pytest.fixture
def landmarks() -> dict[str, Landmark]:
    """One of every state: predicted, corrected, confirmed, absent, not found."""
    rng = np.random.default_rng(3)
    result = {i: Landmark(i, rng.uniform(-80, 80, 3), 0.5, None, Status.PREDICTED) for i in schema.LANDMARK_IDS}
    result["hinge_lcc"] = Landmark("hinge_lcc", rng.uniform(-80, 80, 3), None, None, Status.CORRECTED)
    result["hinge_ncc"].status = Status.CONFIRMED
    result["ostium_rca"] = Landmark("ostium_rca", status=Status.ABSENT)
    result["ostium_lca"] = Landmark("ostium_lca", None, None, None, Status.PREDICTED, ["not found"])
    result["ms_upper"].flags = ["below the annulus plane", "far from ms_lower"]
    return result


@pytest.fixture
def node(scene, landmarks):
    created = createLandmarkNode()
    writeLandmarks(created, landmarks)
    return created


def assertSame(found, expected, tolerance=1e-9, flags=True) -> None:
    assert list(found) == list(schema.LANDMARK_IDS)
    for labelId, landmark in expected.items():
        other = found[labelId]
        assert (other.status, other.confidence) == (landmark.status, landmark.confidence), labelId
        assert (other.position is None) == (landmark.position is None), labelId
        assert landmark.position is None or np.abs(other.position - landmark.position).max() < tolerance
        assert not flags or other.flags == landmark.flags


def test_a_new_node_is_seven_unset_fixed_points(scene):
    node = createLandmarkNode()
    assert [node.GetNthControlPointLabel(i) for i in range(7)] == [label.name for label in schema.LANDMARKS]
    assert node.GetNumberOfDefinedControlPoints() == 0
    assert node.GetFixedNumberOfControlPoints()
    assert {landmark.status for landmark in readLandmarks(node).values()} == {Status.PREDICTED}


def test_all_states_come_back(node, landmarks):
    assertSame(readLandmarks(node), landmarks)
    assert pointState(node, "ms_upper").flags == ["below the annulus plane", "far from ms_lower"]
    assert node.GetNumberOfDefinedControlPoints() == 5


def test_positions_are_the_world_s(node, landmarks):
    turn = vtk.vtkTransform()
    turn.RotateY(40)
    turn.Translate(10, 20, 30)
    node.SetAndObserveTransformNodeID(linear(turn).GetID())
    matrix = np.array([[turn.GetMatrix().GetElement(r, c) for c in range(4)] for r in range(4)])
    before = landmarks["hinge_rcc"].position
    assert np.allclose(pointState(node, "hinge_rcc").position, matrix[:3, :3] @ before + matrix[:3, 3])
    setPointState(node, "hinge_rcc", [1.0, 2.0, 3.0], Status.CORRECTED)
    assert np.allclose(pointState(node, "hinge_rcc").position, [1, 2, 3])
    node.HardenTransform()
    assert np.allclose(pointState(node, "hinge_rcc").position, [1, 2, 3])


def test_a_bent_space_is_refused(node):
    node.SetAndObserveTransformNodeID(bent().GetID())
    with pytest.raises(InputError, match="non-linear"):
        readLandmarks(node)
    with pytest.raises(InputError, match="non-linear"):
        setPointState(node, "hinge_rcc", [1, 2, 3], Status.CORRECTED)


def test_a_deleted_point_is_nobody_s_truth(node):
    assert pointState(node, "hinge_lcc").status is Status.CORRECTED
    node.UnsetNthControlPointPosition(
        pointIndex(node, "hinge_lcc")
    )  # what "Clear control point position" in its menu does
    assert node.GetNumberOfControlPoints() == 7
    found = pointState(node, "hinge_lcc")
    assert (found.position, found.status) == (None, Status.PREDICTED)


def test_missing_in_slicer_is_absent_and_placing_corrects(node):
    index = pointIndex(node, "hinge_rcc")
    node.SetNthControlPointPositionMissing(index)
    assert pointState(node, "hinge_rcc").status is Status.ABSENT
    index = pointIndex(node, "ostium_rca")
    node.SetNthControlPointPosition(index, 4.0, 5.0, 6.0)
    found = pointState(node, "ostium_rca")
    assert found.status is Status.CORRECTED
    assert np.allclose(found.position, [4, 5, 6])


def test_locked_points_can_be_set_and_stay_locked(node):
    index = pointIndex(node, "hinge_rcc")
    node.SetNthControlPointLocked(index, True)
    node.SetLocked(True)
    setPointState(node, "hinge_rcc", [7, 8, 9], Status.CONFIRMED, 0.25)
    found = pointState(node, "hinge_rcc")
    assert np.allclose(found.position, [7, 8, 9])
    assert (found.status, found.confidence) == (Status.CONFIRMED, 0.25)
    assert node.GetNthControlPointLocked(index)


def test_points_out_of_order_renamed_or_too_many(node, landmarks):
    node.SetNthControlPointLabel(0, "somebody's name")
    node.SetFixedNumberOfControlPoints(False)
    node.AddControlPoint(0, 0, 0, "extra")
    node.SwapControlPoints(1, 4)
    assertSame(readLandmarks(node), landmarks)
    assert pointIndex(node, "hinge_lcc") == 4
    node.SetNthControlPointDescription(4, "free text of a person")  # then the name counts
    assert pointIndex(node, "hinge_lcc") == 4
    node.RemoveNthControlPoint(0)
    assert readLandmarks(node)["hinge_rcc"].position is None
    with pytest.raises(InputError, match="no point RCC"):
        pointIndex(node, "hinge_rcc")
    writeLandmarks(node, landmarks)  # is made again
    assertSame(readLandmarks(node), landmarks)


def test_two_points_for_one_landmark_are_told(node):
    node.SetFixedNumberOfControlPoints(False)
    index = node.AddControlPoint(1, 1, 1, "RCC")
    node.SetNthControlPointDescription(index, node.GetNthControlPointDescription(0))
    with pytest.raises(InputError, match="holds two points for RCC; delete one"):
        readLandmarks(node)


@pytest.mark.parametrize("system", ["LPS", "RAS"])
def test_files_of_slicer_are_read_by_the_core(node, landmarks, tmp_path, system):
    path = tmp_path / "landmarks.mrk.json"
    node.AddDefaultStorageNode()
    storage = node.GetStorageNode()
    storage.SetCoordinateSystem(
        slicer.vtkMRMLStorageNode.CoordinateSystemRAS
        if system == "RAS"
        else slicer.vtkMRMLStorageNode.CoordinateSystemLPS
    )
    assert slicer.util.saveNode(node, str(path))
    written = json.loads(path.read_text())["markups"][0]
    assert written["coordinateSystem"] == system
    assert [p["positionStatus"] for p in written["controlPoints"]].count("missing") == 1
    found = markups.read_landmarks(path)
    assert found.notes == []
    assertSame(found.landmarks, landmarks, 1e-3, flags=False)


def test_files_of_the_core_are_read_by_slicer(scene, landmarks, tmp_path):
    path = tmp_path / "landmarks.mrk.json"
    markups.write_landmarks(path, landmarks)
    loaded = slicer.util.loadMarkups(str(path))
    assert loaded.GetFixedNumberOfControlPoints()
    assertSame(readLandmarks(loaded), landmarks, 1e-3, flags=False)


def test_the_ghost_cannot_be_dragged(node, landmarks):
    ghost = createGhostNode(node)
    writeLandmarks(ghost, landmarks)
    assertSame(readLandmarks(ghost), landmarks)
    assert ghost.GetLocked()
    assert ghost.GetDisplayNode().GetOpacity() < 0.5
    assert not ghost.GetDisplayNode().GetPointLabelsVisibility()
