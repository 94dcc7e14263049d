"""Placing one landmark with the next click in a view, as Slicer's own place mode does it."""

from __future__ import annotations

from typing import Any

import slicer

from .landmarkNodes import pointIndex


def startPlacing(landmarkNode: Any, labelId: str) -> None:
    """The next click in a view places this landmark; a point that is there already is moved to it.

    Args:
        landmarkNode: vtkMRMLMarkupsFiducialNode with the landmarks.
        labelId: id of the schema.

    Raises:
        InputError: the node has no such point.
    """
    index = pointIndex(landmarkNode, labelId)
    logic = slicer.modules.markups.logic()
    logic.SetActiveList(landmarkNode)
    # Slicer places the first point without a position from here on.
    landmarkNode.SetControlPointPlacementStartIndex(index)
    logic.StartPlaceMode(False)


def stopPlacing(scene: Any) -> None:
    """Leave place mode, where it is on; clicks turn and scroll the views again."""
    interaction = scene.GetNodeByID("vtkMRMLInteractionNodeSingleton")
    if interaction is not None and interaction.GetCurrentInteractionMode() == interaction.Place:
        interaction.SwitchToViewTransformMode()
