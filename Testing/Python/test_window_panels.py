"""The sections of the panel on the sample case: what they show, allow, ask and do."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("qt")
import slicer
from pythonqt import loadModule
from pythonqt.modules import enter, leave

from FedKDTAVILib.annotateJob import JobResult
from FedKDTAVILib.caseNodes import CaseNodes
from FedKDTAVILib.siteCase import siteCases
from FedKDTAVILib.widget import bundlePanel, dialogs, installPanel, runPanel
from FedKDTAVILib.widget.segmentPanel import SegmentPanel
from FedKDTAVILib.widget.shortcuts import KEYS

MODULE = Path(__file__).resolve().parents[2] / "FedKDTAVI" / "FedKDTAVI.py"
# FIELD: keys of the segment editor and of the slice views.
TAKEN = {*"0123456789", "Space", "Esc", *"ZYIQW,.", *"BFVRGT[]", "Left", "Right", "Up", "Down"}


@pytest.fixture
def widget(scene):
    """The module's widget, just opened, on an empty scene."""
    opened = loadModule(MODULE).widget
    yield opened
    if opened.parent.isEntered:
        leave(opened)
    opened.cleanup()


@pytest.fixture
def case(widget, ctVolumeNode, annotation):
    """The widget with the sample CT chosen and annotated."""
    workspace = widget.window.workspace
    workspace.parameterNode.inputVolume = ctVolumeNode
    CaseNodes(workspace.parameterNode).showAnnotation(annotation)
    workspace.openReview()
    assert workspace.problem == ""
    return widget


def texts(table) -> list[list[str]]:
    return [[table.item(row, column).text() for column in range(table.columnCount)] for row in range(table.rowCount)]


class FakeJob:
    """Stands for AnnotateJob: the test says how the run ends."""

    last: FakeJob

    def __init__(self, volumeNode, **options) -> None:
        self.volumeNode, self.options, self.timeLeft, self.cancelled = volumeNode, options, 12.0, False
        FakeJob.last = self

    def start(self, onProgress, onFinished) -> None:
        self.onProgress, self.onFinished = onProgress, onFinished

    def cancel(self) -> None:
        self.cancelled = True


@pytest.fixture
def jobs(monkeypatch):
    monkeypatch.setattr(runPanel, "AnnotateJob", FakeJob)
    return FakeJob


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
        case.ui.restoreButton.click()
        assert interaction.GetCurrentInteractionMode() != interaction.Place
        assert session.queue.state("ostium_rca").value is not None

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

    def test_scene_closes_during_the_review(self, case):
        slicer.mrmlScene.Clear(0)
        assert case.window.workspace.session is None
        assert case.ui.reviewTable.rowCount == 0
        assert case.ui.runButton.toolTip == "Choose a CT first."


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
        from FedKDTAVILib.volumes import volumeFromNode

        nodes = case.window.workspace.caseNodes
        rows = measure(volumeFromNode(nodes.volume), nodes.toAnnotation()).rows()
        assert sorted(row[0] for row in texts(case.ui.measureTable)) == sorted(row["name"] for row in rows)
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
        assert changed and all("LM" in name or "left" in name.lower() for name in changed)

    def test_plot_is_shown(self, case):
        case.ui.plotButton.click()
        chart = case.window.workspace.parameterNode.parameterNode.GetNodeReference("carmChart")
        assert chart.GetNumberOfPlotSeriesNodes() == 3


class TestRun:
    def test_progress_cancel_and_no_change(self, case, jobs):
        case.ui.runButton.click()
        job = jobs.last
        assert not case.ui.runButton.enabled and "cancel it first" in case.ui.runButton.toolTip
        assert not case.ui.inputSelector.enabled and not case.ui.openCaseButton.enabled
        job.onProgress(0.42, "Looking for the aortic root")
        assert case.ui.progressBar.value == 42
        assert case.ui.progressLabel.text == "Looking for the aortic root, about 10 s left"
        case.ui.cancelButton.click()
        assert job.cancelled
        job.onFinished(JobResult(code="cancelled", sentence="Cancelled; nothing was changed."))
        assert case.ui.progressLabel.text == "Cancelled; nothing was changed."
        assert case.ui.runButton.enabled and case.ui.reviewLabel.text == "0 of 9 reviewed"

    def test_crash_is_one_sentence_with_a_log(self, case, jobs, monkeypatch):
        copied = []
        monkeypatch.setattr(dialogs, "copy", copied.append)
        case.ui.runButton.click()
        jobs.last.onFinished(JobResult(code="crashed", sentence="It crashed; run it again.", log="traceback"))
        assert case.ui.problemLabel.text.endswith("It crashed; run it again.")
        case.ui.logButton.click()
        assert copied == ["traceback"]

    def test_no_root_leaves_the_scene_as_it_was(self, widget, ctVolumeNode, jobs):
        widget.window.workspace.parameterNode.inputVolume = ctVolumeNode
        before = slicer.mrmlScene.GetNumberOfNodes()
        widget.ui.runButton.click()
        jobs.last.onFinished(JobResult(code="no_root", sentence="No aortic root was found."))
        assert slicer.mrmlScene.GetNumberOfNodes() == before
        assert "No aortic root" in widget.ui.problemLabel.text

    def test_corrections_are_kept_or_replaced_only_when_asked(self, case, jobs, monkeypatch, annotation):
        case.ui.acceptButton.click()
        asked = []
        answer = None

        def choose(question, title, answers):
            asked.append(question)
            return answer

        monkeypatch.setattr(dialogs, "choose", choose)
        FakeJob.last = None
        case.ui.runButton.click()
        assert len(asked) == 1 and FakeJob.last is None
        answer = 0
        case.ui.runButton.click()
        assert any(mark.status == "confirmed" for mark in FakeJob.last.options["landmarks"].values())
        FakeJob.last.onFinished(JobResult(annotation))
        assert case.ui.reviewLabel.text == "1 of 9 reviewed"
        answer = 1
        case.ui.runButton.click()
        assert FakeJob.last.options["landmarks"] is None

    def test_run_goes_on_while_another_module_is_shown(self, widget, ctVolumeNode, jobs, annotation):
        widget.window.workspace.parameterNode.inputVolume = ctVolumeNode
        widget.ui.runButton.click()
        leave(widget)
        enter(widget)
        assert not jobs.last.cancelled and widget.ui.cancelButton.enabled
        leave(widget)
        jobs.last.onFinished(JobResult(annotation))
        assert widget.window.workspace.session is None
        enter(widget)
        assert widget.ui.reviewLabel.text == "0 of 9 reviewed"

    def test_scene_closed_meanwhile(self, case, jobs, annotation):
        case.ui.runButton.click()
        job = jobs.last
        slicer.mrmlScene.Clear(0)
        assert job.cancelled
        job.volumeNode = None
        job.onFinished(JobResult(annotation))
        assert case.window.workspace.caseNodes is None


class TestInstallAndBundle:
    def test_missing_packages_are_asked_for_once(self, case, monkeypatch):
        from packaging.requirements import Requirement

        installed = []
        monkeypatch.setattr(installPanel, "missing", lambda: [] if installed else [Requirement("onnxruntime>=1.20")])
        monkeypatch.setattr(installPanel, "install", lambda plan, onIdle: installed.append(plan))
        plan = type("Plan", (), {"packages": ["onnxruntime"], "text": "onnxruntime: about 17.2 MB"})()
        monkeypatch.setattr(installPanel, "installPlan", lambda folder, onIdle: plan)
        leave(case)
        enter(case)
        assert "onnxruntime" in case.ui.runButton.toolTip and not case.ui.runButton.enabled
        questions = []
        monkeypatch.setattr(dialogs, "confirm", lambda question, title: questions.append(question))
        case.ui.installButton.click()
        assert questions == [plan.text] and not installed
        monkeypatch.setattr(dialogs, "confirm", lambda question, title: True)
        case.ui.installButton.click()
        assert installed == [plan]
        assert case.ui.runButton.enabled

    def test_bundles(self, widget, monkeypatch, tmp_path):
        monkeypatch.setattr("fedkdtavi_core.bundle.resolver.user_folder", lambda: tmp_path / "bundles")
        widget.ui.bundleSection.collapsed = False
        assert widget.ui.bundleSelector.count == 1
        assert "(shipped)" in widget.ui.bundleSection.text
        assert widget.ui.takeBackButton.toolTip == "The shipped bundle is in use."
        broken = tmp_path / "SHA256SUMS"
        broken.write_text("nothing\n", encoding="ascii")
        monkeypatch.setattr(dialogs, "openFile", lambda *_: broken)
        widget.ui.importButton.click()
        assert str(tmp_path) in widget.ui.problemLabel.text
        assert "(shipped)" in widget.ui.bundleSection.text
        shown = []
        monkeypatch.setattr(dialogs, "showText", lambda text, title: shown.append(text))
        widget.ui.cardButton.click()
        assert "synthetic phantoms" in shown[0]
        entries = bundlePanel.listBundles()
        assert [entry.inUse for entry in entries] == [True]


class TestExport:
    def test_case_is_saved_opened_again_and_the_next_one_follows(self, case, tmp_path, monkeypatch):
        ui = case.ui
        assert ui.exportCaseButton.toolTip == "Choose the site folder first."
        ui.siteFolder.currentPath = str(tmp_path)
        ui.acceptButton.click()
        ui.exportCaseButton.click()
        assert ui.problemLabel.text == ""
        (saved,) = siteCases(tmp_path)
        assert (saved.reviewed, saved.total) == (1, 9)
        assert texts(ui.caseTable) == [[saved.caseId, "1 of 9"]]
        assert not ui.nextCaseButton.enabled
        assert f'fedkdtavi site status "{tmp_path}"' in ui.commandLabel.text
        asked = []
        monkeypatch.setattr(dialogs, "confirm", lambda question, title: asked.append(question))
        monkeypatch.setattr(dialogs, "folder", lambda *_: saved.path)
        ui.openCaseButton.click()
        assert asked == [] and ui.reviewLabel.text == "1 of 9 reviewed"
        ui.acceptButton.click()
        ui.openCaseButton.click()
        assert len(asked) == 1 and ui.reviewLabel.text == "2 of 9 reviewed"

    def test_plain_files(self, case, tmp_path, monkeypatch):
        monkeypatch.setattr(dialogs, "folder", lambda *_: tmp_path)
        case.ui.exportFilesButton.click()
        assert (tmp_path / "fedkdtavi-labels" / "landmarks.mrk.json").is_file()
        assert str(tmp_path) in case.ui.exportLabel.text

    def test_folder_that_cannot_be_written_is_said(self, case, tmp_path):
        place = tmp_path / "file"
        place.write_text("no folder")
        case.ui.siteFolder.currentPath = str(place)
        case.ui.exportCaseButton.click()
        assert str(place) in case.ui.problemLabel.text


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


class TestModule:
    def test_label_map_is_not_chosen_by_itself(self, widget, scene):
        leave(widget)
        scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "labels")
        enter(widget)
        assert widget.window.workspace.volumeNode is None

    def test_second_instance_shows_the_same_review(self, case):
        second = loadModule(MODULE).widget
        try:
            assert second.ui.reviewLabel.text == "0 of 9 reviewed"
            case.ui.acceptButton.click()
            leave(second)
            enter(second)
            assert second.ui.reviewLabel.text == "1 of 9 reviewed"
        finally:
            leave(second)
            second.cleanup()

    def test_saved_scene_goes_on_where_the_review_stopped(self, case, scene, tmp_path):
        case.ui.acceptButton.click()
        current = case.window.workspace.session.queue.current
        place = tmp_path / "review.mrb"
        assert slicer.util.saveScene(str(place))
        scene.Clear(0)
        assert case.window.workspace.session is None
        slicer.util.loadScene(str(place))
        assert case.ui.reviewLabel.text == "1 of 9 reviewed"
        assert case.window.workspace.session.queue.current == current

    def test_leaving_leaves_no_observer_behind(self, case, scene):
        nodes = case.window.workspace.caseNodes
        event = nodes.landmarks.PointEndInteractionEvent
        segmentation, painted = nodes.segmentation.GetSegmentation(), slicer.vtkSegmentation.SegmentRemoved
        assert nodes.landmarks.HasObserver(event) and nodes.contour.HasObserver(event)
        leave(case)
        painting = segmentation.HasObserver(painted)
        for _ in range(3):
            enter(case)
            assert nodes.landmarks.HasObserver(event) and segmentation.HasObserver(painted)
            case.ui.acceptButton.click()
            leave(case)
        assert not nodes.landmarks.HasObserver(event) and not nodes.contour.HasObserver(event)
        assert segmentation.HasObserver(painted) == painting

    def test_sample_is_offered_in_sample_data(self, scene, monkeypatch):
        import sys
        import types

        from FedKDTAVILib.sampleData import registerSampleData

        offered = {}
        sampleData = types.ModuleType("SampleData")
        sampleData.SampleDataLogic = type(
            "SampleDataLogic",
            (),
            {"registerCustomSampleDataSource": staticmethod(lambda **given: offered.update(given))},
        )
        monkeypatch.setitem(sys.modules, "SampleData", sampleData)
        registerSampleData()
        assert Path(offered["thumbnailFileName"]).is_file()
        assert offered["customDownloader"](None).GetImageData().GetDimensions() == (169, 160, 83)

    def test_terminology_says_what_the_schema_says(self):
        import json

        from fedkdtavi_core import schema
        from fedkdtavi_core.labels.segmentation import terminology
        from FedKDTAVILib.terminologies import TERMINOLOGY, loadTerminology

        # The segment's tag names this terminology: otherwise Slicer would not find its entry.
        assert loadTerminology() == terminology(schema.by_id("calcification")).split("~")[0]
        content = json.loads(TERMINOLOGY.read_text(encoding="utf-8"))
        kinds = [kind for group in content["SegmentationCodes"]["Category"] for kind in group["Type"]]
        said = {(kind["CodingSchemeDesignator"], kind["CodeValue"], kind["CodeMeaning"]) for kind in kinds}
        assert said == {(label.code.scheme, label.code.value, label.code.meaning) for label in schema.LABELS}


def test_foreign_copy_of_the_core_is_refused(monkeypatch, tmp_path):
    import sys
    import types

    foreign = types.ModuleType("fedkdtavi_core")
    foreign.__file__ = str(tmp_path / "site-packages" / "fedkdtavi_core" / "__init__.py")
    monkeypatch.setitem(sys.modules, "fedkdtavi_core", foreign)
    with pytest.raises(ImportError, match="site-packages"):
        loadModule(MODULE)
