"""Where a node lies in the world: the linear transforms above it as one matrix."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _

from fedkdtavi_core.errors import InputError


def toArray(matrix: vtk.vtkMatrix4x4) -> np.ndarray:
    """A (4, 4) copy of a vtkMatrix4x4."""
    return np.array([[matrix.GetElement(row, column) for column in range(4)] for row in range(4)])


def toMatrix(array: np.ndarray) -> vtk.vtkMatrix4x4:
    """A vtkMatrix4x4 with the values of a (4, 4) array."""
    matrix = vtk.vtkMatrix4x4()
    matrix.DeepCopy([float(value) for value in np.asarray(array, float).ravel()])
    return matrix


def isLinear(node: Any) -> bool:
    """Do only linear transforms stand above this vtkMRMLTransformableNode?"""
    parent = node.GetParentTransformNode()
    return parent is None or bool(parent.IsTransformToWorldLinear())


def worldFromNode(node: Any) -> np.ndarray:
    """(4, 4) matrix from a transformable node's own RAS mm to world RAS mm.

    Raises:
        InputError: a non-linear transform stands above it.
    """
    if not isLinear(node):
        raise InputError(
            _("{name}: stands under a non-linear transform; harden or remove the transform first.").format(
                name=node.GetName()
            )
        )
    matrix = vtk.vtkMatrix4x4()
    slicer.vtkMRMLTransformNode.GetMatrixTransformBetweenNodes(node.GetParentTransformNode(), None, matrix)
    return toArray(matrix)


def transformed(matrix: np.ndarray, points: Any) -> np.ndarray:
    """Points (..., 3) in mm through a (4, 4) matrix."""
    return np.asarray(points, float) @ matrix[:3, :3].T + matrix[:3, 3]
