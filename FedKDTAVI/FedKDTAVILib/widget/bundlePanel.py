"""Which model bundle: the list, the card of each, import, back to the shipped one, and which is better on own cases."""

from __future__ import annotations

from pathlib import Path

from slicer.i18n import tr as _

from fedkdtavi_core.errors import FedKDTAVIError

from ..bundles import BundleEntry, cardText, chooseBundle, importBundle, listBundles
from ..compareJob import CompareJob, CompareResult, comparisonText
from ..words import percent
from . import dialogs
from .panel import Panel

SUMS = "SHA256SUMS"  # stands for the folder it lies in: a file dialog can choose no folder and file alike


class BundlePanel(Panel):
    """Lists the bundles when its section is opened: each is verified then, which takes up to a second."""

    def setup(self) -> None:
        self._entries: list[BundleEntry] = []
        self._listed = False
        self._job: CompareJob | None = None
        self._compared: tuple[str, str] = ("", "")
        self._words = ""
        self.ui.bundleSection.connect("contentsCollapsed(bool)", self.onCollapsed)
        self.ui.bundleSelector.connect("activated(int)", self.onChosen)
        self.ui.cardButton.connect("clicked(bool)", self.onCard)
        self.ui.importButton.connect("clicked(bool)", self.onImport)
        self.ui.takeBackButton.connect("clicked(bool)", self.onTakeBack)
        self.ui.compareButton.connect("clicked(bool)", self.onCompare)

    def refresh(self) -> None:
        if not self._listed:
            return
        busy, entry = self.workspace.busy, self._current()
        if self._job is not None:
            busy = _comparing()
        shown = self.ui
        self.allow(shown.bundleSelector, busy, _("The model bundle used for the next run"))
        self.allow(shown.importButton, busy, _("Verify a bundle (zip, or the SHA256SUMS of a folder) and use it"))
        self.allow(
            shown.cardButton,
            "" if entry and not entry.problem else _("There is no sound bundle."),
            _("Show the model card: trained on what, measured how"),
        )
        shipped = entry is None or entry.isShipped
        self.allow(
            shown.takeBackButton,
            busy or (_("The shipped bundle is in use.") if shipped else ""),
            _("Use the shipped bundle again; imported ones stay in the list"),
        )
        shown.compareButton.text = _("Compare...") if self._job is None else _("Cancel")
        others = "" if self._others() else _("There is no other bundle to compare with; import one.")
        does = _("Run the bundle in use and another one on a site's reviewed cases: which is closer to them?")
        if self._job is None:
            self.allow(shown.compareButton, busy or self.workspace.installProblem or others, does)
        else:
            self.allow(shown.compareButton, "", _("Stop the comparison"))
        shown.bundleLabel.text = self._words or self._text(entry)
        name = entry.title if entry else _("none")
        shown.bundleSection.text = _("Model: {name}").format(name=name)

    def onCollapsed(self, collapsed: bool) -> None:
        """The section was opened or closed."""
        if not collapsed:
            self._list()

    def onChosen(self, index: int) -> None:
        """Use another bundle of the list."""
        with self.sayingProblems():
            chooseBundle(self._entries[index])
        self._list()

    def onCard(self, checked: bool = False) -> None:
        """Show the model card of the bundle in use."""
        entry = self._current()
        with self.sayingProblems():
            dialogs.showText(cardText(entry), _("Model card: {name}").format(name=entry.title))

    def onImport(self, checked: bool = False) -> None:
        """Import a bundle and use it; one that is refused changes nothing."""
        chosen = dialogs.openFile(_("Import a model bundle"), _("Model bundle (*.zip {sums})").format(sums=SUMS))
        if chosen is None:
            return
        with self.sayingProblems():
            importBundle(chosen.parent if chosen.name == SUMS else chosen)
        self._list()

    def onTakeBack(self, checked: bool = False) -> None:
        """Use the shipped bundle again."""
        with self.sayingProblems():
            chooseBundle(next(entry for entry in self._entries if entry.isShipped))
        self._list()

    def onCompare(self, checked: bool = False) -> None:
        """Compare the bundle in use with another one on a site's reviewed cases; pressed again: cancel."""
        if self._job is not None:
            self._job.cancel()
            return
        new, others = self._current(), self._others()
        index = 0
        if len(others) > 1:
            question = _("Which bundle shall {name} be compared with?").format(name=new.title)
            index = dialogs.choose(question, _("Compare bundles"), [entry.title for entry in others])
        site = None if index is None else self._site()
        if site is None:
            return
        with self.sayingProblems():
            job, old = CompareJob(), others[index]
            job.start(old.path, new.path, site, self.workspace.settings.device, self.onProgress, self.onCompared)
            self._job, self._compared, self._words = job, (old.title, new.title), _("Comparing")
        self._tellProblem()

    def onProgress(self, fraction: float, words: str) -> None:
        """The comparison is at ``fraction`` 0..1."""
        self._words = _("Comparing, {percent} %: {words}").format(percent=percent(fraction), words=words)
        self.ui.bundleLabel.text = self._words

    def onCompared(self, result: CompareResult) -> None:
        """The comparison has ended, however it did."""
        self._job, self._words = None, ""
        if result.sentence:
            self.workspace.problem = result.sentence
        self._tellProblem()
        if result.summary is not None:
            dialogs.showText(comparisonText(result.summary, *self._compared), _("Comparison of model bundles"))

    def cleanup(self) -> None:
        if self._job is not None:
            self._job.cancel()

    def _site(self) -> Path | None:
        chosen = self.ui.siteFolder.currentPath
        return Path(chosen) if chosen else dialogs.folder(_("Compare on the cases of this site folder"))

    def _others(self) -> list[BundleEntry]:
        return [entry for entry in self._entries if not entry.inUse and not entry.problem]

    def _tellProblem(self) -> None:
        self.workspace.bundleProblem = self._problem()
        self.workspace.changed()

    def _list(self) -> None:
        try:
            self._entries = listBundles()
        except FedKDTAVIError as error:
            self._entries = []
            self.workspace.say(str(error))
        self._listed = True
        selector = self.ui.bundleSelector
        selector.clear()
        for index, entry in enumerate(self._entries):
            selector.addItem(entry.title)
            if entry.inUse:
                selector.setCurrentIndex(index)
        self._tellProblem()

    def _current(self) -> BundleEntry | None:
        return next((entry for entry in self._entries if entry.inUse), None)

    def _problem(self) -> str:
        if self._job is not None:
            return _comparing()
        entry = self._current()
        if entry is None:
            return _("No model bundle is there; import one in the section Model.")
        return entry.problem

    @staticmethod
    def _text(entry: BundleEntry | None) -> str:
        if entry is None or entry.problem:
            return entry.problem if entry else _("No model bundle is there; import one.")
        return _("Digest {digest}").format(digest=entry.digest[:12])


def _comparing() -> str:
    return _("Bundles are being compared; cancel that in the section Model first.")
