"""Which CT: the volume selector, what the CT is like, and how to get one into Slicer."""

from __future__ import annotations

import slicer
from slicer.i18n import tr as _

from ..sampleData import loadSampleVolume
from ..volumes import volumeSummary
from .panel import Panel


class InputPanel(Panel):
    """Shows the CT chosen; a volume that cannot be used says why under the selector and in its tooltip."""

    def setup(self) -> None:
        self.ui.dicomButton.connect("clicked(bool)", self.onDicom)
        self.ui.sampleButton.connect("clicked(bool)", self.onSample)

    def refresh(self) -> None:
        node = self.workspace.volumeNode
        busy = self.workspace.busy
        self.allow(self.ui.inputSelector, busy, self.workspace.volumeProblem or _("The CT to annotate"))
        self.allow(self.ui.sampleButton, busy, _("Load the synthetic CT that comes with this extension"))
        if node is None:
            self.ui.volumeLabel.text = _(
                "No CT is chosen. Import a DICOM folder and load the contrast series (end-systolic phase if there is"
                " one), or drop a NIfTI or NRRD file on this window."
            )
        else:
            self.ui.volumeLabel.text = self.workspace.volumeProblem or volumeSummary(node).text

    def onDicom(self, checked: bool = False) -> None:
        """Go to the DICOM module."""
        slicer.util.selectModule("DICOM")

    def onSample(self, checked: bool = False) -> None:
        """Load the sample CT and choose it."""
        with self.sayingProblems():
            node = loadSampleVolume()
            self.workspace.parameterNode.inputVolume = node
            slicer.util.setSliceViewerLayers(background=node, fit=True)
