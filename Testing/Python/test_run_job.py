"""A volume node out to the core's child process and its annotation back: done, refused, cancelled, crashed."""

from __future__ import annotations

import os
import signal
import threading
import time
import weakref
from pathlib import Path

import numpy as np
import pytest
import slicer

import fedkdtavi_core
from fedkdtavi_core.annotation import Landmark, Status
from fedkdtavi_core.errors import Cancelled, InputError, NoRootError, UsageError
from fedkdtavi_core.progress import Progress
from FedKDTAVILib import annotateJob, logic
from FedKDTAVILib.annotateJob import AnnotateJob, JobResult, runBlocking
from FedKDTAVILib.messages import Done, Hello, ProgressMessage
from FedKDTAVILib.process import ChildProcess, Ended

HELLO = Hello(fedkdtavi_core.__version__, str(Path(fedkdtavi_core.__file__).resolve()))


@pytest.fixture
def place(tmp_path):
    """A temporary folder with a name that breaks careless programs; empty again afterwards."""
    folder = tmp_path / "Übergabe an den Kern"
    folder.mkdir()
    yield folder
    assert list(folder.iterdir()) == []


def volumeOf(array: np.ndarray, name: str = "Herz Müller"):
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    slicer.util.updateVolumeFromArray(node, array)
    return node


class Scripted:
    """A process that says what the test wants; stands for a child where only what the job makes of it matters."""

    def __init__(self, messages=(), ended: Ended | None = None) -> None:
        self.messages, self.ended, self.cancelled = messages, ended, False

    def start(self, arguments, onMessage, onFinished) -> None:
        self.arguments, self.finish = list(arguments), onFinished
        self.say = onMessage

    def play(self) -> None:
        for message in self.messages:
            self.say(message)
        self.finish(self.ended)

    def cancel(self) -> None:
        self.cancelled = True

    def isRunning(self) -> bool:
        return True


def played(node, place, messages, ended: Ended) -> JobResult:
    results, process = [], Scripted(messages, ended)
    job = AnnotateJob(node, temporaryFolder=place, process=process)
    job.start(lambda fraction, words: None, results.append)
    process.play()
    assert not job.isRunning()
    (result,) = results
    return result


def test_the_child_finds_what_the_core_finds(ctVolumeNode, annotation, place):
    seen = []
    job = AnnotateJob(ctVolumeNode, device="cpu", temporaryFolder=place)
    result = job.runBlocking(Progress(lambda fraction, words: seen.append(fraction)))
    assert (result.code, result.sentence) == ("", "")
    assert seen == sorted(seen)
    assert seen[-1] == 1.0
    for label_id, landmark in annotation.landmarks.items():
        found = result.annotation.landmarks[label_id]
        assert np.linalg.norm(found.position - landmark.position) < 0.01
        assert found.confidence == pytest.approx(landmark.confidence, abs=1e-3)
        assert found.status is Status.PREDICTED
    assert np.array_equal(result.annotation.calcification, annotation.calcification)
    assert result.annotation.provenance["ct"]["sha256"] == annotation.provenance["ct"]["sha256"]
    assert str(place) not in repr(result.annotation.provenance)
    ended = weakref.ref(job)
    del job
    assert ended() is None  # in a ring with its process it would hold the CT


def test_on_qprocess_with_points_that_stand(ctVolumeNode, annotation, place):
    moved = annotation.landmarks["ostium_rca"].position + (1.0, 0.0, 0.0)
    landmarks = annotation.landmarks | {
        "ostium_rca": Landmark("ostium_rca", moved, status=Status.CORRECTED),
        "ms_upper": Landmark("ms_upper", status=Status.ABSENT),
    }
    results, job = [], AnnotateJob(ctVolumeNode, None, "cpu", place, landmarks=landmarks)
    job.start(lambda fraction, words: None, results.append)
    with pytest.raises(UsageError):
        job._process.start([], print, print)
    while not results:
        slicer.app.processEvents()
        time.sleep(0.002)
    found = results[0].annotation.landmarks
    assert np.allclose(found["ostium_rca"].position, moved, atol=1e-3)
    assert [found[i].status for i in ("ostium_rca", "ms_upper", "ms_lower")] == ["corrected", "absent", "predicted"]


def test_cancel_on_qprocess_within_a_second(ctVolumeNode, place):
    results, words = [], []
    job = AnnotateJob(ctVolumeNode, None, "cpu", place, process=ChildProcess())
    job.start(lambda fraction, message: words.append(message), results.append)
    while "Looking for the aortic root" not in words:
        slicer.app.processEvents()
        time.sleep(0.002)
    begin = time.monotonic()
    job.cancel()
    while not results:
        slicer.app.processEvents()
        time.sleep(0.002)
    took = time.monotonic() - begin
    print(f"cancelled while a network runs: finished after {took:.2f} s")
    assert took < 1.0
    assert (results[0].code, results[0].annotation) == ("cancelled", None)


def test_quitting_slicer_leaves_no_ct_behind(ctVolumeNode, place):
    """No event loop runs any more when Slicer unloads its modules."""
    job, ended = AnnotateJob(ctVolumeNode, temporaryFolder=place), []
    job.start(lambda fraction, words: None, ended.append)
    assert any(Path(place).iterdir())
    began = time.monotonic()
    job.endNow()
    assert time.monotonic() - began < 3
    assert not job.isRunning() and not any(Path(place).iterdir()) and ended == []
    job.endNow()  # harmless again


def test_progress_may_cancel(ctVolumeNode, place):
    stop = threading.Event()
    progress = Progress(lambda fraction, words: stop.set() if fraction > 0.1 else None, stop.is_set)
    with pytest.raises(Cancelled):
        AnnotateJob(ctVolumeNode, device="cpu", temporaryFolder=place).runBlocking(progress)


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
@pytest.mark.parametrize("share", [None, 0.01, 0.5])
def test_a_killed_child_ends_in_one_sentence(ctVolumeNode, place, share):
    """Killed as soon as it is started, or when it says that so much of its work is done."""
    job, results = AnnotateJob(ctVolumeNode, None, "cpu", place), []
    job._process = process = annotateJob.BlockingProcess()

    def kill() -> None:
        process._process.send_signal(signal.SIGKILL)

    job.start(lambda fraction, words: kill() if share is not None and fraction >= share else None, results.append)
    if share is None:
        kill()
    process.wait()
    (result,) = results
    assert (result.code, result.annotation) == ("crashed", None)
    assert "nothing was changed" in result.sentence
    assert result.sentence.count(". ") == 0
    assert "exit code None" in result.log


def test_refusals_name_the_volume_and_no_temporary_file(scene, place):
    rng = np.random.default_rng(0)
    array = np.full((60, 60, 60), -1000, np.int16)
    array[:, 15:45, 15:45] = rng.normal(40, 25, (60, 30, 30))
    result = runBlocking(volumeOf(array), temporaryFolder=place, device="cpu")
    assert result.annotation is None
    assert result.code in ("no_root", "input")
    assert result.sentence.startswith("Herz Müller") or result.code == "no_root"
    assert str(place) not in result.sentence


def test_no_ct_is_refused_at_once(scene, place):
    labels = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "labels")
    with pytest.raises(InputError):
        AnnotateJob(labels, temporaryFolder=place, process=Scripted()).start(print, print)


def test_a_place_that_cannot_be_written(ctVolumeNode, tmp_path):
    with pytest.raises(UsageError, match="temporary files"):
        AnnotateJob(ctVolumeNode, temporaryFolder=tmp_path / "none", process=Scripted()).start(print, print)


def test_another_copy_of_the_core_is_refused(ctVolumeNode, place):
    other = Hello(fedkdtavi_core.__version__, "/site-packages/fedkdtavi_core/__init__.py")
    result = played(ctVolumeNode, place, [other, Done({})], Ended(0, True, ""))
    assert result.annotation is None
    assert "/site-packages/" in result.sentence
    assert played(ctVolumeNode, place, [ProgressMessage(0.1, "x"), Done({})], Ended(0, True, "")).annotation is None


def test_done_without_files_is_not_done(ctVolumeNode, place):
    result = played(ctVolumeNode, place, [HELLO, Done({})], Ended(0, True, ""))
    assert result.annotation is None
    assert result.sentence


@pytest.mark.parametrize(
    ("ended", "words"),
    [(Ended(None, False, "no such file"), "could not be started"), (Ended(1, True, "Traceback"), "exit code 1"),
     (Ended(None, True, "Killed"), "lack of memory")],
)  # fmt: skip
def test_ends_without_a_result(ctVolumeNode, place, ended, words):
    result = played(ctVolumeNode, place, [HELLO], ended)
    assert result.code == "crashed"
    assert words in result.sentence
    assert ended.log in result.log


def test_the_node_may_go_meanwhile(ctVolumeNode, place):
    results, process = [], Scripted([HELLO], Ended(1, True, ""))
    job = AnnotateJob(ctVolumeNode, temporaryFolder=place, process=process)
    job.start(print, results.append)
    assert job.volumeNode is ctVolumeNode
    slicer.mrmlScene.RemoveNode(ctVolumeNode)
    assert job.volumeNode is None
    process.play()
    assert len(results) == 1


def test_what_a_crash_of_slicer_left_is_removed(ctVolumeNode, place):
    old, young = place / f"{annotateJob.PREFIX}old", place / f"{annotateJob.PREFIX}young"
    for folder in (old, young):
        folder.mkdir()
        (folder / "ct.nii").touch()
    os.utime(old, (0, 0))
    played(ctVolumeNode, place, [HELLO], Ended(1, True, ""))
    assert not old.exists()
    assert young.exists()
    (young / "ct.nii").unlink()
    young.rmdir()


class ModuleLogic(logic.ModuleLogic):
    """With the parameter node that the module's own logic would give."""

    def __init__(self) -> None:
        self.node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScriptedModuleNode", "FedKDTAVI")

    def getParameterNode(self):
        return self.node


def test_two_lines_in_the_console(ctVolumeNode, annotation):
    module = ModuleLogic()
    words = []
    caseNodes = module.annotate(ctVolumeNode, device="cpu", progress=lambda fraction, message: words.append(message))
    assert words[-1] == "Done"
    assert caseNodes.volume is ctVolumeNode
    found = caseNodes.toAnnotation()
    assert np.allclose(found.landmarks["hinge_ncc"].position, annotation.landmarks["hinge_ncc"].position, atol=0.01)


def test_reviewed_labels_are_not_replaced_unasked(scene, caseNodes, monkeypatch):
    module = ModuleLogic()
    slicer.mrmlScene.RemoveNode(module.node)
    module.node = caseNodes.parameterNode
    reviewed = caseNodes.toAnnotation()
    reviewed.landmarks["hinge_rcc"].status = Status.CONFIRMED
    caseNodes.showAnnotation(reviewed)
    monkeypatch.setattr(annotateJob, "runBlocking", lambda *a, **b: JobResult(annotation=reviewed))
    with pytest.raises(UsageError, match="replaceReviewed"):
        module.annotate(caseNodes.volume)
    assert module.annotate(caseNodes.volume, replaceReviewed=True).isComplete


@pytest.mark.parametrize(("code", "kind"), [("no_root", NoRootError), ("input", InputError), ("x", logic.RunError)])
def test_errors_leave_the_scene_as_it_was(ctVolumeNode, monkeypatch, code, kind):
    module = ModuleLogic()
    before = slicer.mrmlScene.GetNumberOfNodes()
    monkeypatch.setattr(annotateJob, "runBlocking", lambda *a, **b: JobResult(code=code, sentence="It is so."))
    with pytest.raises(kind, match="It is so"):
        module.annotate(ctVolumeNode)
    assert slicer.mrmlScene.GetNumberOfNodes() == before
