"""The way of a reader through the whole module: a CT, its labels, the review, the export, and back again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("qt")
import slicer
from pythonqt import loadModule
from pythonqt.modules import enter, leave

MODULE = Path(__file__).resolve().parents[2] / "FedKDTAVI" / "FedKDTAVI.py"


@pytest.fixture(scope="session")
def loadedModule():
    """The module, loaded once: what it registers with Slicer stays for the process."""
    module = loadModule(MODULE)
    leave(module.widget)
    return module


@pytest.fixture
def widget(scene, loadedModule):
    enter(loadedModule.widget)
    loadedModule.widget.window.workspace.settings.reviewer = "reader-1"
    yield loadedModule.widget
    leave(loadedModule.widget)


@pytest.fixture
def reviewed(widget, annotation):
    """The sample CT with its labels, every one of them accepted with the panel's button."""
    from FedKDTAVILib.caseNodes import CaseNodes

    workspace = widget.window.workspace
    widget.ui.sampleButton.click()
    CaseNodes(workspace.parameterNode).showAnnotation(annotation)
    workspace.openReview()
    for _ in workspace.session.queue.order:
        widget.ui.acceptButton.click()
    return widget


def test_from_ct_to_site_case_and_back(reviewed, tmp_path: Path) -> None:
    ui, workspace = reviewed.ui, reviewed.window.workspace
    queue = workspace.session.queue
    assert queue.reviewedCount == queue.total
    position = workspace.caseNodes.toAnnotation().landmarks["hinge_rcc"].position

    ui.siteFolder.currentPath = str(tmp_path)
    assert ui.exportCaseButton.enabled, ui.exportCaseButton.toolTip
    ui.exportCaseButton.click()
    assert workspace.problem == ""
    (case,) = (tmp_path / "cases").iterdir()
    record = json.loads((case / "labels.json").read_text(encoding="utf-8"))
    assert "reader-1" in json.dumps(record)

    slicer.mrmlScene.Clear(0)
    assert workspace.session is None
    from FedKDTAVILib.caseOpening import openCase

    openCase(case, workspace.parameterNode)
    again = workspace.caseNodes.toAnnotation().landmarks["hinge_rcc"]
    assert again.status == "confirmed"
    assert again.position == pytest.approx(position, abs=1e-3)


def test_module_leaves_no_observer(widget, annotation) -> None:
    from FedKDTAVILib.caseNodes import CaseNodes

    widget.ui.sampleButton.click()
    nodes = CaseNodes(widget.window.workspace.parameterNode)
    nodes.showAnnotation(annotation)
    points = nodes.landmarks
    assert not points.HasObserver(points.PointStartInteractionEvent)
    widget.window.workspace.openReview()
    assert points.HasObserver(points.PointStartInteractionEvent)
    leave(widget)
    assert not points.HasObserver(points.PointStartInteractionEvent)
    enter(widget)
