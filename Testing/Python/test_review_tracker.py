"""What counts as a person's doing on a real markups node."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest

from FedKDTAVILib.pointTracker import PointTracker


class Heard:
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple] = []

    def pointsMoved(self, node, indices) -> None:
        self.told.append(("moved", indices))

    def pointPlaced(self, node, index) -> None:
        self.told.append(("placed", index))

    def pointUnset(self, node, index, missing) -> None:
        self.told.append(("unset", index, missing))


def drag(node, index: int, by: float, *, held: int | None = None) -> None:
    """What Slicer's markups widget does to a node while a person drags a point by ``by`` mm."""
    node.SetAttribute("Markups.MovingMarkupIndex", str(index if held is None else held))
    node.InvokeCustomModifiedEvent(node.PointStartInteractionEvent)
    position = np.array(node.GetNthControlPointPositionWorld(index))
    for share in (0.5, 1.0):
        node.SetNthControlPointPositionWorld(index, *(position + [share * by, 0, 0]))
    node.InvokeCustomModifiedEvent(node.PointEndInteractionEvent)
    node.SetAttribute("Markups.MovingMarkupIndex", "")


def snap(node, index: int, by: float) -> None:
    """What the key "s" over a point does: a start and a move, but no end (vtkSlicerMarkupsWidget)."""
    node.SetAttribute("Markups.MovingMarkupIndex", str(index))
    node.InvokeCustomModifiedEvent(node.PointStartInteractionEvent)
    position = np.array(node.GetNthControlPointPositionWorld(index))
    node.SetNthControlPointPositionWorld(index, *(position + [by, 0, 0]))


def observedEvents(target) -> list[int]:
    """Events of a VTK object that anybody observes: VTK's own, and those of MRML, markups and segmentations."""
    events = (*range(2, 120), *range(17000, 24100), *range(62000, 62200), *range(66000, 67000))
    return [event for event in events if target.HasObserver(event)]


@pytest.fixture
def node(scene):
    node = scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode")
    for number in range(3):
        node.AddControlPointWorld(10.0 * number, 0.0, 0.0)
    return node


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def tracker(node, heard):
    tracker = PointTracker(node, heard)
    yield tracker
    tracker.stop()


@pytest.mark.parametrize(("by", "told"), [(0.06, [("moved", [1])]), (0.04, []), (0.0, [])])
def test_a_drag_counts_and_a_click_does_not(node, heard, tracker, by, told) -> None:
    drag(node, 1, by)
    assert heard.told == told
    assert not tracker.interacting


def test_what_was_no_move_does_not_add_up(node, heard, tracker) -> None:
    before = list(node.GetNthControlPointPositionWorld(1))
    for _ in range(5):
        drag(node, 1, 0.04)
    assert list(node.GetNthControlPointPositionWorld(1)) == before
    assert heard.told == []


def test_locked_is_left_alone(node, heard, tracker) -> None:
    node.SetNthControlPointLocked(1, True)
    drag(node, 1, 5.0)
    assert heard.told == []
    node.SetNthControlPointLocked(1, False)
    node.SetLocked(True)
    drag(node, 1, 5.0)
    assert heard.told == []


def test_only_the_held_point(node, heard, tracker) -> None:
    drag(node, 1, 5.0, held=2)  # a program moved 1 while a person held 2
    assert heard.told == []
    drag(node, 1, 5.0, held=-1)  # a handle that moves the whole node
    assert heard.told == [("moved", [1])]


def test_programs_do_not_count(node, heard, tracker) -> None:
    node.SetNthControlPointPositionWorld(0, 50.0, 0.0, 0.0)
    with tracker.suppressed():
        with tracker.suppressed():
            node.UnsetNthControlPointPosition(2)
        node.SetNthControlPointPositionWorld(2, 1.0, 1.0, 1.0)
        drag(node, 1, 5.0)
    assert heard.told == []
    drag(node, 1, 5.0)
    assert heard.told == [("moved", [1])]


def test_placed_and_deleted(node, heard, tracker) -> None:
    node.SetFixedNumberOfControlPoints(True)
    node.UnsetNthControlPointPosition(1)
    node.SetNthControlPointPositionWorld(1, 3.0, 0.0, 0.0)
    node.SetNthControlPointPositionMissing(2)
    assert heard.told == [("unset", 1, False), ("placed", 1), ("unset", 2, True)]


def test_the_next_drag_ends_one_without_an_end(node, heard, tracker) -> None:
    snap(node, 1, 2.0)
    assert heard.told == [] and tracker.interacting
    drag(node, 2, 3.0)
    assert heard.told == [("moved", [1]), ("moved", [2])]
    assert not tracker.interacting


def test_placing_and_deleting_end_one_without_an_end(node, heard, tracker) -> None:
    node.UnsetNthControlPointPosition(0)
    snap(node, 1, 2.0)
    node.SetNthControlPointPositionWorld(0, 1.0, 1.0, 1.0)
    snap(node, 1, 2.0)
    node.UnsetNthControlPointPosition(2)
    assert heard.told == [("unset", 0, False), ("moved", [1]), ("placed", 0), ("moved", [1]), ("unset", 2, False)]


def test_an_end_that_comes_after_all_tells_the_rest(node, heard, tracker) -> None:
    snap(node, 1, 2.0)
    tracker.finish()
    tracker.finish()
    assert heard.told == [("moved", [1])]
    assert not node.GetAttribute("Markups.MovingMarkupIndex")
    with tracker.suppressed():
        node.SetNthControlPointPositionWorld(1, 0.0, 0.0, 0.0)  # a program, as undo does it
    node.InvokeCustomModifiedEvent(node.PointEndInteractionEvent)
    assert heard.told == [("moved", [1])]
    snap(node, 1, 2.0)
    tracker.finish()
    node.SetNthControlPointPositionWorld(1, 9.0, 0.0, 0.0)
    node.InvokeCustomModifiedEvent(node.PointEndInteractionEvent)
    assert heard.told == [("moved", [1])] * 3


def test_a_curve_gains_and_loses_points(scene, heard) -> None:
    curve = scene.AddNewNodeByClass("vtkMRMLMarkupsClosedCurveNode")
    for angle in np.linspace(0, 2 * np.pi, 8, endpoint=False):
        curve.AddControlPointWorld(np.cos(angle), np.sin(angle), 0.0)
    tracker = PointTracker(curve, heard)
    curve.AddControlPointWorld(2.0, 0.0, 0.0)
    curve.RemoveNthControlPoint(0)
    tracker.stop()
    curve.RemoveNthControlPoint(0)
    assert heard.told == [("placed", 8), ("unset", -1, False)]


def test_none_left(node, heard) -> None:
    before = observedEvents(node)
    tracker = PointTracker(node, heard)
    assert node.PointEndInteractionEvent in set(observedEvents(node)) - set(before)
    tracker.stop()
    tracker.stop()
    assert observedEvents(node) == before
    drag(node, 1, 5.0)
    assert heard.told == []
    gone = weakref.ref(tracker)
    del tracker
    gc.collect()
    assert gone() is None  # an observer would keep it alive
