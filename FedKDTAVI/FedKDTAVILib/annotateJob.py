"""One run of the core on a volume node: the CT out to a child process, its annotation back.

The node is read when the job starts and not touched afterwards, so it may be deleted, or its scene closed, meanwhile.
The temporary folder holds the CT; it is removed however the job ends, and what a crash of Slicer left is removed by a
later job.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from slicer.i18n import tr as _

import fedkdtavi_core
from fedkdtavi_core.annotation import Annotation, Landmark
from fedkdtavi_core.errors import Cancelled, FedKDTAVIError, UsageError
from fedkdtavi_core.progress import SILENT, Progress

from .blockingProcess import BlockingProcess
from .ctHandover import writeCt
from .messages import Done, Failed, Message, ProgressMessage, helloProblem
from .process import Ended, Process
from .timeLeft import TimeLeft
from .volumes import fingerprint, volumeFromNode

PREFIX = "FedKDTAVI-run-"
_CT, _RESULT = "ct.nii", "result"
_OLD_AFTER_S = 24 * 3600.0
_LOG_BYTES = 100_000


@dataclass
class JobResult:
    """How a job ended.

    Attributes:
        annotation: what was found; None when there is nothing new.
        code: "" when done; otherwise ``cancelled``, ``crashed``, ``no_root``, ``input``, ``bundle``, ``usage`` ...
        sentence: for a person; "" when done.
        log: to copy into a report of the problem; "" when there is nothing beside the sentence.
        notes: sentences on what was not as expected, beside the annotation's own warnings.
    """

    annotation: Annotation | None = None
    code: str = ""
    sentence: str = ""
    log: str = ""
    notes: list[str] = field(default_factory=list)


class AnnotateJob:
    """Annotates the CT of a volume node once.

    Args:
        volumeNode: a vtkMRMLScalarVolumeNode.
        bundle: folder or zip of the model bundle; None for the one in use.
        device: ``auto``, ``cpu`` or ``cuda``.
        temporaryFolder: where the job makes its own folder; None for the system's place.
        landmarks: by id; those that a person has reviewed stand as they are, the others are predicted anew.
        process: runs the child; a QProcess unless something else is given.

    >>> job = AnnotateJob(volumeNode, device="cpu")
    >>> job.start(onProgress=lambda fraction, words: print(words), onFinished=lambda result: print(result.sentence))
    """

    def __init__(
        self,
        volumeNode,
        bundle: str | Path | None = None,
        device: str = "auto",
        temporaryFolder: str | Path | None = None,
        *,
        landmarks: Mapping[str, Landmark] | None = None,
        process: Process | None = None,
    ) -> None:
        self._node = volumeNode
        self._name = volumeNode.GetName() or ""
        self._bundle, self._device = bundle, device
        self._place = None if temporaryFolder is None else Path(temporaryFolder)
        self._landmarks = landmarks
        self._process = process
        self._folder: Path | None = None
        self._onProgress: Callable[[float, str], None] | None = None
        self._onFinished: Callable[[JobResult], None] | None = None
        self._greeted = self._cancelled = False
        self._outcome: Done | Failed | None = None
        self._timeLeft: TimeLeft | None = None

    @property
    def timeLeft(self) -> float | None:
        """Seconds left, or None while nothing can be said."""
        return self._timeLeft.seconds if self._timeLeft else None

    @property
    def volumeNode(self):
        """The node that is annotated; None when it has been removed from its scene meanwhile."""
        return self._node if self._node.GetScene() is not None else None

    def isRunning(self) -> bool:
        """Has it been started and not finished yet?"""
        return self._onFinished is not None

    def start(self, onProgress: Callable[[float, str], None], onFinished: Callable[[JobResult], None]) -> None:
        """Hand the CT over and start the child.

        Args:
            onProgress: called with fraction 0..1 and words.
            onFinished: called once with the result, after the temporary folder is gone.

        Raises:
            InputError: the node is no CT that can be annotated.
            UsageError: the CT cannot be written, or Python is not found; nothing is left then.
        """
        volume = volumeFromNode(self._node)
        self._grid = volume.grid
        self._fingerprint = fingerprint(self._node)
        _removeOldFolders(self._place)
        if self._process is None:
            from .process import ChildProcess

            self._process = ChildProcess()
        self._greeted = self._cancelled = False
        self._outcome = None
        try:
            self._folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=self._place))
            writeCt(self._folder / _CT, volume)
            arguments = self._arguments()
            self._timeLeft = TimeLeft()
            self._onProgress, self._onFinished = onProgress, onFinished
            self._process.start(arguments, self._take, self._end)
        except OSError as error:
            self._abandon()
            raise UsageError(
                _("{place}: cannot be used for temporary files ({reason}); free some space there.").format(
                    place=self._place or tempfile.gettempdir(), reason=error.strerror or error
                )
            ) from error
        except FedKDTAVIError:
            self._abandon()
            raise

    def cancel(self) -> None:
        """Stop within a second; ``onFinished`` follows, with code ``cancelled``. Harmless when nothing runs."""
        if self.isRunning():
            self._cancelled = True
            self._process.cancel()

    def endNow(self) -> None:
        """Slicer quits, and no event loop will tell of the end: stop, wait a moment, and leave no CT behind."""
        if self.isRunning():
            self._onFinished = lambda result: None
            self.cancel()
            self._process.waitForEnd()
        self._abandon()

    def runBlocking(self, progress: Progress = SILENT) -> JobResult:
        """Run to the end without Qt; ``progress`` may cancel.

        Raises:
            InputError, UsageError: as :meth:`start`.
            Cancelled: ``progress`` said so; the child has ended and nothing is left.
        """
        results: list[JobResult] = []
        stopped: list[Cancelled] = []

        def guarded(call: Callable[[], None]) -> None:
            try:
                call()
            except Cancelled as error:
                stopped.append(error)
                self.cancel()

        process = self._process = BlockingProcess()
        report = lambda fraction, words: guarded(lambda: progress.step(fraction, words))  # noqa: E731
        self.start(report, results.append)
        try:
            process.wait(lambda: guarded(progress.check))
        finally:
            if process.isRunning():  # a KeyboardInterrupt
                self.cancel()
                process.wait()
        if stopped:
            raise stopped[0]
        return results[0]

    def _arguments(self) -> list[str]:
        from fedkdtavi_core.labels.markups import write_landmarks

        arguments = ["-m", "fedkdtavi_core", "annotate", str(self._folder / _CT), "--out", str(self._folder / "out")]
        arguments += ["--name", _RESULT, "--device", self._device, "--no-report"]
        arguments += ["--progress", "json", "--cancel-on-stdin-close"]
        if self._bundle is not None:
            arguments += ["--bundle", str(self._bundle)]
        if self._landmarks and any(landmark.status != "predicted" for landmark in self._landmarks.values()):
            write_landmarks(self._folder / "points.mrk.json", self._landmarks)
            arguments += ["--points", str(self._folder / "points.mrk.json")]
        return arguments

    def _take(self, message: Message) -> None:
        if self._cancelled or self._outcome is not None:
            return
        if not self._greeted:
            self._greet(message)
        elif isinstance(message, ProgressMessage):
            self._timeLeft.update(message.fraction)
            self._onProgress(message.fraction, message.message)
        elif isinstance(message, Done | Failed):
            self._outcome = message

    def _greet(self, message: Message) -> None:
        if problem := helloProblem(message):
            self._outcome = Failed("usage", problem)
            self._process.cancel()
        self._greeted = True

    def _end(self, ended: Ended) -> None:
        onFinished = self._onFinished
        result = self._result(ended)
        self._abandon()
        onFinished(result)

    def _result(self, ended: Ended) -> JobResult:
        if self._cancelled:
            return JobResult(code="cancelled", sentence=_("Cancelled; nothing was changed."))
        if isinstance(self._outcome, Done):
            return self._read(ended)
        if isinstance(self._outcome, Failed):
            if self._outcome.code == "cancelled":  # somebody else ended it: a system that shuts down
                return JobResult(code="cancelled", sentence=_("Cancelled; nothing was changed."), log=ended.log)
            # The person knows the CT by its name, not by the place of a temporary copy.
            sentence = self._outcome.sentence.replace(str(self._folder / _CT), self._name or _("the CT"))
            return JobResult(code=self._outcome.code, sentence=sentence, log=_log(ended, self._outcome.logFile))
        if not ended.started:
            sentence = _("The annotation could not be started; restart 3D Slicer, or install it again.")
        elif ended.exitCode is None:
            sentence = _(
                "The annotation was ended from outside or crashed, perhaps for lack of memory; nothing was changed: "
                "close other programs and run it again."
            )
        else:
            sentence = _(
                "The annotation ended without a result (exit code {code}); nothing was changed: "
                "run it again, and report it with the log if it happens twice."
            ).format(code=ended.exitCode)
        return JobResult(code="crashed", sentence=sentence, log=_log(ended, None))

    def _read(self, ended: Ended) -> JobResult:
        from fedkdtavi_core.labels.annotated import read_annotation

        if self.volumeNode is not None and fingerprint(self.volumeNode) != self._fingerprint:
            sentence = _("{name} was exchanged meanwhile (another phase?); nothing was changed: run again.")
            return JobResult(code="input", sentence=sentence.format(name=self._name or _("the CT")))
        try:
            found = read_annotation(self._folder / "out" / _RESULT, self._grid)
        except FedKDTAVIError as error:
            return JobResult(code=error.code, sentence=str(error), log=_log(ended, None))
        # Neither the temporary file nor what it is called says anything about the CT.
        for key in ("path", "chosen_series", "chosen_phase"):
            found.annotation.provenance.get("ct", {}).pop(key, None)
        return JobResult(annotation=found.annotation, notes=found.notes)

    def _abandon(self) -> None:
        self._onProgress = self._onFinished = None
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None


def runBlocking(volumeNode, progress: Progress = SILENT, **options) -> JobResult:
    """:meth:`AnnotateJob.runBlocking` of a new job; ``options`` are those of :class:`AnnotateJob`."""
    return AnnotateJob(volumeNode, **options).runBlocking(progress)


def _log(ended: Ended, logFile: str | None) -> str:
    parts = [f"fedkdtavi {fedkdtavi_core.__version__}, exit code {ended.exitCode}", ended.log]
    if logFile is not None:
        with suppress(OSError):
            parts.append(Path(logFile).read_text(encoding="utf-8", errors="replace")[-_LOG_BYTES:])
    return "\n".join(part for part in parts if part)


def _removeOldFolders(place: Path | None) -> None:
    """Remove what jobs left that could not do so themselves, as Slicer crashed: it holds a CT."""
    place = Path(tempfile.gettempdir()) if place is None else place
    with suppress(OSError):
        for folder in place.glob(f"{PREFIX}*"):
            if folder.is_dir() and time.time() - folder.stat().st_mtime > _OLD_AFTER_S:
                shutil.rmtree(folder, ignore_errors=True)
