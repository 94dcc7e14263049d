"""Running, installing, bundles and the module as a whole in the panel: what they show, allow, ask and do."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("qt")
import qt
import slicer
from pythonqt import loadModule
from pythonqt.modules import enter, leave
from window_case import MODULE

from FedKDTAVILib.annotateJob import JobResult
from FedKDTAVILib.widget import bundlePanel, dialogs, installPanel, runPanel

pytest_plugins = ["window_case"]  # the fixtures widget and case


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

    endNow = cancel


@pytest.fixture
def jobs(monkeypatch):
    monkeypatch.setattr(runPanel, "AnnotateJob", FakeJob)
    return FakeJob


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

    def test_showing_what_was_kept_says_so_and_starts_nothing(self, case, jobs, monkeypatch, annotation):
        case.ui.acceptButton.click()
        monkeypatch.setattr(dialogs, "choose", lambda *_: 0)
        case.ui.runButton.click()
        job, seen = jobs.last, []

        def keep(*_) -> None:
            cursor = qt.QApplication.overrideCursor()
            case.ui.runButton.click()
            seen.append((case.ui.runButton.toolTip, cursor is not None and cursor.shape() == qt.Qt.WaitCursor))

        monkeypatch.setattr(runPanel, "keepReviewed", keep)
        job.onFinished(JobResult(annotation))
        assert seen == [("The labels are being shown; wait.", True)]
        assert jobs.last is job
        assert qt.QApplication.overrideCursor() is None
        assert case.ui.runButton.enabled and case.window.workspace.session is not None

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

    def test_installation_is_cancelled(self, case, monkeypatch):
        from packaging.requirements import Requirement

        ui = case.ui
        monkeypatch.setattr(installPanel, "missing", lambda: [Requirement("onnxruntime>=1.20")])
        plan = type("Plan", (), {"packages": ["onnxruntime"], "text": "onnxruntime: about 17.2 MB"})()
        monkeypatch.setattr(installPanel, "installPlan", lambda folder, onIdle: plan)
        monkeypatch.setattr(dialogs, "confirm", lambda question, title: True)
        shown, starts = [], []

        def install(plan, onIdle) -> None:
            starts.append(plan)
            onIdle()
            shown.append((not ui.installCancelButton.isHidden(), ui.installButton.enabled))
            case.window.panel(installPanel.InstallPanel).onInstall()  # no second one meanwhile
            ui.installCancelButton.click()
            shown.append((ui.installCancelButton.enabled, ui.installCancelButton.toolTip))
            onIdle()

        monkeypatch.setattr(installPanel, "install", install)
        leave(case)
        enter(case)
        assert ui.installCancelButton.isHidden()
        for count in (1, 2):  # and again
            ui.installButton.click()
            assert len(starts) == count
            assert shown == [(True, False), (False, "Cancelling")]
            assert "ancelled" in ui.problemLabel.text
            assert ui.installCancelButton.isHidden() and ui.installButton.enabled
            shown.clear()

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
        # Slicer's SampleDataSource counts them (SampleData.py: "uris", "fileNames" and "nodeNames" of one length).
        assert len({len([offered[key]]) for key in ("uris", "fileNames", "nodeNames") if offered[key]}) == 1
        assert all(isinstance(offered[key], str) for key in ("uris", "fileNames", "nodeNames"))
        assert offered["customDownloader"](None).GetImageData().GetDimensions() == (158, 158, 81)

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
