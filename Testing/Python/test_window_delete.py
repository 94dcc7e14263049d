"""Delete with the mouse over a landmark: absent and undoable, and Slicer's views never get to see the key."""

from __future__ import annotations

import pytest

pytest.importorskip("qt")
import qt
import slicer
from PySide6.QtTest import QTest
from pythonqt.modules import enter, leave

from FedKDTAVILib.landmarkNodes import pointIndex, pointState
from FedKDTAVILib.widget.reviewPanel import ReviewPanel

pytest_plugins = ["window_case"]  # the fixtures widget and case

LANDMARK = "ostium_rca"


class View(qt.QWidget):
    """Stands where a slice view is: writes down the keys that reach it."""

    def __init__(self, parent) -> None:
        super().__init__(parent)
        self.keys: list = []
        self.setFocusPolicy(qt.Qt.StrongFocus)

    def keyPressEvent(self, event) -> None:
        self.keys.append(event.key())


@pytest.fixture
def view(case):
    """A view in the panel's window, with the keyboard."""
    view = View(case.parent)
    case.parent.show()
    case.parent.activateWindow()
    view.show()
    view.setFocus()
    slicer.app.processEvents()
    yield view
    view.setParent(None)


def hover(case, labelId: str | None) -> int:
    """The mouse over a landmark's point (vtkSlicerMarkupsWidget::ProcessMouseMove), or over none."""
    node = case.window.workspace.caseNodes.landmarks
    display, index = node.GetDisplayNode(), -1 if labelId is None else pointIndex(node, labelId)
    display.SetActiveComponent(display.ComponentNone if labelId is None else display.ComponentControlPoint, index)
    return index


@pytest.mark.parametrize("key", ["Key_Delete", "Key_Backspace"])
def test_delete_means_absent_and_can_be_undone(case, view, key) -> None:
    nodes, session = case.window.workspace.caseNodes, case.window.workspace.session
    looked = next(i for i in session.queue.order if i != LANDMARK)
    session.select(looked)
    before = pointState(nodes.landmarks, LANDMARK).position
    index = hover(case, LANDMARK)
    QTest.keyClick(view, getattr(qt.Qt, key))
    assert nodes.landmarks.GetNumberOfControlPoints() == 7 and nodes.landmarks.GetFixedNumberOfControlPoints()
    assert nodes.landmarks.GetNthControlPointPositionStatus(index) == nodes.landmarks.PositionMissing
    assert session.queue.status(LANDMARK) == "absent" and session.undoText == "RCA absent"
    assert session.queue.current == looked
    assert case.ui.reviewLabel.text == "1 of 9 reviewed" and case.ui.problemLabel.text == ""
    QTest.keyClick(view, getattr(qt.Qt, key))  # the mouse has not moved: nothing more happens
    assert view.keys == []
    case.ui.undoButton.click()
    assert (pointState(nodes.landmarks, LANDMARK).position == before).all()
    assert session.queue.status(LANDMARK) == "predicted" and session.undoText == ""


def test_the_label_that_is_looked_at_goes_on_like_the_button(case, view) -> None:
    session = case.window.workspace.session
    session.select(LANDMARK)
    hover(case, LANDMARK)
    QTest.keyClick(view, qt.Qt.Key_Delete)
    byKey = session.queue.current
    session.undo()
    session.select(LANDMARK)
    case.ui.absentButton.click()
    assert session.queue.current == byKey != LANDMARK


def test_deleting_all_is_answered_in_words(case, view) -> None:
    hover(case, LANDMARK)
    QTest.keyClick(view, qt.Qt.Key_Delete, qt.Qt.ShiftModifier)
    assert "stay in their list" in case.ui.problemLabel.text
    assert qt.Qt.Key_Delete not in view.keys and case.window.workspace.session.undoText == ""


def test_without_a_review_the_reason_is_said(case, view) -> None:
    workspace = case.window.workspace
    workspace.busy = "A run is under way; cancel it first."
    workspace.closeReview()
    workspace.changed()
    hover(case, LANDMARK)
    QTest.keyClick(view, qt.Qt.Key_Delete)
    assert view.keys == [] and "under way" in case.ui.problemLabel.text
    workspace.busy = ""


def test_labels_of_another_ct_are_not_deleted(case, view) -> None:
    nodes, index = case.window.workspace.caseNodes, hover(case, LANDMARK)
    case.ui.sampleButton.click()
    assert case.window.workspace.session is None
    QTest.keyClick(view, qt.Qt.Key_Delete)
    assert view.keys == [] and "choose it to go on with them" in case.ui.problemLabel.text
    assert nodes.landmarks.GetNthControlPointPositionStatus(index) == nodes.landmarks.PositionDefined


def test_the_key_is_free_elsewhere(case, view) -> None:
    QTest.keyClick(view, qt.Qt.Key_Delete)
    hover(case, LANDMARK)
    hover(case, None)
    QTest.keyClick(view, qt.Qt.Key_Delete)
    hover(case, LANDMARK)
    leave(case)
    assert len(case.window.panel(ReviewPanel).deleteKeys._observers) == 0
    QTest.keyClick(view, qt.Qt.Key_Delete)
    assert view.keys == [qt.Qt.Key_Delete] * 3
    enter(case)
    QTest.keyClick(view, qt.Qt.Key_Delete)
    assert len(view.keys) == 3
    assert case.window.workspace.session.queue.status(LANDMARK) == "absent"


def test_a_scene_that_closes_lets_go(case, view) -> None:
    hover(case, LANDMARK)
    slicer.mrmlScene.Clear(0)
    QTest.keyClick(view, qt.Qt.Key_Delete)
    assert view.keys == [qt.Qt.Key_Delete]
