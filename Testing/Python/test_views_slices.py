"""Slice nodes: which planes they show on a jump, and that all comes back."""

from __future__ import annotations

import numpy as np
import pytest
import vtk

from fedkdtavi_core.measurements import annulus_plane
from FedKDTAVILib.sliceViews import SliceViews, frames

NAMES = ("Red", "Green", "Yellow")
# A tilted root in RAS mm.
POINTS = {
    "hinge_rcc": np.array([10.0, 12.0, 3.0]),
    "hinge_lcc": np.array([-11.4, -3.7, 5.0]),
    "hinge_ncc": np.array([8.3, -8.7, -4.0]),
}
POINT = np.array([14.0, 17.0, 19.0])


@pytest.fixture
def plane():
    return annulus_plane(POINTS)


@pytest.fixture
def sliceNodes(scene):
    nodes = {}
    for name, orientation in zip(NAMES, ("Axial", "Coronal", "Sagittal"), strict=True):
        node = scene.CreateNodeByClass("vtkMRMLSliceNode")  # with the scene's orientation presets
        node.UnRegister(None)
        node.SetName(name)
        node.SetLayoutName(name)
        node.SetSingletonTag(name)
        nodes[name] = scene.AddNode(node)
        nodes[name].SetOrientation(orientation)
        nodes[name].SetDimensions(400, 300, 1)
    yield nodes
    for node in nodes.values():
        scene.RemoveNode(node)


def heights(node, points) -> np.ndarray:
    """Signed distance in mm of points from a slice."""
    matrix = np.array([[node.GetSliceToRAS().GetElement(r, c) for c in range(4)] for r in range(4)])
    assert np.allclose(matrix[:3, :3].T @ matrix[:3, :3], np.eye(3), atol=1e-9)
    return (np.atleast_2d(points) - matrix[:3, 3]) @ matrix[:3, 2]


def state(node) -> list:
    matrix = [node.GetSliceToRAS().GetElement(r, c) for r in range(4) for c in range(4)]
    slab = [node.GetSlabReconstructionEnabled(), node.GetSlabReconstructionThickness()]
    return [*matrix, *node.GetFieldOfView(), *node.GetXYZOrigin(), *slab, node.GetSlabReconstructionType()]


def test_three_planes(scene, plane, sliceNodes) -> None:
    SliceViews(scene).jump(plane, POINT)
    axis = plane.centre + np.outer([-20, 0, 30], plane.normal)
    assert np.allclose(heights(sliceNodes["Red"], plane.hinges), 0, atol=1e-9)
    assert np.allclose(heights(sliceNodes["Green"], [*axis, POINT]), 0, atol=1e-9)
    assert np.allclose(heights(sliceNodes["Yellow"], POINT), 0, atol=1e-9)
    normals = [np.array([sliceNodes[n].GetSliceToRAS().GetElement(r, 2) for r in range(3)]) for n in NAMES]
    assert np.allclose(np.abs(np.array(normals) @ np.array(normals).T), np.eye(3), atol=1e-9)


def test_screen_is_as_radiologists_know_it(plane) -> None:
    turned = frames(plane, POINT)
    assert turned["Red"].x[0] < 0  # the patient's left is on the right
    assert turned["Red"].y[1] > 0  # anterior is up
    for name in ("Green", "Yellow"):
        assert np.allclose(turned[name].y, plane.normal)  # the aorta is up
        assert turned[name].x[:2].sum() <= 0


def test_a_point_on_the_axis(scene, plane, sliceNodes) -> None:
    SliceViews(scene).jump(plane, plane.centre + 10 * plane.normal)
    assert np.allclose(heights(sliceNodes["Green"], [plane.hinges[0], plane.centre]), 0, atol=1e-9)
    SliceViews(scene).jump(plane)
    assert np.allclose(heights(sliceNodes["Green"], [plane.hinges[0], plane.centre]), 0, atol=1e-9)


def test_without_a_plane(scene, plane, sliceNodes) -> None:
    views = SliceViews(scene)
    views.jump(plane, POINT)
    views.jump(None, POINT)
    for name, orientation, axis in (("Red", "Axial", 2), ("Green", "Coronal", 1), ("Yellow", "Sagittal", 0)):
        assert sliceNodes[name].GetOrientation() == orientation
        assert abs(sliceNodes[name].GetSliceToRAS().GetElement(axis, 3) - POINT[axis]) < 1e-6


def test_everything_comes_back(scene, plane, sliceNodes, ctVolumeNode) -> None:
    display = ctVolumeNode.GetScalarVolumeDisplayNode()
    display.SetAutoWindowLevel(0)
    display.SetWindowLevel(1234.0, 56.0)
    layout = scene.AddNewNodeByClass("vtkMRMLLayoutNode")
    layout.SetViewArrangement(layout.SlicerLayoutOneUpRedSliceView)
    sliceNodes["Red"].SetXYZOrigin(3.0, 4.0, 0.0)
    sliceNodes["Green"].SetFieldOfView(200.0, 150.0, 1.0)
    before = {name: state(node) for name, node in sliceNodes.items()}

    views = SliceViews(scene, ctVolumeNode)
    views.enter()
    views.jump(plane, POINT)
    views.setSlab(7.0)
    assert (display.GetWindow(), display.GetLevel()) == (800.0, 300.0)
    assert layout.GetViewArrangement() == layout.SlicerLayoutFourUpView
    assert min(sliceNodes["Red"].GetFieldOfView()[:2]) == pytest.approx(90.0)
    views.restore()
    assert {name: state(node) for name, node in sliceNodes.items()} == {
        name: pytest.approx(values, abs=1e-9) for name, values in before.items()
    }
    assert (display.GetWindow(), display.GetLevel(), display.GetAutoWindowLevel()) == (1234.0, 56.0, 0)
    assert layout.GetViewArrangement() == layout.SlicerLayoutOneUpRedSliceView
    views.restore()


@pytest.mark.parametrize(("asked", "given"), [(7.0, 7.0), (1.0, 5.0), (40.0, 10.0)])
def test_slab(scene, sliceNodes, asked: float, given: float) -> None:
    views = SliceViews(scene)
    views.setSlab(asked)
    node = sliceNodes["Yellow"]
    assert node.GetSlabReconstructionEnabled()
    assert node.GetSlabReconstructionThickness() == given
    assert node.GetSlabReconstructionType() == vtk.VTK_IMAGE_SLAB_MAX
    views.setSlab(None)
    assert not node.GetSlabReconstructionEnabled()


def test_views_that_are_not_there(scene, plane, sliceNodes) -> None:
    scene.RemoveNode(sliceNodes["Green"])
    views = SliceViews(scene)
    views.enter()
    views.jump(plane, POINT)
    scene.RemoveNode(sliceNodes["Yellow"])
    views.restore()
    assert views.sliceNode("Green") is None
