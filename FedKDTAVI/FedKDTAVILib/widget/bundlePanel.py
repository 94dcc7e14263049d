"""Which model bundle: the list, the card of each, import, and back to the shipped one."""

from __future__ import annotations

from slicer.i18n import tr as _

from fedkdtavi_core.errors import FedKDTAVIError

from ..bundles import BundleEntry, cardText, chooseBundle, importBundle, listBundles
from . import dialogs
from .panel import Panel

SUMS = "SHA256SUMS"  # stands for the folder it lies in: a file dialog can choose no folder and file alike


class BundlePanel(Panel):
    """Lists the bundles when its section is opened: each is verified then, which takes up to a second."""

    def setup(self) -> None:
        self._entries: list[BundleEntry] = []
        self._listed = False
        self.ui.bundleSection.connect("contentsCollapsed(bool)", self.onCollapsed)
        self.ui.bundleSelector.connect("activated(int)", self.onChosen)
        self.ui.cardButton.connect("clicked(bool)", self.onCard)
        self.ui.importButton.connect("clicked(bool)", self.onImport)
        self.ui.takeBackButton.connect("clicked(bool)", self.onTakeBack)

    def refresh(self) -> None:
        if not self._listed:
            return
        busy, entry = self.workspace.busy, self._current()
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
        shown.bundleLabel.text = self._text(entry)
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
        self.workspace.bundleProblem = self._problem()
        self.workspace.changed()

    def _current(self) -> BundleEntry | None:
        return next((entry for entry in self._entries if entry.inUse), None)

    def _problem(self) -> str:
        entry = self._current()
        if entry is None:
            return _("No model bundle is there; import one in the section Model.")
        return entry.problem

    @staticmethod
    def _text(entry: BundleEntry | None) -> str:
        if entry is None or entry.problem:
            return entry.problem if entry else _("No model bundle is there; import one.")
        return _("Digest {digest}").format(digest=entry.digest[:12])
