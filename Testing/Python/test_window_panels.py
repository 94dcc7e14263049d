"""Review, keys and measurements in the panel, on the sample case: what they show, allow and do."""

from __future__ import annotations

import pytest

pytest.importorskip("qt")
import qt
import slicer
from PySide6.QtTest import QTest
from pythonqt.modules import enter, leave
from test_review_tracker import snap
from window_case import texts

from fedkdtavi_core import schema
from FedKDTAVILib.landmarkNodes import pointIndex, pointState
from FedKDTAVILib.widget import dialogs
from FedKDTAVILib.widget.segmentPanel import SegmentPanel
from FedKDTAVILib.widget.shortcuts import KEYS

pytest_plugins = ["window_case"]  # the fixtures widget and case
# FIELD: keys of the segment editor and of the slice views.
TAKEN = {*"0123456789", "Space", "Esc", *"ZYIQW,.", *"BFVRGT[]", "Left", "Right", "Up", "Down"}


class TestReview:
    def test_accept_undo_and_the_headline(self, case):
        ui, session = case.ui, case.window.workspace.session
        first = session.queue.current
        assert ui.reviewLabel.text == "0 of 9 reviewed"
        ui.acceptButton.click()
        assert ui.reviewLabel.text == "1 of 9 reviewed"
        row = session.queue.order.index(first)
        assert texts(ui.reviewTable)[row][1] == "confirmed"
        assert session.queue.current != first
        ui.undoButton.click()
        assert ui.reviewLabel.text == "0 of 9 reviewed"
        assert session.queue.current == first
        assert "Nothing to undo" in ui.undoButton.toolTip and not ui.undoButton.enabled
        ui.redoButton.click()
        assert ui.reviewLabel.text == "1 of 9 reviewed"

    def test_row_that_is_clicked_is_looked_at(self, case):
        session = case.window.workspace.session
        case.ui.reviewTable.selectRow(4)
        assert session.queue.current == session.queue.order[4]
        case.ui.previousButton.click()
        assert case.ui.reviewTable.currentRow() == 3

    def test_absent_point_can_be_placed_and_brought_back(self, case):
        session = case.window.workspace.session
        session.select("ostium_rca")
        assert not case.ui.placeButton.enabled
        case.ui.absentButton.click()
        session.select("ostium_rca")
        assert case.ui.placeButton.enabled
        case.ui.placeButton.click()
        interaction = slicer.mrmlScene.GetNodeByID("vtkMRMLInteractionNodeSingleton")
        assert interaction.GetCurrentInteractionMode() == interaction.Place
        # Slicer's place mode passes over points called missing and takes the next one without a position.
        node, index = session.case.landmarks, pointIndex(session.case.landmarks, "ostium_rca")
        assert node.GetNthControlPointPositionStatus(index) == node.PositionUndefined
        assert session.queue.state("ostium_rca").value is None and session.queue.status("ostium_rca") == "absent"
        case.ui.restoreButton.click()
        assert interaction.GetCurrentInteractionMode() != interaction.Place
        assert session.queue.state("ostium_rca").value is not None

    def test_absent_point_that_is_not_placed_after_all_stays_absent(self, case):
        session = case.window.workspace.session
        session.select("ostium_rca")
        case.ui.absentButton.click()
        session.select("ostium_rca")
        case.ui.placeButton.click()
        case.ui.previousButton.click()
        node, index = session.case.landmarks, pointIndex(session.case.landmarks, "ostium_rca")
        assert node.GetNthControlPointPositionStatus(index) == node.PositionMissing
        assert session.queue.status("ostium_rca") == "absent"

    def test_views_follow_and_are_given_back(self, case):
        red = slicer.mrmlScene.GetNodeByID("vtkMRMLSliceNodeRed")
        display = case.window.workspace.volumeNode.GetScalarVolumeDisplayNode()
        turned = red.GetSliceToRAS().GetElement(2, 2)
        assert (display.GetWindow(), display.GetLevel()) == (800.0, 300.0)
        leave(case)
        assert red.GetSliceToRAS().GetElement(2, 2) != turned
        assert display.GetWindow() != 800.0
        enter(case)
        assert display.GetWindow() == 800.0

    def test_labels_of_another_ct_are_not_reviewed_on_this_one(self, case):
        case.ui.acceptButton.click()
        workspace = case.window.workspace
        mine = workspace.volumeNode
        case.ui.sampleButton.click()
        assert workspace.volumeNode is not mine
        assert workspace.session is None
        assert mine.GetName() in case.ui.reviewLabel.text
        assert not case.ui.acceptButton.enabled
        workspace.parameterNode.inputVolume = mine
        assert case.ui.reviewLabel.text == "1 of 9 reviewed"

    def test_deleted_node_ends_the_review_in_words(self, case):
        slicer.mrmlScene.RemoveNode(case.window.workspace.caseNodes.landmarks)
        assert case.window.workspace.session is None
        assert case.ui.acceptButton.toolTip.startswith("There is nothing to review.")
        assert case.ui.measureTable.rowCount == 0

    def test_snapped_point_is_corrected_at_once_and_a_dragged_one_is_not(self, case):
        session, node = case.window.workspace.session, case.window.workspace.caseNodes.landmarks
        case.parent.show()
        QTest.mousePress(case.parent, qt.Qt.LeftButton)
        snap(node, pointIndex(node, "ostium_lca"), 2.0)
        slicer.app.processEvents()
        assert session.interacting and session.queue.status("ostium_lca") == "predicted"
        node.InvokeCustomModifiedEvent(node.PointEndInteractionEvent)
        assert session.queue.status("ostium_lca") == "corrected"
        QTest.mouseRelease(case.parent, qt.Qt.LeftButton)
        snap(node, pointIndex(node, "ostium_rca"), 2.0)  # the key "s"
        assert session.interacting
        slicer.app.processEvents()
        assert not session.interacting and session.queue.status("ostium_rca") == "corrected"
        assert case.ui.reviewLabel.text == "2 of 9 reviewed"

    def test_snapped_point_is_kept_when_the_review_closes(self, case):
        nodes = case.window.workspace.caseNodes
        snap(nodes.landmarks, pointIndex(nodes.landmarks, "ostium_lca"), 2.0)
        case.window.workspace.closeReview()
        assert pointState(nodes.landmarks, "ostium_lca").status == "corrected"
        slicer.app.processEvents()  # the look at the drag comes too late and does nothing

    def test_scene_closes_during_the_review(self, case):
        slicer.mrmlScene.Clear(0)
        assert case.window.workspace.session is None
        assert case.ui.reviewTable.rowCount == 0
        assert case.ui.runButton.toolTip == "Choose a CT first."


class TestLooks:
    def test_every_measurement_is_one_line_in_a_narrow_panel(self, case):
        table = case.ui.measureTable
        case.parent.resize(380, 1400)
        case.parent.show()
        slicer.app.processEvents()
        heights = {table.rowHeight(line) for line in range(table.rowCount)}
        assert len(heights) == 1
        assert table.columnWidth(0) + table.columnWidth(1) < 0.75 * table.width
        metrics = table.fontMetrics()
        for name, value, _normal in texts(table):  # only the normal range may be cut short: it is in the tooltip
            assert metrics.horizontalAdvance(value) < table.columnWidth(1), name

    def test_labels_have_the_colour_of_the_schema(self, case):
        queue = case.window.workspace.session.queue
        for line, labelId in enumerate(queue.order):
            mark = case.ui.reviewTable.item(line, 0).data(qt.Qt.DecorationRole)
            expected = schema.by_id(labelId).color
            assert (mark.redF(), mark.greenF(), mark.blueF()) == pytest.approx(expected, abs=0.01)

    def test_closed_editor_takes_no_room(self, case):
        group = case.ui.segmentGroup
        assert group.collapsed and group.flat
        group.collapsed = False
        assert not group.flat
        group.collapsed = True
        assert group.flat


class TestKeys:
    def test_keys_are_nobody_elses(self):
        assert not TAKEN & {key.upper() if len(key) == 1 else key for key in KEYS}
        assert len(KEYS) == len(set(KEYS.values()))

    def test_keys_are_taken_on_entering_and_given_back(self, case):
        shortcuts = case.window.shortcuts._shortcuts
        assert {shortcut.key.toString() for shortcut in shortcuts} == set(KEYS)
        accept = next(one for one in shortcuts if one.key.toString() == "A")
        accept.activated.emit()
        assert case.ui.reviewLabel.text == "1 of 9 reviewed"
        leave(case)
        assert not any(shortcut.isEnabled() for shortcut in shortcuts)
        enter(case)
        assert len(case.window.shortcuts._shortcuts) == len(KEYS)


class TestMeasurements:
    def test_table_warns_first_and_can_be_copied(self, case, monkeypatch, tmp_path):
        from fedkdtavi_core.measurements import measure
        from fedkdtavi_core.rowtext import GROUPS
        from FedKDTAVILib.volumes import volumeFromNode

        nodes = case.window.workspace.caseNodes
        rows = measure(volumeFromNode(nodes.volume), nodes.toAnnotation()).rows()
        shown, table = texts(case.ui.measureTable), case.ui.measureTable
        headings = [line for line in range(table.rowCount) if table.columnSpan(line, 0) == 3]
        assert sorted(shown[line][0] for line in headings) == sorted(GROUPS.values())
        assert len(shown) == len(rows) + len(headings)
        tips = "\n".join(table.item(line, 1).toolTip() for line in range(table.rowCount))
        assert all(row["name"] in tips and row["normal"] in tips for row in rows)
        assert case.ui.warningsLabel.text
        copied = []
        monkeypatch.setattr(dialogs, "copy", copied.append)
        case.ui.copyButton.click()
        assert copied[0].startswith("WARNING: ") and "not for clinical use" in copied[0]
        monkeypatch.setattr(dialogs, "saveFile", lambda *_: tmp_path / "m.csv")
        case.ui.csvButton.click()
        assert "Annulus area" in (tmp_path / "m.csv").read_text(encoding="utf-8-sig")

    def test_moved_point_moves_the_numbers(self, case):
        session = case.window.workspace.session
        before = {row[0]: row[1] for row in texts(case.ui.measureTable)}
        point = session.queue.state("ostium_lca").value
        index = next(i for i in range(7) if session.case.landmarks.GetNthControlPointLabel(i) == "LM")
        node = session.case.landmarks
        node.SetAttribute(slicer.vtkMRMLMarkupsDisplayNode.GetMovingMarkupIndexAttributeName(), str(index))
        node.InvokeEvent(node.PointStartInteractionEvent)
        node.SetNthControlPointPositionWorld(index, point[0], point[1], point[2] + 4.0)
        node.InvokeEvent(node.PointEndInteractionEvent)
        after = {row[0]: row[1] for row in texts(case.ui.measureTable)}
        assert session.queue.status("ostium_lca") == "corrected"
        changed = {name for name in before if before[name] != after[name]}
        assert changed == {"LM height"}

    def test_plot_is_shown(self, case):
        case.ui.plotButton.click()
        chart = case.window.workspace.parameterNode.parameterNode.GetNodeReference("carmChart")
        assert chart.GetNumberOfPlotSeriesNodes() == 3


class TestSegmentEditorAndSettings:
    def test_editor_is_made_when_opened_and_let_go(self, case):
        panel = case.window.panel(SegmentPanel)
        assert panel.editor is None
        case.ui.segmentGroup.collapsed = False
        assert panel.editor.segmentationNode() is case.window.workspace.caseNodes.segmentation
        panel.editor._calls.clear()
        leave(case)
        called = {name for name, _ in panel.editor._calls}
        assert called >= {"setActiveEffect", "uninstallKeyboardShortcuts", "removeViewObservations"}
        enter(case)
        slicer.mrmlScene.Clear(0)
        assert panel.editor.segmentationNode() is None

    def test_settings_are_kept_and_a_wrong_pseudonym_is_refused(self, widget):
        ui, settings = widget.ui, widget.window.workspace.settings
        ui.deviceSelector.setCurrentIndex(ui.deviceSelector.findData("cpu"))
        assert settings.device == "cpu"
        known = settings.reviewer
        ui.reviewerEdit.text = "Dr. Müller, ward 5"
        ui.reviewerEdit.editingFinished.emit()
        assert settings.reviewer == known and "pseudonym" in ui.problemLabel.text
        ui.reviewerEdit.text = "R1"
        ui.reviewerEdit.editingFinished.emit()
        assert settings.reviewer == "R1" and ui.problemLabel.text == ""
        ui.deviceSelector.setCurrentIndex(0)
