"""A person who presses whatever is allowed: no error, no correction lost, and the panel says what the nodes hold.

FEDKDTAVI_WALK_ACTIONS=1000 walks further than the default.
"""

from __future__ import annotations

import os
import random
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("qt")
import slicer
from pythonqt.modules import enter, leave
from test_review_tracker import drag
from test_smoke import loadedModule, widget  # noqa: F401  (fixtures)

ACTIONS = int(os.environ.get("FEDKDTAVI_WALK_ACTIONS", "25"))
BUTTONS = ("previous", "next", "accept", "absent", "restore", "undo", "redo")


class WindowWalk:
    """Does one random thing after the other; every ``do...`` is what a person can do, in the panel or in Slicer."""

    def __init__(self, widget, folder: Path, annotation, seed: int) -> None:  # noqa: F811
        self.widget = widget
        self.folder = folder
        self.annotation = annotation
        self.random = random.Random(seed)
        self.names = sorted(name for name in dir(self) if name.startswith("do"))

    @property
    def workspace(self):
        return self.widget.window.workspace

    def act(self) -> str:
        """Presses a button of the review most of the time; returns what was done."""
        name = "press" if self.random.random() < 0.6 else self.random.choice(self.names)
        getattr(self, name)()
        return name

    def press(self) -> None:
        button = getattr(self.widget.ui, f"{self.random.choice(BUTTONS)}Button")
        assert button.enabled or button.toolTip, button.name
        button.click()

    def doDrag(self) -> None:
        nodes = self.workspace.caseNodes
        index = self.random.randrange(7)
        if nodes is None:
            return
        defined = nodes.landmarks.GetNthControlPointPositionStatus(index) == nodes.landmarks.PositionDefined
        if defined:
            drag(nodes.landmarks, index, self.random.choice([0.03, 0.5, 3.0]))

    def doLeaveAndEnter(self) -> None:
        before = self.content()
        leave(self.widget)
        enter(self.widget)
        assert self.content() == before

    def doSaveAndLoad(self) -> None:
        before = self.content()
        path = str(self.folder / "scene.mrb")
        assert slicer.util.saveScene(path)
        slicer.mrmlScene.Clear(0)
        assert slicer.mrmlScene.ReadFromMRB(path, True)
        assert self.content() == before

    def doCloseScene(self) -> None:
        slicer.mrmlScene.Clear(0)
        assert self.workspace.session is None
        assert not self.widget.ui.runButton.enabled
        self.begin()

    def doDeleteNode(self) -> None:
        nodes = self.workspace.caseNodes
        if nodes is not None and nodes.ghost is not None:
            slicer.mrmlScene.RemoveNode(nodes.ghost)

    def doExport(self) -> None:
        self.widget.ui.siteFolder.currentPath = str(self.folder)
        if self.widget.ui.exportCaseButton.enabled:
            self.widget.ui.exportCaseButton.click()

    def begin(self) -> None:
        """The sample CT with the model's labels, as after a run."""
        from FedKDTAVILib.caseNodes import CaseNodes

        self.widget.ui.sampleButton.click()
        CaseNodes(self.workspace.parameterNode).showAnnotation(self.annotation)
        self.workspace.openReview()

    def content(self) -> dict | None:
        """Status and position (0.001 mm) of every landmark in the nodes."""
        nodes = self.workspace.caseNodes
        if nodes is None:
            return None
        landmarks = nodes.toAnnotation().landmarks
        return {
            key: (str(one.status), None if one.position is None else tuple(np.round(one.position, 3) + 0.0))
            for key, one in landmarks.items()
        }

    def check(self) -> None:
        """The queue, from which the panel is filled, says what the nodes hold."""
        session, content = self.workspace.session, self.content()
        assert session is not None
        assert content is not None
        assert {key: str(session.queue.state(key).status) for key in content} == {
            key: status for key, (status, _position) in content.items()
        }
        assert self.widget.ui.reviewTable.rowCount == session.queue.total


@pytest.mark.parametrize("seed", [1])
def test_walk(seed: int, widget, annotation, tmp_path: Path, hiddenErrors) -> None:  # noqa: F811
    walk = WindowWalk(widget, tmp_path, annotation, seed)
    walk.begin()
    walk.check()
    done = []
    for _ in range(ACTIONS):
        done.append(walk.act())
        assert hiddenErrors == [], done[-1]
        walk.check()
