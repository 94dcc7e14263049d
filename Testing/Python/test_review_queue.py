"""The review queue and its undo, without any node."""

from __future__ import annotations

import numpy as np
import pytest

from fedkdtavi_core import schema
from fedkdtavi_core.annotation import Annotation, Status
from FedKDTAVILib.labelState import LabelState, Voxels, differs, fromJson, toJson
from FedKDTAVILib.reviewQueue import ReviewQueue, statesOf
from FedKDTAVILib.undoStack import Step, UndoStack

# A plausible root: annulus in the plane z = 0, aorta upwards, in RAS mm.
POINTS = {
    "hinge_rcc": (0.0, 12.0, 0.0),
    "hinge_lcc": (-11.4, -3.7, 0.0),
    "hinge_ncc": (8.3, -8.7, 0.0),
    "ostium_rca": (-2.0, 15.9, 17.0),
    "ostium_lca": (-15.2, -5.0, 15.5),
    "ms_upper": (9.0, 6.0, 4.5),
    "ms_lower": (9.5, 6.5, -2.1),
}
CONFIDENCE = dict(zip(schema.LANDMARK_IDS, (0.9, 0.8, 0.95, 0.5, 0.85, 0.7, 0.6), strict=True))


@pytest.fixture
def predicted() -> Annotation:
    annotation = Annotation()
    for labelId, position in POINTS.items():
        annotation.landmarks[labelId].position = np.array(position)
        annotation.landmarks[labelId].confidence = CONFIDENCE[labelId]
    annotation.calcification = np.zeros((12, 10, 8), np.uint8)
    annotation.calcification[3:6, 4:7, 2:5] = 1
    angles = np.linspace(0, 2 * np.pi, 16, endpoint=False)
    annotation.annulus_contour = np.column_stack([12 * np.cos(angles), 12 * np.sin(angles), 0 * angles])
    return annotation


def test_worst_first(predicted) -> None:
    queue = ReviewQueue(predicted)
    assert queue.order[0] == queue.current == "ostium_rca"  # the least sure
    assert queue.order[-2:] == ("calcification", "annulus_contour")
    assert set(queue.order) == {label.id for label in schema.LABELS}

    predicted.landmarks["hinge_ncc"].flags = ["low something"]  # sure, and yet unusual
    assert ReviewQueue(predicted).order[:2] == ("hinge_ncc", "ostium_rca")
    predicted.landmarks["ms_lower"].position = None  # not found comes before all
    assert ReviewQueue(predicted).order[:3] == ("ms_lower", "hinge_ncc", "ostium_rca")


def test_implausible_beats_confident(predicted) -> None:
    predicted.landmarks["ostium_lca"].position = np.array([60.0, -70.0, 70.0])
    predicted.landmarks["ostium_lca"].confidence = 0.99
    assert ReviewQueue(predicted).order[0] == "ostium_lca"


def test_without_contour_there_are_eight(predicted) -> None:
    predicted.annulus_contour = None
    queue = ReviewQueue(predicted)
    assert (queue.total, queue.progressText) == (8, "0 of 8 reviewed")
    predicted.contour_status = Status.ABSENT  # but a person who said "not measurable" has reviewed it
    assert ReviewQueue(predicted).progressText == "1 of 9 reviewed"


def test_next_previous_advance(predicted) -> None:
    queue = ReviewQueue(predicted)
    assert [queue.next() for _ in queue.order] == [*queue.order[1:], queue.order[0]]
    assert queue.previous() == queue.order[-1]
    queue.accept()
    queue.select(queue.order[0])
    queue.accept()
    assert queue.advance() == queue.order[1]
    for labelId in queue.order:
        queue.accept(labelId)
    assert queue.progressText == "9 of 9 reviewed"
    here = queue.current
    assert queue.advance() == here
    with pytest.raises(KeyError, match="not in the queue"):
        queue.select("heart")


def test_accept_confirms_or_corrects(predicted) -> None:
    queue = ReviewQueue(predicted)
    queue.accept("hinge_rcc")
    assert queue.status("hinge_rcc") is Status.CONFIRMED
    assert queue.accept("hinge_rcc") is None  # nothing to undo
    queue.correct((0.0, 12.5, 0.0), "hinge_rcc")
    assert queue.status("hinge_rcc") is Status.CORRECTED
    queue.accept("hinge_rcc")
    assert queue.status("hinge_rcc") is Status.CORRECTED
    queue.correct((0.0, 12.0, 0.0), "hinge_rcc")  # dragged back to where the model had it, and accepted there
    queue.accept("hinge_rcc")
    assert queue.status("hinge_rcc") is Status.CONFIRMED


@pytest.mark.parametrize(("moved", "status"), [(0.04, Status.PREDICTED), (0.06, Status.CORRECTED)])
def test_moved_over_a_twentieth_of_a_millimetre(predicted, moved: float, status: Status) -> None:
    queue = ReviewQueue(predicted)
    step = queue.correct((0.0, 12.0 + moved, 0.0), "hinge_rcc")
    assert queue.status("hinge_rcc") is status
    assert (step is not None) is (status is Status.CORRECTED)


def test_absent_and_back(predicted) -> None:
    queue = ReviewQueue(predicted)
    for labelId in ("ms_upper", "calcification", "annulus_contour"):
        before = queue.state(labelId)
        queue.markAbsent(labelId)
        assert queue.status(labelId) is Status.ABSENT
        assert queue.state(labelId).value in (None, Voxels())
        queue.restorePrediction(labelId)
        assert queue.state(labelId) == before
    assert queue.restorePrediction("ms_upper") is None


def test_what_was_not_found_cannot_be_accepted(predicted) -> None:
    predicted.landmarks["ms_lower"].position = None
    queue = ReviewQueue(predicted)
    assert queue.accept("ms_lower") is None
    assert queue.status("ms_lower") is Status.PREDICTED
    assert "place it, or mark it absent" in queue.whyNotAccept("ms_lower")
    assert queue.whyNotAccept("hinge_rcc") == ""
    assert queue.item("ms_lower").statusText == "not found"
    queue.correct(POINTS["ms_lower"], "ms_lower")
    assert queue.status("ms_lower") is Status.CORRECTED


def test_calcification_is_judged_at_accept(predicted) -> None:
    queue = ReviewQueue(predicted)
    painted = predicted.calcification.copy()
    painted[8, 8, 6] = 1
    queue.edit("calcification", Voxels.of(painted))
    assert queue.status("calcification") is Status.PREDICTED  # not before accept
    assert queue.unaccepted == ("calcification",)
    queue.accept("calcification")
    assert queue.status("calcification") is Status.CORRECTED
    assert queue.unaccepted == ()
    queue.edit("calcification", Voxels.of(predicted.calcification))
    queue.accept("calcification")
    assert queue.status("calcification") is Status.CONFIRMED
    queue.edit("calcification", Voxels.of(painted))  # painted after it was confirmed: it is a person's now
    assert queue.status("calcification") is Status.CORRECTED


def test_item_says_how_sure(predicted) -> None:
    queue = ReviewQueue(predicted)
    item = queue.item("hinge_rcc")
    assert (item.name, item.statusText, item.confidenceText) == ("RCC", "predicted", "90 %")
    queue.accept("hinge_rcc")
    assert queue.item("hinge_rcc").statusText == "confirmed"


def test_kept_order_and_predictions(predicted) -> None:
    first = ReviewQueue(predicted)
    predicted.landmarks["hinge_rcc"].position = np.array([0.0, 13.0, 0.0])
    predicted.landmarks["hinge_rcc"].status = Status.CORRECTED
    again = ReviewQueue(predicted, {"hinge_rcc": first.state("hinge_rcc")}, first.order)
    assert again.order == first.order
    assert again.reviewedCount == 1
    again.restorePrediction("hinge_rcc")
    assert again.state("hinge_rcc") == first.state("hinge_rcc")


def test_undo_and_redo_over_everything(predicted) -> None:
    queue = ReviewQueue(predicted)
    undo = UndoStack(queue.put)
    start = statesOf(predicted)
    painted = predicted.calcification.copy()
    painted[0, 0, 0] = 1
    moved = [(x + 1, y, z) for x, y, z in predicted.annulus_contour]
    steps = [
        queue.correct((1.0, 12.0, 0.0), "hinge_rcc"),
        queue.accept("hinge_lcc"),
        queue.markAbsent("ms_upper"),
        queue.edit("calcification", Voxels.of(painted)),
        queue.accept("calcification"),
        queue.correct(tuple(moved), "annulus_contour"),
        queue.restorePrediction("hinge_rcc"),
        queue.clear("ostium_lca"),
    ]
    for step in steps:
        undo.push(step)
    end = {i: queue.state(i) for i in queue.order}
    assert undo.undoText == "Delete LM"
    assert [undo.undo() for _ in steps] == steps[::-1]
    assert {i: queue.state(i) for i in queue.order} == start
    assert undo.undo() is None
    assert [undo.redo() for _ in steps] == steps
    assert {i: queue.state(i) for i in queue.order} == end
    assert undo.redo() is None


def test_a_new_step_ends_redo_and_the_stack_is_bounded() -> None:
    written = []
    undo = UndoStack(lambda states, _predictions: written.append(states), most=3)
    steps = [Step(str(n), {}, {"hinge_rcc": LabelState(value=(float(n), 0.0, 0.0))}) for n in range(5)]
    for step in steps[:4]:
        undo.push(step)
    assert undo.undo() == steps[3]
    undo.push(steps[4])
    assert (undo.redoText, undo.undoText) == ("", "4")
    assert [undo.undo() for _ in range(4)] == [steps[4], steps[2], steps[1], None]


def test_a_step_that_cannot_be_written_stays() -> None:
    def refuse(_states, _predictions) -> None:
        raise RuntimeError("no node")

    undo = UndoStack(refuse)
    undo.push(Step("Move RCC", {}, {}))
    with pytest.raises(RuntimeError):
        undo.undo()
    assert (undo.undoText, undo.redoText) == ("Move RCC", "")


def test_derived_is_undone_with_its_cause(predicted) -> None:
    queue = ReviewQueue(predicted)
    undo = UndoStack(queue.put)
    before = {i: queue.state(i) for i in queue.order}
    step = queue.correct((1.0, 12.0, 0.0), "hinge_rcc")
    traced = LabelState(Status.PREDICTED, ((0.0, 0.0, 1.0), (1.0, 0.0, 1.0), (0.0, 1.0, 1.0)))
    undo.push(queue.derive({"annulus_contour": traced}, step))
    assert queue.prediction("annulus_contour") == traced
    assert undo.undo().text == "Move RCC"
    assert {i: queue.state(i) for i in queue.order} == before
    queue.accept("annulus_contour")
    assert queue.status("annulus_contour") is Status.CONFIRMED


def test_voxels_are_the_same_on_any_grid(predicted) -> None:
    mask = predicted.calcification
    voxels = Voxels.of(mask)
    assert voxels == Voxels.of(mask[2:8, 3:9, 1:7], (2, 3, 1))
    assert np.array_equal(voxels.mask(mask.shape), mask)
    assert voxels.count == mask.sum()
    assert Voxels.of(np.zeros((3, 3, 3))) == Voxels()
    assert not Voxels().mask((3, 3, 3)).any()
    assert voxels.mask((4, 5, 3)).sum() == 1  # a smaller grid keeps what lies in it


def test_states_survive_json() -> None:
    states = [
        LabelState(Status.CORRECTED, (1.0, 2.0, 3.5)),
        LabelState(Status.ABSENT, None),
        LabelState(Status.CONFIRMED, Voxels.of(np.ones((2, 3, 4)), (5, 6, 7))),
        LabelState(Status.PREDICTED, ((0.0, 0.0, 0.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0))),
    ]
    import json

    assert [fromJson(json.loads(json.dumps(toJson(state)))) for state in states] == states
    for broken in (None, {}, {"status": "seen", "value": None}, {"status": "absent", "value": {"start": [0]}}):
        with pytest.raises(ValueError):
            fromJson(broken)


def test_different_for_a_person() -> None:
    assert not differs((0.0, 0.0, 0.0), (0.0, 0.0, 0.05))
    assert differs((0.0, 0.0, 0.0), (0.0, 0.0, 0.051))
    assert differs(None, (0.0, 0.0, 0.0))
    assert not differs(None, None)
    assert differs(((0.0, 0.0, 0.0),) * 3, ((0.0, 0.0, 0.0),) * 4)
