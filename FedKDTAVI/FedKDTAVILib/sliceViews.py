"""Slice views for a review: Red the annulus plane, Green the root axis and the point, Yellow perpendicular to both.

In the annulus plane alone a hinge point could not be moved out of its own plane; with all three it can. The views move
only when a label is looked at, never during a drag. Slice nodes are enough; layout and window are changed where there
is a layout node and a volume, and everything comes back with :meth:`SliceViews.restore`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import slicer
import vtk

if TYPE_CHECKING:
    from fedkdtavi_core.measurements import AnnulusPlane

RED, GREEN, YELLOW = "Red", "Green", "Yellow"
_DEFAULT = {RED: "Axial", GREEN: "Coronal", YELLOW: "Sagittal"}  # without a plane
# Slicer calls a slice turned freely "Reformat", writes that into scene files and refuses it as an unknown preset when
# it reads them; a preset of its own is read without complaint, and stands in the view's list of orientations. One
# word, because Slicer makes it part of an XML attribute's name; not translated: scenes travel between languages.
PRESET = "AorticRoot"
WINDOW_HU, LEVEL_HU = 800.0, 300.0
FIELD_MM = 90.0  # smaller side of a view: the root and a little around it
SLAB_MM = (5.0, 10.0)  # thinnest and thickest slab of the maximum intensity projection


@dataclass(frozen=True)
class Frame:
    """A slice in RAS mm.

    Attributes:
        x: (3,) unit vector to the right on screen.
        y: (3,) unit vector up on screen.
        z: (3,) unit normal, the way that scrolling goes.
        origin: (3,) middle of the view.
    """

    x: np.ndarray
    y: np.ndarray
    z: np.ndarray
    origin: np.ndarray

    def matrix(self) -> vtk.vtkMatrix4x4:
        """SliceToRAS."""
        matrix = vtk.vtkMatrix4x4()
        for column, vector in enumerate((self.x, self.y, self.z, self.origin)):
            for row in range(3):
                matrix.SetElement(row, column, float(vector[row]))
        return matrix


def frames(plane: AnnulusPlane, point: np.ndarray | None = None) -> dict[str, Frame]:
    """View name -> :class:`Frame` for looking at ``point`` (3,) RAS mm; default: the annulus' centre.

    A point on the root axis has no direction of its own: then Green looks towards the RCC hinge point.
    """
    normal = np.asarray(plane.normal, float)
    point = np.asarray(plane.centre if point is None else point, float)
    offset = point - plane.centre
    radial = offset - (offset @ normal) * normal
    length = float(np.linalg.norm(radial))
    radial = radial / length if length > 0.1 else np.asarray(plane.u, float)
    tangential = np.cross(normal, radial)
    # Up is anterior, as in an axial view; an annulus that faces forward has no anterior, and up is the head.
    up = _inPlane(np.array([0.0, 1.0, 0.0]), normal)
    up = _inPlane(np.array([0.0, 0.0, 1.0]), normal) if up is None else up
    return {
        # Seen from the feet and scrolling to the head, as Slicer's axial view: a left-handed frame.
        RED: Frame(-np.cross(up, normal), up, normal, np.asarray(plane.centre, float)),
        GREEN: _upright(radial, normal, point),
        YELLOW: _upright(tangential, normal, point),
    }


def _upright(direction: np.ndarray, normal: np.ndarray, point: np.ndarray) -> Frame:
    """The root stands upright; the patient's left or back lies on the right, as in coronal and sagittal views."""
    x = direction if direction[0] + direction[1] <= 0 else -direction
    return Frame(x, normal, np.cross(x, normal), point)


def _inPlane(direction: np.ndarray, normal: np.ndarray) -> np.ndarray | None:
    projected = direction - (direction @ normal) * normal
    length = float(np.linalg.norm(projected))
    return projected / length if length > 0.2 else None


class SliceViews:
    """Points the slice views, and gives them back as they were.

    >>> views = SliceViews(slicer.mrmlScene, volumeNode)
    >>> views.enter()
    >>> views.jump(plane, position)
    >>> views.restore()
    """

    def __init__(self, scene: Any, volumeNode: Any | None = None) -> None:
        self._scene = scene
        self._volumeNode = volumeNode
        self._restorers: list[Callable[[], None]] = []

    def sliceNode(self, name: str) -> Any | None:
        """The vtkMRMLSliceNode of a view, or None."""
        nodes = slicer.util.getNodesByClass("vtkMRMLSliceNode", self._scene)
        return next((node for node in nodes if node.GetLayoutName() == name), None)

    def enter(self, layout: bool = True) -> None:
        """Remember how everything is, then show the CT in three slices (``layout``), window 800/300, closely."""
        self.restore()
        self._enterWindow()
        self._enterVolume()
        layoutNode = self._scene.GetFirstNodeByClass("vtkMRMLLayoutNode") if layout else None
        if layoutNode is not None:
            before = layoutNode.GetViewArrangement()
            self._restorers.append(lambda: layoutNode.SetViewArrangement(before))
            layoutNode.SetViewArrangement(layoutNode.SlicerLayoutFourUpView)
        for name in _DEFAULT:
            node = self.sliceNode(name)
            if node is not None:
                _forgetSavedReview(node, _DEFAULT[name])
                self._restorers.append(_rememberSlice(node))
                _zoom(node, FIELD_MM)

    def restore(self) -> None:
        """Everything as it was at :meth:`enter`; nodes that are gone by now are left out; can be called again."""
        while self._restorers:
            self._restorers.pop()()

    def jump(self, plane: AnnulusPlane | None, point: np.ndarray | None = None) -> None:
        """Look at ``point`` (3,) RAS mm; default: the annulus' centre.

        Without a plane the views turn axial, coronal and sagittal through the point.
        """
        turned = frames(plane, point) if plane is not None else {}
        for name, orientation in _DEFAULT.items():
            node = self.sliceNode(name)
            if node is None:
                continue
            wasModified = node.StartModify()
            if plane is not None:
                node.SetXYZOrigin(0.0, 0.0, 0.0)  # what was panned away comes back to the middle
                node.GetSliceToRAS().DeepCopy(turned[name].matrix())
                node.AddSliceOrientationPreset(PRESET, _orientation(turned[name].matrix()))
                node.UpdateMatrices()
            else:
                node.SetOrientation(orientation)
                if point is not None:
                    node.JumpSliceByCentering(*(float(x) for x in point))
            node.EndModify(wasModified)

    def setSlab(self, thicknessMm: float | None) -> None:
        """Maximum intensity over a slab, 5 to 10 mm (what is beyond is cut to that); None: single slices again."""
        for name in _DEFAULT:
            node = self.sliceNode(name)
            if node is None:
                continue
            wasModified = node.StartModify()
            node.SetSlabReconstructionEnabled(thicknessMm is not None)
            if thicknessMm is not None:
                node.SetSlabReconstructionType(node.GetSlabReconstructionTypeFromString("Max"))
                node.SetSlabReconstructionThickness(min(max(float(thicknessMm), SLAB_MM[0]), SLAB_MM[1]))
            node.EndModify(wasModified)

    def _enterVolume(self) -> None:
        """The reviewed CT alone in the three views: what was shown may be another CT, another phase, or nothing."""
        if self._volumeNode is None:
            return
        for node in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode", self._scene):
            if node.GetLayoutName() in _DEFAULT:
                self._restorers.append(_rememberLayers(node))
                node.SetBackgroundVolumeID(self._volumeNode.GetID())
                node.SetForegroundVolumeID(None)

    def _enterWindow(self) -> None:
        display = None if self._volumeNode is None else self._volumeNode.GetScalarVolumeDisplayNode()
        if display is None:
            return
        before = (display.GetAutoWindowLevel(), display.GetWindow(), display.GetLevel())

        def restoreWindow() -> None:
            display.SetWindowLevel(before[1], before[2])
            display.SetAutoWindowLevel(before[0])

        self._restorers.append(restoreWindow)
        display.SetAutoWindowLevel(0)
        display.SetWindowLevel(WINDOW_HU, LEVEL_HU)


def _orientation(matrix: vtk.vtkMatrix4x4) -> vtk.vtkMatrix3x3:
    result = vtk.vtkMatrix3x3()
    for row in range(3):
        for column in range(3):
            result.SetElement(row, column, matrix.GetElement(row, column))
    return result


def _forgetSavedReview(node: Any, orientation: str) -> None:
    """A scene saved in the middle of a review holds turned views: they are not what to go back to."""
    if node.HasSliceOrientationPreset(PRESET):
        node.RemoveSliceOrientationPreset(PRESET)
        if node.HasSliceOrientationPreset(orientation):
            node.SetOrientation(orientation)


def _rememberSlice(node: Any) -> Callable[[], None]:
    matrix = vtk.vtkMatrix4x4()
    matrix.DeepCopy(node.GetSliceToRAS())
    field, origin, size = tuple(node.GetFieldOfView()), tuple(node.GetXYZOrigin()), tuple(node.GetDimensions())
    slab = (
        node.GetSlabReconstructionEnabled(),
        node.GetSlabReconstructionType(),
        node.GetSlabReconstructionThickness(),
    )

    def restoreSlice() -> None:
        wasModified = node.StartModify()
        node.SetXYZOrigin(*origin)
        if tuple(node.GetDimensions()) == size:
            node.SetFieldOfView(*field)
        else:  # the window was resized meanwhile: the smaller side shows as much as before
            _zoom(node, min(field[0], field[1]))
        if node.HasSliceOrientationPreset(PRESET):
            node.RemoveSliceOrientationPreset(PRESET)
        node.GetSliceToRAS().DeepCopy(matrix)
        node.UpdateMatrices()
        node.SetSlabReconstructionEnabled(slab[0])
        node.SetSlabReconstructionType(slab[1])
        node.SetSlabReconstructionThickness(slab[2])
        node.EndModify(wasModified)

    return restoreSlice


def _rememberLayers(node: Any) -> Callable[[], None]:
    background, foreground = node.GetBackgroundVolumeID(), node.GetForegroundVolumeID()

    def restoreLayers() -> None:
        scene = node.GetScene()
        for volumeId, give in ((background, node.SetBackgroundVolumeID), (foreground, node.SetForegroundVolumeID)):
            if not volumeId or (scene is not None and scene.GetNodeByID(volumeId) is not None):
                give(volumeId)

    return restoreLayers


def _zoom(node: Any, smallerSideMm: float) -> None:
    """Set the field of view, in the proportions of the view's pixels."""
    width, height = (max(1, n) for n in node.GetDimensions()[:2])
    scale = smallerSideMm / min(width, height)
    node.SetFieldOfView(width * scale, height * scale, node.GetFieldOfView()[2])
