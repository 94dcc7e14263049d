"""Run and cancel: why it cannot run, how far it is, how long it still takes, and how it ended."""

from __future__ import annotations

import qt
import slicer
from slicer.i18n import tr as _

from ..annotateJob import AnnotateJob, JobResult
from ..caseNodes import CaseNodes
from ..earlyImports import EarlyImports
from ..install import deviceNote
from ..keepReviewed import keepReviewed
from ..words import percent, progressText
from . import dialogs
from .panel import Panel


class RunPanel(Panel):
    """Runs the annotation of the CT in a child process; the window stays live."""

    def setup(self) -> None:
        self.job: AnnotateJob | None = None
        self._early = EarlyImports(qt.QTimer.singleShot)
        self._kept = None
        self._log = ""
        self._words = ""
        self.ui.runButton.connect("clicked(bool)", self.onRun)
        self.ui.cancelButton.connect("clicked(bool)", self.onCancel)
        self.ui.logButton.connect("clicked(bool)", self.onCopyLog)

    def refresh(self) -> None:
        running = self.job is not None
        self.allow(self.ui.runButton, self._whyNot(), _("Find the landmarks and the calcification in this CT"))
        self.allow(self.ui.cancelButton, "" if running else _("Nothing is running."), _("Stop; nothing is changed"))
        self.ui.progressBar.setVisible(running)
        self.ui.logButton.setVisible(bool(self._log) and not running)
        self.ui.progressLabel.text = self._words or deviceNote(self.workspace.settings.device)
        self.ui.progressLabel.setVisible(bool(self.ui.progressLabel.text))

    def sceneStartClose(self) -> None:
        self.onCancel()

    def cleanup(self) -> None:
        if self.job is not None:
            self.job.endNow()

    def onRun(self, checked: bool = False) -> None:
        """Start; labels that a person has reviewed are replaced only when that person wants it."""
        with self.sayingProblems():
            kept = self._askWhatToKeep()
            if kept is None:
                return
            job = AnnotateJob(
                self.workspace.volumeNode,
                device=self.workspace.settings.device,
                temporaryFolder=slicer.app.temporaryPath,
                landmarks=kept.landmarks if kept else None,
            )
            job.start(self.onProgress, self.onFinished)
            self.job, self._kept, self._log = job, kept or None, ""
            self._words = _("Starting")
            self.ui.progressBar.value = 0
            self.workspace.closeReview()
            self.workspace.busy = _("A run is under way; cancel it first.")
            self._early.start()
        self.workspace.changed()

    def onCancel(self, checked: bool = False) -> None:
        """Stop the run; harmless when nothing runs."""
        if self.job is not None:
            self._words = _("Cancelling")
            self.job.cancel()
            self.refresh()

    def onCopyLog(self, checked: bool = False) -> None:
        """Put the log of the run that failed on the clipboard."""
        dialogs.copy(self._log)

    def onProgress(self, fraction: float, words: str) -> None:
        """The run is at ``fraction`` 0..1. Only the bar and its words change: this comes often."""
        self._words = progressText(words, self.job.timeLeft)
        self.ui.progressBar.value = percent(fraction)
        self.ui.progressLabel.text = self._words

    def onFinished(self, result: JobResult) -> None:
        """The run has ended, however it did."""
        job, self.job = self.job, None
        kept, self._kept = self._kept, None
        self._log, self._words = result.log, " ".join(result.notes)
        try:
            self._take(job, result, kept)
        finally:
            self.workspace.busy = ""
        self.workspace.openReview()

    def _take(self, job: AnnotateJob, result: JobResult, kept) -> None:
        if result.code == "cancelled":
            self._words = result.sentence
        elif result.annotation is None:
            self.workspace.problem = result.sentence
        else:
            self._show(job, result.annotation, kept)

    def _show(self, job: AnnotateJob, annotation, kept) -> None:
        # Busy until the nodes hold it: a click meanwhile must not start another run, or a review of half of it.
        self.workspace.busy = _("The labels are being shown; wait.")
        self.workspace.changed()
        with self.sayingProblems(), dialogs.waiting():
            volumeNode = job.volumeNode
            if volumeNode is None:
                self._words = _("The CT was closed meanwhile; nothing is shown.")
                return
            if kept is not None:
                keepReviewed(annotation, kept)
            # The person may have gone to another module meanwhile.
            parameterNode = self.workspace.parameterNode or self.workspace.logic.getParameterNode()
            parameterNode.inputVolume = volumeNode
            CaseNodes(parameterNode).showAnnotation(annotation)

    def _askWhatToKeep(self):
        """The annotation whose reviewed labels stay; False to keep nothing; None when there shall be no run."""
        nodes = self.workspace.caseNodes
        if nodes is None or not nodes.hasReviewedLabels():
            return False
        title, other = _("Labels were reviewed"), self.workspace.otherVolume
        if other or not nodes.isComplete:
            question = _("The labels of {name} were reviewed by a person; a run replaces them. Export them first.")
            return False if dialogs.confirm(question.format(name=other or _("this CT")), title) else None
        question = _("Labels of this CT were reviewed by a person. Shall a new run keep them?")
        chosen = dialogs.choose(question, title, [_("Keep what was reviewed"), _("Replace all labels")])
        return None if chosen is None else nodes.toAnnotation() if chosen == 0 else False

    def _whyNot(self) -> str:
        if self.workspace.busy:
            return self.workspace.busy
        if self.workspace.volumeNode is None:
            return _("Choose a CT first.")
        return self.workspace.volumeProblem or self.workspace.installProblem or self.workspace.bundleProblem
