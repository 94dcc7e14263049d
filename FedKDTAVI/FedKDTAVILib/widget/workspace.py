"""What the sections of the panel share: the CT, its labels, the review of them, and what is wrong at the moment."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import qt
import slicer
from slicer.i18n import tr as _

from fedkdtavi_core.errors import FedKDTAVIError

from ..caseNodes import CaseNodes
from ..volumeCache import VolumeCache
from ..volumes import checkVolumeNode

if TYPE_CHECKING:
    from ..reviewSession import ReviewSession
    from ..settings import ModuleSettings


class Workspace:
    """The case that is being worked on.

    Attributes:
        logic: the module's logic.
        settings: device, wheel folder, reviewer.
        cache: the CT as the core sees it, for all who need it.
        parameterNode: the module's parameters in this scene, or None while there is no scene to work on.
        session: the review of the labels shown, or None where there are none.
        busy: why nothing may be changed at the moment (a run, an installation), one sentence; or empty.
        installProblem: which Python packages are missing, one sentence; or empty.
        bundleProblem: why the bundle in use cannot run, one sentence; or empty.
        problem: what is wrong, one sentence; or empty.
    """

    def __init__(self, logic, settings: ModuleSettings) -> None:
        self.logic = logic
        self.settings = settings
        self.parameterNode = None
        self.session: ReviewSession | None = None
        self.busy = ""
        self.bundleProblem = ""
        self.installProblem = ""
        self.problem = ""
        self.cache = VolumeCache()
        self._listeners: list[Callable[[], None]] = []
        self._checked: tuple = ()
        self._volumeProblem = ""

    def listen(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` whenever something here has changed."""
        self._listeners.append(callback)

    def changed(self) -> None:
        """Tell everybody that something here has changed."""
        for callback in list(self._listeners):
            callback()

    def say(self, problem: str) -> None:
        """Show this sentence on top of the panel; empty takes it away."""
        if problem != self.problem:
            self.problem = problem
            self.changed()

    @property
    def volumeNode(self):
        """The CT chosen, or None."""
        return self.parameterNode.inputVolume if self.parameterNode else None

    @property
    def volumeProblem(self) -> str:
        """Why the CT chosen cannot be annotated, one sentence; empty when it can, or when none is chosen."""
        node = self.volumeNode
        if node is None:
            return ""
        checked = (node, node.GetMTime(), node.GetImageData() and node.GetImageData().GetMTime())
        if checked != self._checked:  # it looks at voxels: not at every change of the panel
            self._checked = checked
            self._volumeProblem = checkVolumeNode(node) or ""
        return self._volumeProblem

    @property
    def caseNodes(self) -> CaseNodes | None:
        """The nodes of the labels, or None while there are none."""
        nodes = CaseNodes(self.parameterNode) if self.parameterNode else None
        return nodes if nodes is not None and nodes.state is not None else None

    @property
    def otherVolume(self) -> str:
        """Name of the CT that the labels in the scene belong to, when another one is chosen; otherwise empty."""
        nodes = self.caseNodes
        if nodes is None or nodes.volume is self.volumeNode:
            return ""
        return nodes.volume.GetName() if nodes.volume is not None else _("a CT that was deleted")

    def openReview(self) -> None:
        """Begin the review of the labels in the scene, or go on where it stopped; none where there are none."""
        from ..reviewSession import ReviewSession

        self.closeReview()
        nodes = self.caseNodes
        if nodes is not None and not self.otherVolume and not self.busy:
            try:
                self.session = ReviewSession(
                    nodes,
                    reviewer=self.settings.reviewer,
                    onChange=self.changed,
                    onEnd=self._onReviewEnd,
                    cache=self.cache,
                    buttonHeld=lambda: bool(slicer.app.mouseButtons()),
                    later=lambda call: qt.QTimer.singleShot(0, call),
                )
            except FedKDTAVIError as error:
                self.problem = str(error)
        self.changed()

    def closeReview(self) -> None:
        """Stop watching the nodes; what was reviewed stays in them."""
        if self.session is not None:
            session = self.session
            try:
                session.finishDrag()
            except FedKDTAVIError as error:
                self.problem = str(error)
            self.session = None
            session.end()

    def forgetScene(self) -> None:
        """Let go of the CT's voxels and node: the scene closes."""
        self.cache.clear()
        self._checked = ()

    def _onReviewEnd(self) -> None:
        """It ended by itself: a node was deleted, or the scene closes."""
        if self.session is not None and not self.session.isActive:
            self.session = None
            self.changed()
