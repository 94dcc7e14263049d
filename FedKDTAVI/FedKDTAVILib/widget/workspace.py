"""What the sections of the panel share: the CT, its labels, the review of them, and a sentence when something is wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from fedkdtavi_core.errors import FedKDTAVIError

if TYPE_CHECKING:
    from ..caseNodes import CaseNodes
    from ..reviewSession import ReviewSession
    from ..settings import ModuleSettings


class Workspace:
    """The case that is being worked on.

    Attributes:
        logic: the module's logic.
        settings: device, wheel folder, reviewer.
        parameterNode: the module's parameters in this scene, or None while there is no scene to work on.
        session: the review of the labels shown, or None before a run.
        running: is a run under way?
        problem: what is wrong, one sentence; or empty.
    """

    def __init__(self, logic, settings: ModuleSettings) -> None:
        self.logic = logic
        self.settings = settings
        self.parameterNode = None
        self.session: ReviewSession | None = None
        self.running = False
        self.problem = ""
        self._listeners: list[Callable[[], None]] = []

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
    def caseNodes(self) -> CaseNodes | None:
        """The nodes of the labels, or None while there are none."""
        from ..caseNodes import CaseNodes

        return CaseNodes.find(self.parameterNode.parameterNode) if self.parameterNode else None

    def openReview(self) -> None:
        """Begin the review of the labels in the scene, or go on where it stopped; none where there are none."""
        from ..reviewSession import ReviewSession

        self.closeReview()
        nodes = self.caseNodes
        if nodes is not None and nodes.landmarks is not None:
            try:
                self.session = ReviewSession(nodes, onChange=self.changed)
            except FedKDTAVIError as error:
                self.problem = str(error)
        self.changed()

    def closeReview(self) -> None:
        """Stop watching the nodes; what was reviewed stays in them."""
        if self.session is not None:
            self.session.stop()
            self.session = None
