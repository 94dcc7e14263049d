"""The calcification as a segment: on the CT's grid whatever Slicer cropped, moved or shares."""

from __future__ import annotations

import numpy as np
import pytest
import slicer
import vtk
from test_scene_volumes import bent, linear, thorax, volumeNode

from fedkdtavi_core import schema
from fedkdtavi_core.annotation import Status
from fedkdtavi_core.errors import InputError
from fedkdtavi_core.labels import segmentation as files
from FedKDTAVILib.calcificationNodes import (
    calcificationStatus,
    createSegmentation,
    maskDigest,
    readMask,
    setCalcificationStatus,
    writeMask,
)
from FedKDTAVILib.transforms import toMatrix
from FedKDTAVILib.volumes import worldGrid


@pytest.fixture
def mask() -> np.ndarray:
    result = np.zeros((40, 36, 32), np.uint8)
    result[5:9, 10:12, 20:25] = 1
    result[30, 35, 31] = 1
    result[0, 0, 0] = 1
    return result


@pytest.fixture
def ct(scene):
    return volumeNode(thorax())


def turned():
    turn = vtk.vtkTransform()
    turn.RotateX(25)
    turn.Translate(4, -9, 60)
    return linear(turn)


def extent(node) -> tuple:
    segment = node.GetSegmentation().GetSegment("calcification")
    return segment.GetRepresentation("Binary labelmap").GetExtent()


def test_voxels_come_back_on_an_oblique_grid(ct, mask):
    node = createSegmentation(ct, mask)
    assert np.array_equal(readMask(node, ct), mask)
    segment = node.GetSegmentation().GetSegment("calcification")
    label = schema.by_id("calcification")
    assert segment.GetName() == label.name
    assert np.allclose(segment.GetColor(), label.color)
    tag = vtk.reference("")
    assert segment.GetTag("TerminologyEntry", tag)
    assert "18115005" in str(tag)


def test_slicer_crops_and_the_grid_stays(ct, mask):
    mask[0, 0, 0] = mask[30, 35, 31] = 0
    node = createSegmentation(ct, mask)
    assert extent(node) == (5, 8, 10, 11, 20, 24)
    found = readMask(node, ct)
    assert found.shape == mask.shape
    assert np.array_equal(found, mask)


@pytest.mark.parametrize("empty", [None, np.zeros((40, 36, 32), np.uint8)])
def test_empty_and_not_assessed(ct, mask, empty):
    node = createSegmentation(ct, empty)
    assert not readMask(node, ct).any()
    assert calcificationStatus(node) is (None if empty is None else Status.PREDICTED)
    writeMask(node, ct, mask, Status.CORRECTED)
    assert np.array_equal(readMask(node, ct), mask)
    assert calcificationStatus(node) is Status.CORRECTED
    writeMask(node, ct, empty)
    assert not readMask(node, ct).any()
    setCalcificationStatus(node, Status.ABSENT)
    assert calcificationStatus(node) is Status.ABSENT


def test_other_segments_that_share_the_labelmap(ct, mask):
    node = createSegmentation(ct, mask)
    other = np.zeros_like(mask)
    other[20:25, 5:9, 2:30] = 1
    segmentation = node.GetSegmentation()
    segmentation.AddEmptySegment("aorta", "Aorta")
    slicer.util.updateSegmentBinaryLabelmapFromArray(other.T, node, "aorta", ct)
    segmentation.CollapseBinaryLabelmaps(False)
    assert segmentation.GetNumberOfLayers() == 1
    assert np.array_equal(readMask(node, ct), mask)
    mask[6, 10, 22] = 0
    writeMask(node, ct, mask)
    assert np.array_equal(readMask(node, ct), mask)
    left = slicer.util.arrayFromSegmentBinaryLabelmap(node, "aorta", ct).T
    assert np.array_equal(left, other)


def test_both_under_a_transform(ct, mask):
    ct.SetAndObserveTransformNodeID(turned().GetID())
    node = createSegmentation(ct, mask)
    assert node.GetParentTransformNode() is ct.GetParentTransformNode()
    assert np.array_equal(readMask(node, ct), mask)
    node.HardenTransform()
    assert np.array_equal(readMask(node, ct), mask)
    writeMask(node, ct, mask)  # and written where it is hardened, too
    assert np.array_equal(readMask(node, ct), mask)


def test_only_the_segmentation_moved(ct, mask):
    node = createSegmentation(ct, mask)
    shift = np.eye(4)
    grid = worldGrid(ct)
    shift[:3, 3] = grid.affine[:3, :3] @ [2, 0, -1]
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    transform.SetMatrixTransformToParent(toMatrix(shift))
    node.SetAndObserveTransformNodeID(transform.GetID())
    expected = np.zeros_like(mask)
    expected[7:11, 10:12, 19:24] = 1
    expected[32, 35, 30] = 1
    assert np.array_equal(readMask(node, ct), expected)  # the corner has left the CT


def test_another_grid_is_resampled(ct, mask):
    fine = volumeNode(np.repeat(np.repeat(np.repeat(thorax(), 2, 0), 2, 1), 2, 2))
    affine = worldGrid(ct).affine
    half = affine.copy()
    half[:3, :3] /= 2
    half[:3, 3] = affine[:3, 3] - affine[:3, :3] @ np.full(3, 0.25)
    fine.SetIJKToRASMatrix(toMatrix(half))
    dense = np.repeat(np.repeat(np.repeat(mask, 2, 0), 2, 1), 2, 2)
    node = createSegmentation(fine, dense)
    found = readMask(node, ct)
    assert np.array_equal(found[1:-1, 1:-1, 1:-1], mask[1:-1, 1:-1, 1:-1])


def test_refusals(ct, mask):
    node = createSegmentation(ct, mask)
    node.SetAndObserveTransformNodeID(bent().GetID())
    with pytest.raises(InputError, match="non-linear"):
        readMask(node, ct)
    node.SetAndObserveTransformNodeID(None)
    node.GetSegmentation().RemoveAllSegments()
    with pytest.raises(InputError, match="holds no segment Calcification"):
        readMask(node, ct)
    assert calcificationStatus(node) is None
    writeMask(node, ct, mask)
    assert np.array_equal(readMask(node, ct), mask)


def test_files_of_slicer_are_read_by_the_core_and_back(ct, mask, tmp_path):
    node = createSegmentation(ct, mask)
    writeMask(node, ct, mask, Status.CONFIRMED)
    path = tmp_path / "calcification.seg.nrrd"
    assert slicer.util.saveNode(node, str(path))
    found = files.read_segment(path, worldGrid(ct))
    assert np.array_equal(found.mask, mask)
    assert found.status is Status.CONFIRMED
    files.write_segment(path, mask, worldGrid(ct), status=Status.CORRECTED)
    loaded = slicer.util.loadSegmentation(str(path))
    assert np.array_equal(readMask(loaded, ct), mask)
    assert calcificationStatus(loaded) is Status.CORRECTED


def test_the_digest_is_of_the_voxels(mask):
    assert maskDigest(mask) == maskDigest(np.asfortranarray(mask).astype(bool))
    assert maskDigest(None) is None
    changed = mask.copy()
    changed[0, 0, 1] = 1
    assert maskDigest(changed) != maskDigest(mask)
