"""Export and cases: the reviewed case into a site dataset, plain files, and one case of a site after another."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import slicer
from slicer.i18n import tr as _

from fedkdtavi_core.errors import FedKDTAVIError

from ..caseOpening import openCase
from ..fileExport import exportFiles
from ..siteCase import CaseSummary, exportCase, siteCases
from ..siteWalk import casePath, decisions, nextCase, reviewedText, unsaved
from . import dialogs
from .panel import Panel
from .tables import fillTable, setColumns

FILES_FOLDER = "fedkdtavi-labels"


class ExportPanel(Panel):
    """Writes the labels that are shown, and opens others; asks before anything reviewed would be lost."""

    def setup(self) -> None:
        self._cases: list[CaseSummary] = []
        self._saved = None
        self._said = ""
        setColumns(self.ui.caseTable, stretch=(0,))
        self.ui.siteFolder.connect("currentPathChanged(QString)", self.onSiteFolder)
        self.ui.exportCaseButton.connect("clicked(bool)", self.onExportCase)
        self.ui.exportFilesButton.connect("clicked(bool)", self.onExportFiles)
        self.ui.openCaseButton.connect("clicked(bool)", self.onOpenCase)
        self.ui.nextCaseButton.connect("clicked(bool)", self.onNextCase)
        self.ui.caseTable.connect("cellDoubleClicked(int,int)", self.onCaseChosen)

    def enter(self) -> None:
        self._list()

    def refresh(self) -> None:
        busy = self.workspace.busy
        none = busy or ("" if self.workspace.session else _("There are no labels to export; run first."))
        site = none or ("" if self.ui.siteFolder.currentPath else _("Choose the site folder first."))
        onward = site or ("" if self._next() else _("All cases of the site folder are reviewed."))
        self.allow(self.ui.exportCaseButton, site, _("Write CT, labels and who reviewed them; no patient's identity"))
        self.allow(self.ui.exportFilesButton, none, _("Write labels, measurements and the report picture to a folder"))
        self.allow(self.ui.openCaseButton, busy, _("Open a case folder and go on where its review stopped"))
        self.allow(self.ui.nextCaseButton, onward, _("Save this case, then open the next that is not reviewed yet"))
        self.ui.caseTable.setVisible(bool(self._cases))
        # Training runs in an environment of its own, outside Slicer: the panel only tells how to look at the site.
        command = f'fedkdtavi site status "{self.ui.siteFolder.currentPath}"' if self._cases else ""
        self.ui.commandLabel.text = command and _("For training, in a terminal: {command}").format(command=command)
        self.ui.commandLabel.setVisible(bool(command))
        self.ui.exportLabel.text = self._said
        self.ui.exportLabel.setVisible(bool(self._said))

    def sceneStartClose(self) -> None:
        self._saved = None

    def onSiteFolder(self, path: str) -> None:
        """Another site folder."""
        self._list()
        self.refresh()

    def onExportCase(self, checked: bool = False) -> None:
        """Write the case into the site dataset."""
        with self.sayingProblems():
            self._write(_("Saving the case; wait."), self._export)
        self._list()
        self.workspace.changed()

    def onExportFiles(self, checked: bool = False) -> None:
        """Write plain files for other programs."""
        place = dialogs.folder(_("Save labels, measurements and report in"))
        if place is None:
            return
        target = place / FILES_FOLDER
        question = _("{folder} is there already. Replace it?").format(folder=target)
        if target.exists() and not dialogs.confirm(question, _("Save files")):
            return
        with self.sayingProblems():
            self._write(_("Saving the files; wait."), lambda: self._exportFiles(target))
        self.workspace.changed()

    def onOpenCase(self, checked: bool = False) -> None:
        """Open a case folder."""
        chosen = dialogs.folder(_("Open a case folder"), self.ui.siteFolder.currentPath)
        if chosen is not None:
            self._open(chosen)

    def onCaseChosen(self, row: int, column: int) -> None:
        """A case of the list was double-clicked."""
        if not self.workspace.busy:
            self._open(self._cases[row].path)

    def onNextCase(self, checked: bool = False) -> None:
        """Save this case and open the next."""
        with self.sayingProblems():
            written = self._write(_("Saving the case; wait."), self._export)
            self._list()
            following = self._next()
            if written and following is not None:
                self._open(following.path)
        self.workspace.changed()

    def _write(self, sentence: str, write: Callable[[], None]) -> bool:
        """Write, with the mouse and a sentence saying so; False when it was not begun."""
        if self.workspace.busy or self.workspace.session is None:
            return False
        with self._saying(sentence):
            if self.workspace.session is None:  # the scene was closed while the sentence was drawn
                return False
            write()
            return True

    @contextmanager
    def _saying(self, sentence: str) -> Iterator[None]:
        """The sentence stands in the panel meanwhile, and its buttons are shut.

        A CT takes seconds to write or to read. The second click of a double click comes meanwhile, or lies in the queue
        of events until the end: both times it finds the buttons shut.
        """
        self.workspace.busy = self._said = sentence
        try:
            self.workspace.changed()
            with dialogs.waiting():  # which also lets the window draw the sentence
                yield
        finally:
            slicer.app.processEvents()
            self.workspace.busy = ""
            if self._said == sentence:
                self._said = ""

    def _exportFiles(self, target: Path) -> None:
        session = self.workspace.session
        session.settle()
        written = exportFiles(session.case, target, replace=target.exists())
        self._said = " ".join([_("Saved in {folder}.").format(folder=target), *written.notes])

    def _export(self) -> None:
        session = self.workspace.session
        session.settle()
        path = exportCase(session.case, self._site(), reviewer=self.workspace.settings.reviewer)
        self._saved = decisions(session)
        self._said = _("Saved as {case}: {progress}.").format(case=path.name, progress=session.queue.progressText)
        self.ui.siteFolder.addCurrentPathToHistory()

    def _open(self, folder: Path) -> None:
        question = _("Labels that were reviewed here are not saved as a site case yet. Open another case all the same?")
        if unsaved(self.workspace.session, self._saved) and not dialogs.confirm(question, _("Open a case")):
            return
        with self.sayingProblems():
            try:
                with self._saying(_("Opening the case; wait.")):
                    self.workspace.closeReview()
                    nodes = openCase(folder, self.workspace.parameterNode.parameterNode)
                    self._said = " ".join(nodes.notes)
            finally:
                with dialogs.waiting():
                    self.workspace.openReview()
            self._saved = decisions(self.workspace.session)
        self.workspace.changed()

    def _list(self) -> None:
        self._cases = []
        if self.ui.siteFolder.currentPath and (self._site() / "cases").is_dir():
            try:
                self._cases = siteCases(self._site())
            except (FedKDTAVIError, OSError) as error:
                self._said = str(error)
        rows = [(case.caseId, reviewedText(case)) for case in self._cases]
        fillTable(self.ui.caseTable, rows, [case.error or str(case.path) for case in self._cases])

    def _next(self) -> CaseSummary | None:
        return nextCase(self._cases, casePath(self.workspace.caseNodes))

    def _site(self) -> Path:
        return Path(self.ui.siteFolder.currentPath)
