"""A review at random: after every action queue and nodes agree, and undoing everything brings back the prediction."""

from __future__ import annotations

import random

import numpy as np
import pytest
import slicer
from test_review_session import content
from test_review_tracker import drag, observedEvents, snap

from fedkdtavi_core import schema
from FedKDTAVILib import calcificationNodes, contourNodes, landmarkNodes
from FedKDTAVILib.reviewNodes import CALCIFICATION, CONTOUR, ReviewNodes
from FedKDTAVILib.reviewSession import ReviewSession

ACTIONS = 40


class Walker:
    """Does one random thing after the other to a session and its nodes."""

    def __init__(self, session: ReviewSession, seed: int) -> None:
        self.session = session
        self.case = session.case
        self.random = random.Random(seed)

    def act(self) -> str:
        """One of the methods below; returns its name."""
        name = self.random.choice([name for name in dir(self) if name.startswith("do")])
        getattr(self, name)()
        return name

    def doDrag(self) -> None:
        index = self.random.randrange(7)
        if self.case.landmarks.GetNthControlPointPositionStatus(index) == self.case.landmarks.PositionDefined:
            drag(self.case.landmarks, index, self.random.choice([0.0, 0.03, 0.5, 3.0]))

    def doSnap(self) -> None:
        """The key "s" over a point, and then whatever key of the review."""
        index = self.random.randrange(7)
        if self.case.landmarks.GetNthControlPointPositionStatus(index) == self.case.landmarks.PositionDefined:
            snap(self.case.landmarks, index, self.random.choice([0.0, 0.03, 2.0]))
            self.random.choice([self.doSelect, self.doAccept, self.doMarkAbsent, self.doRestore, self.doUndo])()

    def doDragContour(self) -> None:
        count = self.case.contour.GetNumberOfControlPoints()
        if count:
            drag(self.case.contour, self.random.randrange(count), self.random.choice([0.0, 1.0]))

    def doPlace(self) -> None:
        node, (x, y, z) = self.case.landmarks, (self.random.uniform(-9, 9) for _ in range(3))
        empty = [i for i in range(7) if node.GetNthControlPointPositionStatus(i) != node.PositionDefined]
        if empty:  # only what is not there can be placed
            node.SetNthControlPointPositionWorld(self.random.choice(empty), x, y, z)

    def doDelete(self) -> None:
        self.case.landmarks.UnsetNthControlPointPosition(self.random.randrange(7))

    def doDeleteKey(self) -> None:
        self.session.deletePoint(self.random.randrange(7))

    def doPaint(self) -> None:
        """As the segment editor paints: voxels alone, no status."""
        mask = calcificationNodes.readMask(self.case.segmentation, self.case.volume)
        first = [self.random.randrange(n - 4) for n in mask.shape]
        mask[tuple(slice(f, f + 4) for f in first)] = self.random.random() < 0.7
        slicer.util.updateSegmentBinaryLabelmapFromArray(
            mask.T, self.case.segmentation, CALCIFICATION, self.case.volume
        )

    def doSelect(self) -> None:
        self.session.select(self.random.choice(self.session.queue.order))

    def doAccept(self) -> None:
        self.session.accept(advance=self.random.random() < 0.5)

    def doMarkAbsent(self) -> None:
        self.session.markAbsent()

    def doRestore(self) -> None:
        self.session.restorePrediction()

    def doUndo(self) -> None:
        self.session.undo()

    def doRedo(self) -> None:
        self.session.redo()


def agree(session: ReviewSession) -> None:
    """What the queue says is what the nodes hold."""
    case, queue, nodes = session.case, session.queue, ReviewNodes(session.case)
    for labelId in schema.LANDMARK_IDS:
        landmark, state = landmarkNodes.pointState(case.landmarks, labelId), queue.state(labelId)
        assert landmark.status is state.status, labelId
        assert (landmark.position is None) == (state.value is None), labelId
        assert state.value is None or np.allclose(landmark.position, state.value, atol=1e-6), labelId
    assert nodes.readVoxels() == queue.state(CALCIFICATION).value
    assert calcificationNodes.calcificationStatus(case.segmentation) is queue.status(CALCIFICATION)
    assert contourNodes.contourStatus(case.contour) is queue.status(CONTOUR)
    curve = queue.state(CONTOUR).value
    assert (nodes.readCurve() is None) == (curve is None)
    assert curve is None or np.allclose(nodes.readCurve(), curve, atol=1e-6)
    reviewed = {i for i in queue.order if queue.state(i).reviewed}
    assert set(case.state.read()["records"]) == reviewed
    assert queue.progressText == f"{len(reviewed)} of {len(queue.order)} reviewed"


@pytest.mark.parametrize("seed", [1, 2])
def test_review_at_random(caseNodes, seed: int) -> None:
    targets = (caseNodes.landmarks, caseNodes.contour, caseNodes.segmentation.GetSegmentation())
    before = [observedEvents(target) for target in targets]
    start = content(caseNodes)
    session = ReviewSession(caseNodes, reviewer="walker")
    walker = Walker(session, seed)
    done = []
    for _ in range(ACTIONS):
        done.append(walker.act())
        try:
            agree(session)
        except AssertionError as error:
            raise AssertionError(f"after {done}: {error}") from error
    assert len(set(done)) > 6
    end = content(caseNodes)
    steps = 0
    while session.undo() is not None:
        steps += 1
    assert content(caseNodes) == start
    agree(session)
    for _ in range(steps):
        session.redo()
    assert content(caseNodes) == end
    session.end()
    assert [observedEvents(target) for target in targets] == before
