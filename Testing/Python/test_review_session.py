"""A review on the real nodes of the sample CT's annotation."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
import slicer
from test_review_tracker import drag, observedEvents

from fedkdtavi_core.annotation import Status
from FedKDTAVILib import calcificationNodes, contourNodes, landmarkNodes
from FedKDTAVILib.caseNodes import CaseNodes
from FedKDTAVILib.labelState import Voxels
from FedKDTAVILib.reviewSession import ReviewSession
from FedKDTAVILib.siteCase import exportCase, openCase


@pytest.fixture
def session(caseNodes):
    session = ReviewSession(caseNodes, reviewer="reader-1")
    yield session
    session.end()


def dragLandmark(case, labelId: str, by: float) -> None:
    drag(case.landmarks, landmarkNodes.pointIndex(case.landmarks, labelId), by)


def paint(case, corner=(5, 6, 7)) -> np.ndarray:
    """Paint a small box as the segment editor does: the segment's labelmap is replaced, events and all."""
    mask = calcificationNodes.readMask(case.segmentation, case.volume)
    mask[tuple(slice(first, first + 3) for first in corner)] = 1
    calcificationNodes.writeMask(case.segmentation, case.volume, mask)
    return mask


def content(case) -> tuple:
    """All that a person can see of the labels, to be compared before and after."""
    annotation = case.toAnnotation()
    points = {i: (mark.status, mark.position, mark.confidence) for i, mark in annotation.landmarks.items()}
    control = contourNodes.readControlPoints(case.contour)
    return (
        {i: (status, None if at is None else at.round(6).tolist(), sure) for i, (status, at, sure) in points.items()},
        # The segment's own status: what was painted and not accepted waits, though it would be exported as corrected.
        (
            calcificationNodes.calcificationStatus(case.segmentation),
            calcificationNodes.maskDigest(annotation.calcification),
        ),
        (annotation.contour_status, control.round(6).tolist()),
    )


def test_starts_with_the_worst(session) -> None:
    assert session.queue.progressText == "0 of 9 reviewed"
    assert session.queue.current == session.queue.order[0]
    doubts = [session.queue.item(labelId).doubt.rank for labelId in session.queue.order[:7]]
    assert doubts == sorted(doubts)


def test_a_drag_corrects_and_a_click_does_not(session, caseNodes) -> None:
    dragLandmark(caseNodes, "ostium_lca", 0.0)
    assert session.queue.reviewedCount == 0
    dragLandmark(caseNodes, "ostium_lca", 2.0)
    landmark = landmarkNodes.pointState(caseNodes.landmarks, "ostium_lca")
    assert (landmark.status, landmark.confidence) == (Status.CORRECTED, None)
    assert session.undoText == "Move LM"
    assert session.queue.progressText == "1 of 9 reviewed"
    ghost = landmarkNodes.pointState(caseNodes.ghost, "ostium_lca").position
    assert np.linalg.norm(landmark.position - ghost) == pytest.approx(2.0)


def test_accept_absent_and_back(session, caseNodes) -> None:
    before = content(caseNodes)
    first = session.queue.current
    session.accept()
    assert session.queue.current == session.queue.order[1]  # went on
    assert landmarkNodes.pointState(caseNodes.landmarks, first).status is Status.CONFIRMED
    session.select("ms_upper")
    session.markAbsent(advance=False)
    index = landmarkNodes.pointIndex(caseNodes.landmarks, "ms_upper")
    assert caseNodes.landmarks.GetNthControlPointPositionStatus(index) == caseNodes.landmarks.PositionMissing
    session.restorePrediction()
    session.select(first)
    session.restorePrediction()
    assert content(caseNodes) == before
    assert caseNodes.state.read()["records"] == {}


def test_records_say_who_and_when(session, caseNodes) -> None:
    session.accept()
    (record,) = caseNodes.state.read()["records"].values()
    assert record["reviewer"] == "reader-1"
    assert record["status"] == "confirmed"
    assert record["time"].endswith("+00:00")
    assert record["bundle"] == caseNodes.toAnnotation().provenance["bundle"]["digest"]


def test_calcification_at_accept(session, caseNodes) -> None:
    session.select("calcification")
    mask = paint(caseNodes)
    assert session.queue.status("calcification") is Status.PREDICTED
    session.accept(advance=False)
    assert session.queue.status("calcification") is Status.CORRECTED
    annotation = caseNodes.toAnnotation()
    assert annotation.calcification_status is Status.CORRECTED
    assert np.array_equal(annotation.calcification, mask)
    session.restorePrediction()
    session.accept()
    assert caseNodes.toAnnotation().calcification_status is Status.CONFIRMED


def test_settle_before_an_export(session, caseNodes) -> None:
    paint(caseNodes)
    assert session.settle() == ("calcification",)
    assert session.queue.status("calcification") is Status.CORRECTED
    assert session.settle() == ()


def test_contour_is_dragged_likewise(session, caseNodes) -> None:
    drag(caseNodes.contour, 3, 0.02)
    assert session.queue.status("annulus_contour") is Status.PREDICTED
    drag(caseNodes.contour, 3, 2.0)
    assert session.queue.status("annulus_contour") is Status.CORRECTED
    assert caseNodes.toAnnotation().contour_status is Status.CORRECTED
    session.undo()
    assert caseNodes.toAnnotation().contour_status is Status.PREDICTED


def test_an_unreviewed_contour_follows_its_plane(session, caseNodes) -> None:
    before = content(caseNodes)
    control = contourNodes.readControlPoints(caseNodes.contour)
    dragLandmark(caseNodes, "hinge_rcc", 3.0)
    moved = contourNodes.readControlPoints(caseNodes.contour)
    assert np.abs(moved - control).max() > 0.5
    assert caseNodes.toAnnotation().contour_status is Status.PREDICTED
    after = content(caseNodes)
    session.undo()  # one step for both
    assert content(caseNodes) == before
    session.redo()
    assert content(caseNodes) == after


def test_redo_of_a_contour_that_cannot_be_traced(session, caseNodes) -> None:
    before = content(caseNodes)
    dragLandmark(caseNodes, "hinge_rcc", 40.0)  # a plane far from any lumen's edge
    assert session.queue.state("annulus_contour").value is None
    after = content(caseNodes)
    session.undo()
    assert content(caseNodes) == before
    session.redo()
    assert content(caseNodes) == after
    # The model has nothing to say in this plane: what it said in the other is not offered.
    session.select("annulus_contour")
    assert session.restorePrediction() is None
    assert content(caseNodes) == after
    assert caseNodes.predictedAnnotation().annulus_contour is None
    session.undo()
    assert caseNodes.predictedAnnotation().annulus_contour is not None
    assert content(caseNodes) == before


def test_a_deleted_contour_can_go_back(session, caseNodes) -> None:
    before = content(caseNodes)
    caseNodes.contour.RemoveAllControlPoints()
    assert session.queue.state("annulus_contour").value is None
    session.select("annulus_contour")
    session.undo()
    session.redo()
    session.restorePrediction()
    assert content(caseNodes) == before


def test_a_reviewed_contour_stays(session, caseNodes) -> None:
    session.select("annulus_contour")
    session.accept()
    control = contourNodes.readControlPoints(caseNodes.contour)
    dragLandmark(caseNodes, "hinge_rcc", 3.0)
    assert np.array_equal(contourNodes.readControlPoints(caseNodes.contour), control)


def test_voxels_that_a_script_puts_in_are_noticed(session, caseNodes) -> None:
    mask = calcificationNodes.readMask(caseNodes.segmentation, caseNodes.volume)
    mask[5:9, 6:9, 7:9] = 1
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask.T, caseNodes.segmentation, "calcification", caseNodes.volume)
    assert session.queue.state("calcification").value == Voxels.of(mask)


def test_undo_over_all_that_the_review_did(session, caseNodes) -> None:
    states = [content(caseNodes)]
    for act in (
        lambda: dragLandmark(caseNodes, "ostium_rca", 1.5),
        lambda: paint(caseNodes),
        lambda: (session.select("calcification"), session.accept()),
        lambda: drag(caseNodes.contour, 0, 1.0),
        lambda: dragLandmark(caseNodes, "hinge_ncc", 2.0),
        lambda: (session.select("ms_lower"), session.markAbsent()),
        lambda: (session.select("annulus_contour"), session.markAbsent()),
        lambda: caseNodes.landmarks.UnsetNthControlPointPosition(0),
        lambda: (session.select("calcification"), session.markAbsent()),
        lambda: caseNodes.segmentation.GetSegmentation().RemoveSegment("calcification"),
    ):
        act()
        # A removed segment cannot be read; its undoing is compared below.
        gone = caseNodes.segmentation.GetSegmentation().GetNumberOfSegments() == 0
        states.append(None if gone else content(caseNodes))
    assert len({str(state) for state in states}) == len(states)
    for expected in states[-2::-1]:
        assert session.undo() is not None
        assert content(caseNodes) == expected
    assert session.undo() is None
    for expected in states[1:-1]:
        assert session.redo() is not None
        assert content(caseNodes) == expected


def test_undo_looks_at_what_it_changed(session, caseNodes) -> None:
    dragLandmark(caseNodes, "ms_upper", 1.0)
    session.select("hinge_lcc")
    session.undo()
    assert session.queue.current == "ms_upper"


def test_programs_do_not_count(session, caseNodes) -> None:
    with session.suppressed():
        landmarkNodes.setPointState(caseNodes.landmarks, "hinge_rcc", (0.0, 0.0, 0.0), Status.PREDICTED)
        paint(caseNodes)
    assert session.queue.reviewedCount == 0
    assert session.undoText == ""


def test_placing_what_was_not_found(caseNodes) -> None:
    landmarkNodes.setPointState(caseNodes.landmarks, "ms_lower", None, Status.PREDICTED)
    session = ReviewSession(caseNodes)
    assert session.queue.current == "ms_lower"  # the worst of all
    assert session.accept() is None
    index = landmarkNodes.pointIndex(caseNodes.landmarks, "ms_lower")
    caseNodes.landmarks.SetNthControlPointPositionWorld(index, 1.0, 2.0, 3.0)
    assert session.queue.status("ms_lower") is Status.CORRECTED
    session.undo()
    assert landmarkNodes.pointState(caseNodes.landmarks, "ms_lower").position is None
    session.end()


def test_drawing_a_contour_that_was_not_measurable(caseNodes, annotation) -> None:
    annotation.annulus_contour = None
    caseNodes.showAnnotation(annotation)
    session = ReviewSession(caseNodes)
    assert session.queue.total == 8
    for angle in np.linspace(0, 2 * np.pi, 6, endpoint=False):
        caseNodes.contour.AddControlPointWorld(10 * np.cos(angle), 10 * np.sin(angle), 0.0)
    assert session.queue.total == 9
    assert caseNodes.toAnnotation().contour_status is Status.CORRECTED
    session.end()


def test_goes_on_where_it_stopped(session, caseNodes, tmp_path) -> None:
    session.select("hinge_rcc")
    session.accept()
    dragLandmark(caseNodes, "ostium_lca", 2.0)
    session.select("calcification")
    paint(caseNodes)
    session.accept()
    expected, order, current = content(caseNodes), session.queue.order, session.queue.current
    predicted = session.queue.prediction("calcification")
    path = tmp_path / "case.mrb"
    assert slicer.mrmlScene.WriteToMRB(str(path))
    parameterName = caseNodes.parameterNode.GetName()
    slicer.mrmlScene.Clear(0)
    assert not session.isActive

    assert slicer.mrmlScene.ReadFromMRB(str(path))
    case = CaseNodes.find(slicer.util.getNode(parameterName))
    again = ReviewSession(case)
    assert content(case) == expected
    assert (again.queue.order, again.queue.current) == (order, current)
    assert again.queue.progressText == "3 of 9 reviewed"
    assert again.queue.prediction("calcification") == predicted
    again.select("ostium_lca")
    again.restorePrediction()
    assert landmarkNodes.pointState(case.landmarks, "ostium_lca").status is Status.PREDICTED
    again.end()


def watched(case) -> list:
    nodes = (case.volume, case.landmarks, case.ghost, case.segmentation, case.contour, case.state.node)
    return [slicer.mrmlScene, case.segmentation.GetSegmentation(), case.parameterNode, *nodes]


@pytest.mark.parametrize("how", ["end", "close", "volume", "landmarks", "segmentation", "contour"])
def test_ends_cleanly(caseNodes, how: str) -> None:
    targets = watched(caseNodes)
    before = [observedEvents(target) for target in targets]
    ended = []
    session = ReviewSession(caseNodes, onChange=lambda: None, onEnd=lambda: ended.append(how))
    assert [observedEvents(target) for target in targets] != before
    session.accept()
    caseNodes.landmarks.InvokeCustomModifiedEvent(caseNodes.landmarks.PointStartInteractionEvent)  # amid a drag
    if how == "end":
        session.end()
        assert [observedEvents(target) for target in targets] == before
    elif how == "close":
        slicer.mrmlScene.Clear(0)
    else:
        slicer.mrmlScene.RemoveNode(getattr(caseNodes, how))
    assert ended == [how]
    assert not session.isActive
    assert session.undo() is None
    session.end()
    assert ended == [how]
    gone = weakref.ref(session)
    del session
    gc.collect()
    assert gone() is None  # an observer left behind would keep it alive


def test_everything_is_told(caseNodes) -> None:
    told = []
    session = ReviewSession(caseNodes, onChange=lambda: told.append(session.queue.progressText))
    session.select("hinge_rcc")
    told.clear()
    session.accept()
    dragLandmark(caseNodes, "ostium_lca", 1.0)
    session.undo()
    session.next()
    assert len(told) == 4
    assert told[:3] == ["1 of 9 reviewed", "2 of 9 reviewed", "1 of 9 reviewed"]
    session.end()


def test_an_exported_case_goes_on_where_it_stopped(session, caseNodes, tmp_path) -> None:
    dragLandmark(caseNodes, "ostium_lca", 2.0)
    session.select("calcification")
    mask = paint(caseNodes)
    session.settle()
    path = exportCase(caseNodes, tmp_path, reviewer="reader-1")
    slicer.mrmlScene.Clear(0)

    case = openCase(path)
    again = ReviewSession(case)
    corrected = {i for i in again.queue.order if again.queue.status(i) is Status.CORRECTED}
    assert corrected == {"ostium_lca", "calcification"}
    assert again.queue.progressText == "2 of 9 reviewed"
    assert not again.queue.state(again.queue.current).reviewed
    assert np.array_equal(case.toAnnotation().calcification, mask)
    again.end()
