"""What Slicer lacks to run: listed with sizes, installed only when a person has agreed."""

from __future__ import annotations

import slicer
from slicer.i18n import tr as _

from ..install import InstallCancelled, InstallError, install, installPlan, missing
from . import dialogs
from .panel import Panel


class InstallPanel(Panel):
    """Shown only while packages are missing."""

    def setup(self) -> None:
        self._log = ""
        self._installing = self._cancelled = False
        self.ui.installCancelButton.connect("clicked(bool)", self.onCancel)
        self.ui.installButton.connect("clicked(bool)", self.onInstall)
        self.ui.installLogButton.connect("clicked(bool)", self.onCopyLog)

    def enter(self) -> None:
        self._look()

    def refresh(self) -> None:
        problem = self.workspace.installProblem
        self.ui.installLabel.text = problem
        self.ui.installLabel.setVisible(bool(problem))
        self.ui.installButton.setVisible(bool(problem))
        self.ui.installCancelButton.setVisible(self._installing)
        does = _("Stop the installation; it can be repeated") if not self._cancelled else _("Cancelling")
        self.allow(self.ui.installCancelButton, does if self._cancelled else "", does)
        self.ui.installLogButton.setVisible(bool(problem and self._log))
        self.allow(self.ui.installButton, self.workspace.busy, _("List what is missing with sizes, and ask"))

    def onInstall(self, checked: bool = False) -> None:
        """Ask, then install; the window stays live meanwhile, but nothing else may be started."""
        if self._installing:
            return
        self._log = ""
        self._installing, self._cancelled = True, False
        with self.sayingProblems():
            try:
                self.workspace.busy = _("Looking up what has to be installed; wait.")
                self.workspace.changed()
                self._install()
            except InstallError as error:
                self._log = error.log
                raise
            finally:
                self._installing = False
                self.workspace.busy = ""
        self._look()

    def onCancel(self, checked: bool = False) -> None:
        """Stop the installation; harmless when there is none."""
        self._cancelled = True
        self.refresh()

    def cleanup(self) -> None:
        self._cancelled = True  # pip must not outlive the panel

    def onCopyLog(self, checked: bool = False) -> None:
        """Put what pip said on the clipboard."""
        dialogs.copy(self._log)

    def _install(self) -> None:
        plan = installPlan(self.workspace.settings.wheelFolder, onIdle=self._onIdle)
        if plan.packages and dialogs.confirm(plan.text, _("Install Python packages")):
            self.workspace.busy = _("Packages are being installed; wait.")
            self.workspace.changed()
            install(plan, onIdle=self._onIdle)

    def _onIdle(self) -> None:
        slicer.app.processEvents()
        if self._cancelled:
            raise InstallCancelled

    def _look(self) -> None:
        try:
            names = ", ".join(requirement.name for requirement in missing())
            problem = _("Missing in this Slicer: {names}. Install them first.").format(names=names) if names else ""
        except InstallError as error:
            problem = str(error)
        self.workspace.installProblem = problem
        self.workspace.changed()
