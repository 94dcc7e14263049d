"""What the nodes of a case cannot carry: provenance, the prediction, who reviewed what; JSON in a hidden text node.

It lies in the scene file itself and so survives ``.mrb`` and ``.mrml``. Positions are in the CT's own RAS mm, before
the transforms above the CT, so that moving CT and labels together changes nothing.
"""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np

from fedkdtavi_core.labels.jsonfile import plain

from .labelState import Voxels

NAME = "FedKDTAVI case"
VERSION = 1


class CaseState:
    """A dictionary with the keys ``provenance``, ``warnings``, ``prediction``, ``shown``, ``suggestion``,
    ``records`` and ``case``, in a vtkMRMLTextNode.

    Args:
        node: the text node.
    """

    def __init__(self, node: Any) -> None:
        self.node = node

    @staticmethod
    def create(scene: Any) -> CaseState:
        """A new, empty one, hidden from the person."""
        node = scene.AddNewNodeByClass("vtkMRMLTextNode", scene.GenerateUniqueName(NAME))
        node.SetHideFromEditors(True)
        # In the scene file: a file of its own could be left out when the scene is saved.
        node.SetForceCreateStorageNode(node.CreateStorageNodeNever)
        return CaseState(node)

    def read(self) -> dict[str, Any]:
        """The content; empty when somebody broke it."""
        try:
            content = json.loads(self.node.GetText() or "{}")
        except ValueError:
            return {}
        known = isinstance(content, dict) and content.get("version") == VERSION
        return content if known else {}

    def write(self, content: dict[str, Any]) -> None:
        """Replace the content."""
        self.node.SetText(json.dumps(plain({**content, "version": VERSION}), separators=(",", ":"), allow_nan=False))

    def update(self, **parts: Any) -> None:
        """Replace these keys of the content."""
        self.write({**self.read(), **parts})


def packedMask(mask: np.ndarray | None) -> dict[str, Any] | None:
    """A mask (i, j, k) as JSON: its voxels and the shape of its grid; None stays None."""
    if mask is None:
        return None
    voxels = Voxels.of(mask)
    return {
        "grid": list(mask.shape),
        "start": list(voxels.start),
        "shape": list(voxels.shape),
        "bits": base64.b64encode(voxels.bits).decode("ascii"),
    }


def unpackedMask(packed: dict[str, Any] | None) -> np.ndarray | None:
    """What :func:`packedMask` packed, uint8 (i, j, k)."""
    if packed is None:
        return None
    voxels = Voxels(tuple(packed["start"]), tuple(packed["shape"]), base64.b64decode(packed["bits"]))
    return voxels.mask(tuple(packed["grid"]))
