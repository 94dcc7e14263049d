"""The annulus contour as a closed curve with few enough control points to drag."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
import vtk.util.numpy_support

from fedkdtavi_core import schema
from fedkdtavi_core.annotation import Landmark, Status
from fedkdtavi_core.labels.markups import describe

from .transforms import worldFromNode

LABEL = schema.by_id("annulus_contour")
# As many as reproduce the edge of an annulus (perimeter 60 to 110 mm) by a spline and still can be dragged one by one.
CONTROL_POINTS = 16
_STATUS = "FedKDTAVI.status"


def createContour(points: Any = None, scene: Any = None) -> Any:
    """A new vtkMRMLMarkupsClosedCurveNode.

    Args:
        points: (N, 3) world RAS mm, closed (the last joins the first); None gives an empty curve to draw into.
        scene: the scene of Slicer when left out.
    """
    scene = scene or slicer.mrmlScene
    node = scene.AddNewNodeByClass("vtkMRMLMarkupsClosedCurveNode", scene.GenerateUniqueName(LABEL.name))
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    display.SetSelectedColor(*LABEL.color)
    display.SetColor(*LABEL.color)
    display.SetUseGlyphScale(False)
    display.SetGlyphSize(1.5)
    display.SetPointLabelsVisibility(False)  # sixteen names would hide the curve
    display.SetPropertiesLabelVisibility(False)
    setContourStatus(node, Status.PREDICTED)
    if points is not None:
        writeContour(node, points)
    return node


def writeContour(node: Any, points: Any) -> None:
    """Replace the curve: (N, 3) world RAS mm, or None for an empty one. Control points keep their identity."""
    worldFromNode(node)
    control = np.empty((0, 3)) if points is None else controlPoints(points)
    wasModified = node.StartModify()
    try:
        for index, position in enumerate(control):
            if index < node.GetNumberOfControlPoints():
                node.SetNthControlPointPositionWorld(index, position.tolist())
            else:
                node.AddControlPointWorld(position.tolist(), f"{LABEL.name}-{index + 1}")
        while node.GetNumberOfControlPoints() > len(control):
            node.RemoveNthControlPoint(node.GetNumberOfControlPoints() - 1)
        _describe(node)
    finally:
        node.EndModify(wasModified)


def readContour(node: Any) -> np.ndarray | None:
    """The curve as it is drawn, (M, 3) world RAS mm, closed; None with fewer than three defined points."""
    worldFromNode(node)
    if node.GetNumberOfDefinedControlPoints() < 3:
        return None
    points = node.GetCurvePointsWorld()
    if points is None or points.GetNumberOfPoints() < 3:
        return None
    dense = vtk.util.numpy_support.vtk_to_numpy(points.GetData()).astype(float)
    closed = np.linalg.norm(dense[0] - dense[-1]) < 1e-6  # Slicer repeats the first point at the end
    return dense[:-1].copy() if closed else dense.copy()


def readControlPoints(node: Any) -> np.ndarray:
    """The defined control points, (N, 3) world RAS mm."""
    worldFromNode(node)
    result = []
    for index in range(node.GetNumberOfControlPoints()):
        if node.GetNthControlPointPositionStatus(index) == node.PositionDefined:
            position = [0.0, 0.0, 0.0]
            node.GetNthControlPointPositionWorld(index, position)
            result.append(position)
    return np.array(result, float).reshape(-1, 3)


def controlPoints(points: Any) -> np.ndarray:
    """Points (up to 16, 3) at even distances along a closed curve (N, 3), beginning with its first."""
    points = np.asarray(points, float)
    if len(points) <= CONTROL_POINTS:
        return points.copy()
    around = np.vstack([points, points[:1]])
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(around, axis=0), axis=1))])
    wanted = np.linspace(0.0, along[-1], CONTROL_POINTS, endpoint=False)
    return np.stack([np.interp(wanted, along, around[:, axis]) for axis in range(3)], axis=1)


def contourStatus(node: Any) -> Status:
    """What is known of the contour."""
    text = node.GetAttribute(_STATUS)
    return Status(text) if text in set(Status) else Status.PREDICTED


def setContourStatus(node: Any, status: Status) -> None:
    """Keep with the node what is known of the contour: in an attribute, and in its first point for ``.mrk.json``."""
    node.SetAttribute(_STATUS, str(status))
    _describe(node)


def _describe(node: Any) -> None:
    if node.GetNumberOfControlPoints():
        node.SetNthControlPointDescription(0, describe(Landmark(LABEL.id, status=contourStatus(node))))
