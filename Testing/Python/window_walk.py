"""A person who presses whatever is allowed, at random, in a process of its own.

    python Testing/Python/window_walk.py SEED ACTIONS FOLDER

After every action there was no error, no correction was lost, and the panel says what the nodes hold; otherwise it ends
with the actions that led there.
"""

from __future__ import annotations

import random
import sys
import time
import traceback
from pathlib import Path

import numpy as np

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPOSITORY / "Testing" / "host"), str(REPOSITORY / "Testing" / "Python")]
import pythonqt  # noqa: E402

pythonqt.start()
import slicer  # noqa: E402
from pythonqt.modules import enter, leave  # noqa: E402
from test_review_tracker import drag, snap  # noqa: E402

REVIEWED = ("absent", "corrected", "confirmed")
BUTTONS = ("previous", "next", "accept", "absent", "restore", "undo", "redo")


class WindowWalk:
    """Does one random thing after the other; every ``do...`` is what a person can do, in the panel or in Slicer."""

    def __init__(self, widget, folder: Path, seed: int) -> None:
        self.widget = widget
        self.folder = folder
        self.annotation = None
        self.random = random.Random(seed)
        self.answer: int | None = 0  # to "Shall a new run keep what was reviewed?"
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

    def doSnap(self) -> None:
        nodes = self.workspace.caseNodes
        index = self.random.randrange(7)
        if nodes is None or nodes.landmarks.GetNthControlPointPositionStatus(index) != nodes.landmarks.PositionDefined:
            return
        snap(nodes.landmarks, index, self.random.choice([0.03, 2.0]))
        self.random.choice([self.press, slicer.app.processEvents])()
        slicer.app.processEvents()

    def doPaint(self) -> None:
        nodes = self.workspace.caseNodes
        if nodes is None or nodes.volume is None:
            return
        from FedKDTAVILib.calcificationNodes import readMask

        mask = readMask(nodes.segmentation, nodes.volume)
        corner = [self.random.randrange(size - 4) for size in mask.shape]
        mask[tuple(slice(first, first + 4) for first in corner)] = self.random.random() < 0.7
        slicer.util.updateSegmentBinaryLabelmapFromArray(mask.T, nodes.segmentation, "calcification", nodes.volume)

    def doSwitchCt(self) -> None:
        """Another CT is chosen, and mine again: its labels are where they were, and never on the other."""
        mine, before = self.workspace.volumeNode, self.content()
        other = next((node for node in slicer.util.getNodesByClass(mine.GetClassName()) if node is not mine), None)
        if other is None:
            self.widget.ui.sampleButton.click()
        else:
            self.widget.ui.inputSelector.setCurrentNode(other)
        assert self.workspace.volumeNode is not mine
        assert self.workspace.session is None
        assert mine.GetName() in self.widget.ui.reviewLabel.text
        self.random.choice([self.press, lambda: None])()
        self.widget.ui.inputSelector.setCurrentNode(mine)
        assert self.content() == before

    def doRun(self) -> None:
        """The child runs for real; what a person reviewed stays, or the run is cancelled half-way."""
        before = self.content()
        self.answer = self.random.choice([0, 0, 1, None])
        sys.modules["FedKDTAVILib.widget.dialogs"].choose = lambda *_: self.answer
        self.widget.ui.runButton.click()
        if self.answer is None and self.workspace.busy:
            self.wait(self.random.random())
            self.widget.ui.cancelButton.click()
        reviewed = {key for key, (status, _) in before.items() if status in REVIEWED}
        self.wait(60.0)
        assert not self.workspace.busy, "the run never ended"
        assert self.workspace.problem == ""
        after = self.content()
        if self.answer == 0:
            assert {key: after[key] for key in reviewed} == {key: before[key] for key in reviewed}
        if self.answer is None and reviewed:
            assert after == before

    def wait(self, seconds: float) -> None:
        """Let the window work until the run has ended, at most so long."""
        end = time.monotonic() + seconds
        while self.workspace.busy and time.monotonic() < end:
            slicer.app.processEvents()
            time.sleep(0.005)

    def doReload(self) -> None:
        before = self.content()
        if self.random.random() < 0.5 and not any(status in REVIEWED for status, _ in before.values()):
            self.widget.ui.runButton.click()
            self.wait(0.3)
        self.widget.onReload()
        self.widget = slicer.modules.FedKDTAVIWidget
        assert self.content() == before

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
        if self.annotation is None:
            self.widget.ui.runButton.click()
            self.wait(60.0)
            self.annotation = self.workspace.caseNodes.toAnnotation()
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
        from FedKDTAVILib.calcificationNodes import readMask
        from FedKDTAVILib.labelState import Voxels

        session, content = self.workspace.session, self.content()
        assert session is not None
        assert content is not None
        assert {key: str(session.queue.state(key).status) for key in content} == {
            key: status for key, (status, _position) in content.items()
        }
        nodes = self.workspace.caseNodes
        painted = Voxels.of(readMask(nodes.segmentation, nodes.volume))
        assert (session.queue.state("calcification").value or Voxels()) == painted
        assert self.widget.ui.reviewTable.rowCount == session.queue.total


def main(seed: int, actions: int, folder: Path) -> int:
    """Walk; returns the exit code."""
    errors: list[BaseException] = []

    def hook(kind, error, trace) -> None:
        """What is raised in slots and observers is only printed, otherwise."""
        errors.append(error)
        traceback.print_exception(kind, error, trace)

    sys.excepthook = hook
    walk = WindowWalk(pythonqt.loadModule(REPOSITORY / "FedKDTAVI" / "FedKDTAVI.py").widget, folder, seed)
    walk.begin()
    walk.check()
    done: list[str] = []
    try:
        while len(done) < actions and not errors:
            done.append("?")
            done[-1] = walk.act()
            walk.check()
        leave(walk.widget)
        walk.widget.cleanup()
        end = time.monotonic() + 1.2
        while time.monotonic() < end:  # a run that was given up with an old panel ends
            slicer.app.processEvents()
    finally:
        print(f"seed {seed}, {len(done)} actions, the last of them {done[-12:]}", file=sys.stderr)
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])))
