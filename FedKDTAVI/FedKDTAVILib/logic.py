"""The module without its window: what scripts and the Python console call.

>>> from FedKDTAVI import FedKDTAVILogic
>>> caseNodes = FedKDTAVILogic().annotate(slicer.util.getNode("CT"))
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slicer.i18n import tr as _

from fedkdtavi_core import errors
from fedkdtavi_core.errors import FedKDTAVIError, UsageError
from fedkdtavi_core.progress import SILENT, Progress

if TYPE_CHECKING:
    from .annotateJob import JobResult
    from .caseNodes import CaseNodes

_ERRORS = {
    kind.code: kind
    for kind in (errors.UsageError, errors.NoRootError, errors.InputError, errors.BundleError, errors.Cancelled)
}


class RunError(FedKDTAVIError):
    """The annotating process crashed or failed unexpectedly; ``log`` is what it said."""

    code = "crashed"

    def __init__(self, sentence: str, log: str = "") -> None:
        super().__init__(sentence)
        self.log = log


class ModuleLogic:
    """Mixed into the module's logic, which gives ``getParameterNode()``."""

    def annotate(
        self,
        volumeNode: Any,
        bundle: str | Path | None = None,
        device: str = "auto",
        progress: Progress | Callable[[float, str], None] | None = None,
        *,
        replaceReviewed: bool = False,
    ) -> CaseNodes:
        """Annotate a CT and show the result in the scene; returns when that is done.

        Args:
            volumeNode: vtkMRMLScalarVolumeNode with a cardiac CT.
            bundle: folder or zip of a model bundle; None for the one in use.
            device: ``auto``, ``cpu`` or ``cuda``.
            progress: called with fraction 0..1 and words, or a Progress, which may also cancel.
            replaceReviewed: labels in the scene that a person has reviewed may be replaced.

        Returns:
            The nodes of landmarks, calcification and contour. Trained on synthetic phantoms; not for clinical use.

        Raises:
            InputError: no CT, or none that can be annotated.
            NoRootError: no aortic root was found, or the CT does not cover it; the scene is as it was.
            BundleError: the bundle is refused.
            UsageError: reviewed labels would be lost.
            Cancelled: ``progress`` said so.
            RunError: the process that does the work crashed.
        """
        from .annotateJob import runBlocking
        from .caseNodes import CaseNodes

        nodes = CaseNodes.find(self.getParameterNode())
        if nodes.hasReviewedLabels() and not replaceReviewed:
            raise UsageError(
                _("Labels in this scene were reviewed by a person; export them, or pass replaceReviewed=True.")
            )
        watch = SILENT if progress is None else progress if isinstance(progress, Progress) else Progress(progress)
        result = runBlocking(volumeNode, watch, bundle=bundle, device=device)
        if result.annotation is None:
            raise _raised(result)
        nodes.parameterNode.SetNodeReferenceID("inputVolume", volumeNode.GetID())
        nodes.showAnnotation(result.annotation)
        return nodes


def _raised(result: JobResult) -> FedKDTAVIError:
    kind = _ERRORS.get(result.code)
    return RunError(result.sentence, result.log) if kind is None else kind(result.sentence)
