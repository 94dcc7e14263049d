"""A volume node becomes the core's Volume where it lies in the world, or says in one sentence why not."""

from __future__ import annotations

import numpy as np
import pytest
import slicer
import vtk

from fedkdtavi_core.errors import InputError
from fedkdtavi_core.readers import read_volume
from FedKDTAVILib.transforms import toMatrix
from FedKDTAVILib.volumes import checkVolumeNode, volumeFromNode, volumeSummary

OBLIQUE = np.array([[0.9, 0.3, -0.1, -40.0], [-0.3, 0.85, 0.2, 12.5], [0.15, -0.15, 1.2, 300.25], [0.0, 0.0, 0.0, 1.0]])


def thorax(shape=(40, 36, 32)) -> np.ndarray:
    """HU that pass for a CT: air, fat, muscle, blood, with noise."""
    rng = np.random.default_rng(7)
    hu = rng.choice([-900, -100, 50, 400], size=shape) + rng.normal(0, 15, shape)
    return hu.round().astype(np.int16)


def mr(shape=(40, 36, 32)) -> np.ndarray:
    """Grey values as of an MR: positive, no air below zero."""
    return np.random.default_rng(7).gamma(2.0, 150.0, shape).round().astype(np.int16)


def volumeNode(array: np.ndarray, affine: np.ndarray = OBLIQUE, kind: str = "vtkMRMLScalarVolumeNode"):
    node = slicer.mrmlScene.AddNewNodeByClass(kind, "CT")
    slicer.util.updateVolumeFromArray(node, array.T)
    node.SetIJKToRASMatrix(toMatrix(affine))
    return node


def under(node, transform) -> None:
    node.SetAndObserveTransformNodeID(transform.GetID())


def linear(matrix: vtk.vtkTransform):
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    node.SetMatrixTransformToParent(matrix.GetMatrix())
    return node


def bent():
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTransformNode", "Bent")
    spline = vtk.vtkThinPlateSplineTransform()
    points, moved = vtk.vtkPoints(), vtk.vtkPoints()
    for point in ((0, 0, 0), (100, 0, 0), (0, 100, 0), (0, 0, 100), (50, 50, 50)):
        points.InsertNextPoint(point)
        moved.InsertNextPoint([value * 1.1 + (value > 40) * 5 for value in point])
    spline.SetSourceLandmarks(points)
    spline.SetTargetLandmarks(moved)
    spline.SetBasisToR()
    node.SetAndObserveTransformToParent(spline)
    return node


def test_voxels_and_oblique_axes(scene):
    hu = thorax()
    node = volumeNode(hu)
    volume = volumeFromNode(node)
    assert np.array_equal(volume.array, hu)
    assert np.allclose(volume.affine, OBLIQUE, atol=1e-9)
    assert np.shares_memory(volume.array, slicer.util.arrayFromVolume(node))  # no copy of a whole CT
    assert not volume.array.flags.writeable
    assert checkVolumeNode(node) is None
    assert volumeSummary(node).text == "40 x 36 x 32 voxels of 0.96 x 0.91 x 1.22 mm"


def test_the_sample_is_what_the_core_reads(ctVolumeNode):
    from conftest import SAMPLE_CT

    volume, read = volumeFromNode(ctVolumeNode), read_volume(SAMPLE_CT)
    assert np.array_equal(volume.array, read.array)
    assert volume.array.dtype == read.array.dtype
    assert np.abs(volume.affine - read.affine).max() < 1e-4


def test_transforms_above_the_volume_count(scene):
    node = volumeNode(thorax())
    first, second = vtk.vtkTransform(), vtk.vtkTransform()
    first.RotateZ(30)
    second.Translate(5, 6, -70)
    inner, outer = linear(first), linear(second)
    under(inner, outer)
    under(node, inner)
    angle = np.radians(30)
    rotation = np.eye(4)
    rotation[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    shift = np.eye(4)
    shift[:3, 3] = [5, 6, -70]
    assert np.allclose(volumeFromNode(node).affine, shift @ rotation @ OBLIQUE)
    node.HardenTransform()
    assert np.allclose(volumeFromNode(node).affine, shift @ rotation @ OBLIQUE)


def test_a_bent_volume_is_refused(scene):
    node = volumeNode(thorax())
    under(node, bent())
    assert "non-linear" in checkVolumeNode(node)
    with pytest.raises(InputError, match=r"^CT: stands under a non-linear transform; harden"):
        volumeFromNode(node)


def test_padding_is_mended_without_touching_the_node(scene):
    hu = thorax()
    hu[:3] = -3024
    node = volumeNode(hu)
    volume = volumeFromNode(node)
    assert volume.array.min() == -1024
    assert slicer.util.arrayFromVolume(node).min() == -3024
    assert any("padding" in note for note in volume.info["notes"])


def test_doubles_become_what_a_ct_is(scene):
    volume = volumeFromNode(volumeNode(thorax().astype(np.float64)))
    assert volume.array.dtype == np.int16
    assert np.array_equal(volume.array, thorax())


@pytest.mark.parametrize("look", [volumeFromNode, checkVolumeNode])
@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: None, "No volume is chosen"),
        (lambda: slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "CT"), "holds no voxels"),
        (lambda: volumeNode((thorax() > 0).astype(np.uint8), kind="vtkMRMLLabelMapVolumeNode"), "no grey-value volume"),
        (lambda: slicer.mrmlScene.AddNewNodeByClass("vtkMRMLVectorVolumeNode", "CT"), "no grey-value volume"),
        (lambda: slicer.mrmlScene.AddNewNodeByClass("vtkMRMLModelNode", "CT"), "no grey-value volume"),
        (lambda: volumeNode((thorax() > 0).astype(np.uint8)), "looks like a label map"),
        (lambda: volumeNode(mr()), "MR or another image"),
        (lambda: volumeNode(np.zeros((30, 30, 30), np.int16)), "same value"),
        (lambda: volumeNode(thorax((40, 40, 1))), "flat image"),
        (lambda: volumeNode(thorax(), OBLIQUE * np.array([[100.0], [100.0], [100.0], [1.0]])), "voxels of"),
    ],
)
def test_what_is_no_ct_says_so(scene, look, make, sentence):
    node = make()
    if look is checkVolumeNode:
        told = checkVolumeNode(node)
    else:
        with pytest.raises(InputError) as error:
            volumeFromNode(node)
        told = str(error.value)
    assert sentence in told
    assert told.endswith(".")
    assert "\n" not in told


def test_a_summary_of_nothing(scene):
    assert volumeSummary(None) is None
    assert volumeSummary(slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")) is None
