"""Slice nodes: which planes they show on a jump, and that all comes back."""

from __future__ import annotations

import numpy as np
import pytest
import slicer
import vtk

from fedkdtavi_core.measurements import annulus_plane
from FedKDTAVILib.sliceViews import PRESET, SliceViews, frames

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
    """Three upright views, the window's own where there is one; they are there and upright again afterwards."""
    before = [scene.GetSingletonNode(name, "vtkMRMLSliceNode") for name in NAMES]
    nodes = {name: _upright(scene, name) for name in NAMES}
    yield nodes
    for name, known in zip(NAMES, before, strict=True):
        node = _upright(scene, name)
        if known is None:
            scene.RemoveNode(node)


def _upright(scene, name: str):
    node = scene.GetSingletonNode(name, "vtkMRMLSliceNode")
    if node is None:
        node = scene.CreateNodeByClass("vtkMRMLSliceNode")  # with the scene's orientation presets
        node.UnRegister(None)
        node.SetName(name)
        node.SetLayoutName(name)
        node.SetSingletonTag(name)
        node = scene.AddNode(node)
    node.GetSliceToRAS().Identity()
    node.SetOrientation({"Red": "Axial", "Green": "Coronal", "Yellow": "Sagittal"}[name])
    node.SetXYZOrigin(0.0, 0.0, 0.0)
    node.SetDimensions(400, 300, 1)
    return node


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


def test_the_reviewed_ct_is_shown_alone_and_what_was_shown_comes_back(scene, plane, sliceNodes, ctVolumeNode) -> None:
    other = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "other phase")
    composites = []
    for name in NAMES:
        known = [n for n in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode") if n.GetLayoutName() == name]
        node = known[0] if known else scene.AddNewNodeByClass("vtkMRMLSliceCompositeNode", f"{name} layers")
        node.SetLayoutName(name)
        node.SetBackgroundVolumeID(other.GetID() if name != "Green" else None)
        node.SetForegroundVolumeID(other.GetID() if name == "Yellow" else None)
        composites.append((node, not known))

    def layers():
        return [(node.GetBackgroundVolumeID(), node.GetForegroundVolumeID()) for node, _ in composites]

    before = layers()
    views = SliceViews(scene, ctVolumeNode)
    views.enter()
    assert layers() == [(ctVolumeNode.GetID(), None)] * 3
    views.restore()
    assert layers() == before
    views.enter()
    scene.RemoveNode(other)  # a CT that is gone is not shown again
    views.restore()
    assert all(other.GetID() is None or shown != other.GetID() for pair in layers() for shown in pair if shown)
    for node, made in composites:
        node.SetBackgroundVolumeID(None)
        node.SetForegroundVolumeID(None)
        if made:
            scene.RemoveNode(node)


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


def test_scene_saved_in_a_review_is_read_without_complaint(scene, plane, sliceNodes, tmp_path, capfd) -> None:
    views = SliceViews(scene)
    views.enter()
    views.jump(plane, POINT)
    assert {node.GetOrientation() for node in sliceNodes.values()} == {PRESET}
    turned = {name: state(node)[:12] for name, node in sliceNodes.items()}
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    views.restore()
    assert not any(node.HasSliceOrientationPreset(PRESET) for node in sliceNodes.values())
    scene.Clear(0)
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    assert "Reformat" not in capfd.readouterr().err
    assert {name: state(views.sliceNode(name))[:12] for name in NAMES} == {
        name: pytest.approx(values, abs=1e-4) for name, values in turned.items()
    }
    # The review that goes on gives back upright views, not the turned ones of the file.
    views.enter()
    views.jump(plane, POINT)
    views.restore()
    assert [views.sliceNode(name).GetOrientation() for name in NAMES] == ["Axial", "Coronal", "Sagittal"]
