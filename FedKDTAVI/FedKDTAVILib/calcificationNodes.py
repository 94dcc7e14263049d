"""The calcification as a segment: written on the CT's own voxels, read back onto them whatever Slicer cropped."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
import vtk
import vtk.util.numpy_support
from slicer.i18n import tr as _

from fedkdtavi_core import schema
from fedkdtavi_core.annotation import Status
from fedkdtavi_core.errors import InputError
from fedkdtavi_core.labels.annotated import mask_digest
from fedkdtavi_core.labels.segmentation import NOT_ASSESSED, STATUS_TAG, bounding_box, onto_grid, terminology
from fedkdtavi_core.volume import Grid

from .transforms import toArray, toMatrix, worldFromNode
from .volumes import localAffine, worldGrid

LABEL = schema.by_id("calcification")
_TERMINOLOGY_TAG = "TerminologyEntry"


def createSegmentation(volumeNode: Any, mask: np.ndarray | None) -> Any:
    """A new vtkMRMLSegmentationNode with the segment ``calcification``, under the same transform as the CT.

    Args:
        volumeNode: the CT; its voxels become the segmentation's reference geometry.
        mask: uint8 (i, j, k) on the CT's grid, anything but 0 belongs to the segment; None: not assessed.
    """
    scene = volumeNode.GetScene()
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", scene.GenerateUniqueName(_("Calcification")))
    node.CreateDefaultDisplayNodes()
    node.SetAndObserveTransformNodeID(volumeNode.GetTransformNodeID())
    node.SetReferenceImageGeometryParameterFromVolumeNode(volumeNode)
    segmentation = node.GetSegmentation()
    segmentation.SetSourceRepresentationName(
        slicer.vtkSegmentationConverter.GetSegmentationBinaryLabelmapRepresentationName()
    )
    segmentation.AddEmptySegment(LABEL.id, LABEL.name, LABEL.color)
    segmentation.GetSegment(LABEL.id).SetTag(_TERMINOLOGY_TAG, terminology(LABEL))
    writeMask(node, volumeNode, mask)
    node.GetDisplayNode().SetOpacity2DFill(0.4)
    return node


def writeMask(segmentationNode: Any, volumeNode: Any, mask: np.ndarray | None, status: Status | None = None) -> None:
    """Replace the segment's voxels.

    Args:
        segmentationNode: as :func:`createSegmentation` made it; a removed segment is made again.
        volumeNode: the CT that ``mask`` (i, j, k) lies on.
        mask: as in :func:`createSegmentation`.
        status: what is known of it; PREDICTED when left out.
    """
    segmentation = segmentationNode.GetSegmentation()
    segmentId = _segmentId(segmentationNode)
    if segmentId is None:
        segmentId = segmentation.AddEmptySegment(LABEL.id, LABEL.name, LABEL.color)
        segmentation.GetSegment(segmentId).SetTag(_TERMINOLOGY_TAG, terminology(LABEL))
    image = _orientedImage(mask, volumeNode, worldFromNode(segmentationNode))
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    if image is None:
        logic.ClearSegment(segmentationNode, segmentId)
    elif not logic.SetBinaryLabelmapToSegment(image, segmentationNode, segmentId, logic.MODE_REPLACE):
        raise InputError(_("{name}: refused the voxels; run again.").format(name=segmentationNode.GetName()))
    tag = NOT_ASSESSED if mask is None else str(status or Status.PREDICTED)
    segmentation.GetSegment(segmentId).SetTag(STATUS_TAG, tag)


def readMask(segmentationNode: Any, volumeNode: Any) -> np.ndarray:
    """The segment on the CT's grid, uint8 (i, j, k), 0 or 1; pasted where both share their voxels, else resampled.

    Raises:
        InputError: the segment is gone, or a non-linear transform stands above the segmentation or the CT.
    """
    segmentId = _segmentId(segmentationNode)
    if segmentId is None:
        raise InputError(
            _("{node}: holds no segment {name}; undo its removal or run again.").format(
                node=segmentationNode.GetName(), name=LABEL.name
            )
        )
    grid = worldGrid(volumeNode)
    world = worldFromNode(segmentationNode)
    segmentation = segmentationNode.GetSegmentation()
    kind = slicer.vtkSegmentationConverter.GetSegmentationBinaryLabelmapRepresentationName()
    if not segmentation.ContainsRepresentation(kind) and not segmentation.CreateRepresentation(kind):
        return np.zeros(grid.shape, np.uint8)  # nothing has been painted
    image = segmentationNode.GetBinaryLabelmapInternalRepresentation(segmentId)
    scalars = None if image is None else image.GetPointData().GetScalars()
    if scalars is None or 0 in image.GetDimensions():
        return np.zeros(grid.shape, np.uint8)
    # Segments may share a labelmap: only this one's value counts.
    value = segmentation.GetSegment(segmentId).GetLabelValue()
    array = value == vtk.util.numpy_support.vtk_to_numpy(scalars).reshape(image.GetDimensions()[::-1]).T
    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    start = np.eye(4)  # the array begins at the extent's first voxel, the matrix at voxel 0
    start[:3, 3] = image.GetExtent()[::2]
    return onto_grid(array, Grid(array.shape, world @ toArray(matrix) @ start), grid)[0]


def maskDigest(mask: np.ndarray | None) -> str | None:
    """Digest of which voxels of (i, j, k) are set, whatever order they lie in memory; None when not assessed."""
    return mask_digest(mask)


def calcificationStatus(segmentationNode: Any) -> Status | None:
    """What is known of the segment; None: nobody has assessed it yet, or it is gone."""
    segmentId = _segmentId(segmentationNode)
    if segmentId is None:
        return None
    tag = vtk.reference("")
    found = segmentationNode.GetSegmentation().GetSegment(segmentId).GetTag(STATUS_TAG, tag)
    return Status(str(tag)) if found and str(tag) in set(Status) else None


def setCalcificationStatus(segmentationNode: Any, status: Status | None) -> None:
    """Keep in the segment's tags what is known of it; None: not assessed."""
    segment = segmentationNode.GetSegmentation().GetSegment(_segmentId(segmentationNode))
    segment.SetTag(STATUS_TAG, NOT_ASSESSED if status is None else str(status))


def _segmentId(segmentationNode: Any) -> str | None:
    """The segment by its id, else by its name."""
    segmentation = segmentationNode.GetSegmentation()
    if segmentation.GetSegment(LABEL.id) is not None:
        return LABEL.id
    return segmentation.GetSegmentIdBySegmentName(LABEL.name) or None


def _orientedImage(mask: np.ndarray | None, volumeNode: Any, segmentationToWorld: np.ndarray) -> Any:
    """The painted box as vtkOrientedImageData in the segmentation's coordinates; None when nothing is painted."""
    box = None if mask is None else bounding_box(mask)
    if mask is None or box is None:
        return None
    if mask.shape != tuple(volumeNode.GetImageData().GetDimensions()):
        raise ValueError(f"the mask's shape {mask.shape} is not the CT's")
    image = slicer.vtkOrientedImageData()
    image.SetExtent([edge for part in box for edge in (part.start, part.stop - 1)])
    image.SetImageToWorldMatrix(
        toMatrix(np.linalg.inv(segmentationToWorld) @ worldFromNode(volumeNode) @ localAffine(volumeNode))
    )
    flat = np.ascontiguousarray((mask[box] != 0).T, np.uint8).ravel()
    scalars = vtk.util.numpy_support.numpy_to_vtk(flat, deep=True, array_type=vtk.VTK_UNSIGNED_CHAR)
    image.GetPointData().SetScalars(scalars)
    return image
