"""Drags in a review: none is undone while the mouse holds it, and none whose end never came is lost."""

from __future__ import annotations

import numpy as np
import pytest
import slicer
from test_review_session import content, dragLandmark
from test_review_tracker import drag, snap

from fedkdtavi_core.annotation import Status
from FedKDTAVILib import landmarkNodes
from FedKDTAVILib.placing import Placing
from FedKDTAVILib.reviewSession import ReviewSession

MOVED = "ostium_lca"


@pytest.fixture
def session(caseNodes):
    session = ReviewSession(caseNodes)
    yield session
    session.end()


def snapMoved(case) -> None:
    snap(case.landmarks, landmarkNodes.pointIndex(case.landmarks, MOVED), 2.0)


def test_no_undo_during_a_drag(caseNodes) -> None:
    session = ReviewSession(caseNodes, buttonHeld=lambda: True)
    session.accept()
    caseNodes.landmarks.InvokeCustomModifiedEvent(caseNodes.landmarks.PointStartInteractionEvent)
    assert session.interacting
    assert session.undo() is None
    caseNodes.landmarks.InvokeCustomModifiedEvent(caseNodes.landmarks.PointEndInteractionEvent)
    assert session.undo() is not None
    session.end()


@pytest.mark.parametrize(
    "act",
    [
        lambda session, case: session.accept(),
        lambda session, case: (session.select("ms_upper"), session.markAbsent()),
        lambda session, case: (session.select("ms_upper"), session.restorePrediction()),
        lambda session, case: session.next(),
        lambda session, case: session.settle(),
        lambda session, case: drag(case.contour, 3, 2.0),
        lambda session, case: dragLandmark(case, "ms_lower", 2.0),
        lambda session, case: Placing(slicer.mrmlScene).start(session, "ms_lower"),
        lambda session, case: session.redo(),
    ],
    ids=["accept", "absent", "restore", "next", "settle", "contour", "drag", "place", "redo"],
)
def test_a_drag_without_an_end_is_kept(session, caseNodes, act) -> None:
    session.select(MOVED)
    before = content(caseNodes)
    snapMoved(caseNodes)
    act(session, caseNodes)
    assert not session.interacting
    landmark = landmarkNodes.pointState(caseNodes.landmarks, MOVED)
    ghost = landmarkNodes.pointState(caseNodes.ghost, MOVED).position
    assert np.linalg.norm(landmark.position - ghost) == pytest.approx(2.0)
    assert landmark.status is session.queue.status(MOVED) is Status.CORRECTED
    while session.undo() is not None:
        pass
    assert content(caseNodes) == before


def test_undo_takes_back_a_drag_without_an_end(session, caseNodes) -> None:
    session.select("ms_upper")
    session.accept()
    before = content(caseNodes)
    snapMoved(caseNodes)
    assert session.undo().text == "Move LM"
    assert content(caseNodes) == before
    assert session.undoText.startswith("Accept")


def test_a_drag_without_an_end_is_noticed_at_once(caseNodes) -> None:
    held, calls = [True], []
    session = ReviewSession(caseNodes, buttonHeld=lambda: held[0], later=calls.append)
    snapMoved(caseNodes)
    calls.pop()()
    assert session.interacting and session.undo() is None and session.undoText == ""  # the mouse drags it
    held[0] = False
    session.finishDrag()
    assert session.queue.status(MOVED) is Status.CORRECTED
    session.end()
