"""The seven landmarks as one list of control points, in the schema's order; status and confidence in descriptions.

A point's description is the JSON object of :mod:`fedkdtavi_core.labels.markups`, with the plausibility check's flags
added, which files leave out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import slicer
from slicer.i18n import tr as _

from fedkdtavi_core import schema
from fedkdtavi_core.annotation import Landmark, Status
from fedkdtavi_core.errors import InputError
from fedkdtavi_core.labels.markups import collect_landmarks, describe, description_of

from .transforms import worldFromNode

_COLOR = (1.0, 0.8, 0.2)
_STATUSES = {
    slicer.vtkMRMLMarkupsNode.PositionDefined: "defined",
    slicer.vtkMRMLMarkupsNode.PositionMissing: "missing",
}


def createLandmarkNode(scene: Any = None) -> Any:
    """A new vtkMRMLMarkupsFiducialNode with one unset, fixed control point for every landmark of the schema."""
    scene = scene or slicer.mrmlScene
    node = scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", scene.GenerateUniqueName(_("Landmarks")))
    node.CreateDefaultDisplayNodes()
    for label in schema.LANDMARKS:
        addPoint(node, label)
    node.SetFixedNumberOfControlPoints(True)
    display = node.GetDisplayNode()
    display.SetSelectedColor(*_COLOR)
    display.SetColor(*_COLOR)
    display.SetGlyphType(display.Sphere3D)
    display.SetUseGlyphScale(False)
    display.SetGlyphSize(3.0)
    display.SetTextScale(3.0)
    display.SetPointLabelsVisibility(True)
    display.SetSnapMode(display.SnapModeUnconstrained)  # a hinge point lies in blood, not on a surface
    return node


def addPoint(node: Any, label: schema.Label) -> int:
    """Append an unset control point for a landmark of the schema; returns its index."""
    index = node.AddControlPoint(0.0, 0.0, 0.0, label.name)
    node.UnsetNthControlPointPosition(index)
    node.SetNthControlPointLabel(index, label.name)
    node.SetNthControlPointDescription(index, describe(Landmark(label.id)))
    return index


def pointIndex(node: Any, labelId: str) -> int:
    """The control point of a landmark, by the id in its description, else by its name on screen.

    Raises:
        InputError: the node has no such point any more.
    """
    points = [_point(node, index) for index in range(node.GetNumberOfControlPoints())]
    for index, point in enumerate(points):
        if description_of(point).get("id") == labelId:
            return index
    name = schema.by_id(labelId).name
    for index, point in enumerate(points):
        if point["label"].strip() == name:
            return index
    raise InputError(
        _("{node}: holds no point {name}; undo its removal or run again.").format(node=node.GetName(), name=name)
    )


def setPointState(
    node: Any,
    labelId: str,
    position: Any,
    status: Status,
    confidence: float | None = None,
    flags: list[str] | None = None,
) -> None:
    """Set one landmark.

    Args:
        node: the landmarks.
        labelId: row of the schema.
        position: (3,) world RAS mm; None leaves the point unset, or missing when ``status`` is absent.
        status: see :class:`~fedkdtavi_core.annotation.Status`.
        confidence: 0..1, None for points a person set.
        flags: sentences of the plausibility check.

    Raises:
        InputError: the node has no such point, or stands under a non-linear transform.
    """
    worldFromNode(node)
    index = pointIndex(node, labelId)
    description = json.loads(describe(Landmark(labelId, None, confidence, None, status)))
    if flags:
        description["flags"] = list(flags)
    wasModified = node.StartModify()
    try:
        locked = node.GetNthControlPointLocked(index)
        if locked:  # a locked point refuses to be set by its position, from programs as well
            node.SetNthControlPointLocked(index, False)
        node.SetNthControlPointLabel(index, schema.by_id(labelId).name)
        node.SetNthControlPointDescription(index, json.dumps(description, separators=(",", ":")))
        if status is Status.ABSENT:
            node.SetNthControlPointPositionMissing(index)
        elif position is None:
            node.UnsetNthControlPointPosition(index)
        else:
            node.SetNthControlPointPositionWorld(index, [float(x) for x in position])
        if locked:
            node.SetNthControlPointLocked(index, True)
    finally:
        node.EndModify(wasModified)


def pointState(node: Any, labelId: str) -> Landmark:
    """One landmark as it is now, in world RAS mm. Raises InputError as :func:`readLandmarks`."""
    return readLandmarks(node)[labelId]


def writeLandmarks(node: Any, landmarks: Mapping[str, Landmark]) -> None:
    """Set all points of a landmark node (world RAS mm); points that were removed are made again."""
    wasModified = node.StartModify()
    try:
        for label in schema.LANDMARKS:
            _ensurePoint(node, label)
            landmark = landmarks.get(label.id) or Landmark(label.id)
            setPointState(
                node, label.id, landmark.position, landmark.status, landmark.confidence, landmark.flags or None
            )
    finally:
        node.EndModify(wasModified)


def readLandmarks(node: Any) -> dict[str, Landmark]:
    """All landmarks of the schema, in its order, in world RAS mm; what has no point is missing.

    Covariances are not in the scene and are None.

    Raises:
        InputError: two points for one landmark, no landmark at all, or a non-linear transform above the node.
    """
    worldFromNode(node)
    points = [_point(node, index) for index in range(node.GetNumberOfControlPoints())]
    landmarks = collect_landmarks(Path(node.GetName()), points, np.ones(3)).landmarks
    for point in points:
        described = description_of(point)
        flags = described.get("flags")
        if described.get("id") in landmarks and isinstance(flags, list):
            landmarks[described["id"]].flags = [str(flag) for flag in flags]
    return landmarks


def _ensurePoint(node: Any, label: schema.Label) -> None:
    try:
        pointIndex(node, label.id)
    except InputError:
        fixed = node.GetFixedNumberOfControlPoints()
        node.SetFixedNumberOfControlPoints(False)
        addPoint(node, label)
        node.SetFixedNumberOfControlPoints(fixed)


def _point(node: Any, index: int) -> dict[str, Any]:
    """A control point with the keys of the file format, its position in world RAS mm."""
    status = _STATUSES.get(node.GetNthControlPointPositionStatus(index), "undefined")
    position: Any = ""
    if status == "defined":
        position = [0.0, 0.0, 0.0]
        node.GetNthControlPointPositionWorld(index, position)
    return {
        "label": node.GetNthControlPointLabel(index) or "",
        "description": node.GetNthControlPointDescription(index) or "",
        "position": position,
        "positionStatus": status,
    }
