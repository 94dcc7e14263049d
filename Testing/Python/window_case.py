"""What the tests of the window share: the module's widget, and the widget with the sample case in review."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("qt")
from pythonqt import loadModule
from pythonqt.modules import leave

from FedKDTAVILib.caseNodes import CaseNodes

MODULE = Path(__file__).resolve().parents[2] / "FedKDTAVI" / "FedKDTAVI.py"


@pytest.fixture
def widget(scene):
    """The module's widget, just opened, on an empty scene."""
    opened = loadModule(MODULE).widget
    yield opened
    if opened.parent.isEntered:
        leave(opened)
    opened.cleanup()


@pytest.fixture
def case(widget, ctVolumeNode, annotation):
    """The widget with the sample CT chosen and annotated."""
    workspace = widget.window.workspace
    workspace.parameterNode.inputVolume = ctVolumeNode
    CaseNodes(workspace.parameterNode).showAnnotation(annotation)
    workspace.openReview()
    assert workspace.problem == ""
    return widget


def texts(table) -> list[list[str]]:
    return [[table.item(row, column).text() for column in range(table.columnCount)] for row in range(table.rowCount)]
