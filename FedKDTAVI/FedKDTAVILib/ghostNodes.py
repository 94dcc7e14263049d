"""The prediction as it was, beside what a person makes of it: small, translucent, locked."""

from __future__ import annotations

from typing import Any

from slicer.i18n import tr as _

from fedkdtavi_core import schema

from .landmarkNodes import addPoint

# Read by those who fit views to what is shown: the ghost does not count.
NOT_FITTED = "FedKDTAVI.notFitted"


def createGhostNode(landmarkNode: Any) -> Any:
    """A new vtkMRMLMarkupsFiducialNode, under the same transform as the landmarks, that nobody can move."""
    scene = landmarkNode.GetScene()
    node = scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", scene.GenerateUniqueName(_("Predicted landmarks")))
    node.SetAndObserveTransformNodeID(landmarkNode.GetTransformNodeID())
    node.CreateDefaultDisplayNodes()
    for label in schema.LANDMARKS:
        addPoint(node, label)
    node.SetFixedNumberOfControlPoints(True)
    node.SetLocked(True)
    node.SetSelectable(False)
    node.SetAttribute(NOT_FITTED, "1")
    display = node.GetDisplayNode()
    display.SetGlyphType(display.Sphere3D)
    display.SetUseGlyphScale(False)
    display.SetGlyphSize(2.0)
    display.SetOpacity(0.35)
    display.SetPointLabelsVisibility(False)
    display.SetHandlesInteractive(False)
    display.SetSelectedColor(0.6, 0.6, 0.6)
    display.SetColor(0.6, 0.6, 0.6)
    return node
