"""Settings that outlive a scene: device, reviewer, wheel folder."""

from __future__ import annotations

from slicer.i18n import tr as _

from .panel import Panel

DEVICES = ("auto", "cpu", "cuda")


class SettingsPanel(Panel):
    """Shows the settings, and stores what is changed at once."""

    def setup(self) -> None:
        settings = self.workspace.settings
        names = {"auto": _("Automatic"), "cpu": _("CPU"), "cuda": _("GPU (CUDA)")}
        for device in DEVICES:
            self.ui.deviceSelector.addItem(names[device], device)
        self.ui.deviceSelector.setCurrentIndex(self.ui.deviceSelector.findData(settings.device))
        self.ui.reviewerEdit.text = settings.reviewer
        self.ui.wheelFolder.currentPath = settings.wheelFolder
        self.ui.deviceSelector.connect("currentIndexChanged(int)", self.onDevice)
        self.ui.reviewerEdit.connect("editingFinished()", self.onReviewer)
        self.ui.wheelFolder.connect("currentPathChanged(QString)", self.onWheelFolder)

    def onDevice(self, index: int) -> None:
        """Another device for the next run."""
        self.workspace.settings.device = self.ui.deviceSelector.itemData(index)
        self.workspace.changed()

    def onReviewer(self) -> None:
        """Another pseudonym for the labels exported from now on."""
        with self.sayingProblems():
            self.workspace.settings.reviewer = self.ui.reviewerEdit.text.strip()
        self.workspace.changed()

    def onWheelFolder(self, path: str) -> None:
        """Another folder to install from."""
        self.workspace.settings.wheelFolder = path
