"""Placing one landmark with the next click in a view, as Slicer's own place mode does it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import slicer

from .landmarkNodes import pointIndex

if TYPE_CHECKING:
    from .reviewSession import ReviewSession


class Placing:
    """One landmark that waits for a click.

    >>> placing = Placing(slicer.mrmlScene)
    >>> placing.start(session, "hinge_ncc")    # the next click in a view places it; what is there already is moved
    >>> placing.stop()
    """

    def __init__(self, scene: Any) -> None:
        self._scene = scene
        self._missing: tuple[ReviewSession, Any, int] | None = None

    def start(self, session: ReviewSession, labelId: str) -> None:
        """The next click in a view places this landmark.

        Raises:
            InputError: the node has no such point.
        """
        self.stop()
        session.finishDrag()
        node = session.case.landmarks
        index = pointIndex(node, labelId)
        if node.GetNthControlPointPositionStatus(index) == node.PositionMissing:
            # Slicer passes over missing points, and would place the next one that has no position.
            with session.suppressed():
                node.UnsetNthControlPointPosition(index)
            self._missing = session, node, index
        logic = slicer.modules.markups.logic()
        logic.SetActiveList(node)
        # Slicer places the first point without a position from here on.
        node.SetControlPointPlacementStartIndex(index)
        logic.StartPlaceMode(False)

    def stop(self) -> None:
        """Leave place mode, where it is on; clicks turn and scroll the views again."""
        interaction = self._scene.GetNodeByID("vtkMRMLInteractionNodeSingleton")
        if interaction is not None and interaction.GetCurrentInteractionMode() == interaction.Place:
            interaction.SwitchToViewTransformMode()
        if self._missing is None:
            return
        (session, node, index), self._missing = self._missing, None
        if session.isActive and node.GetNthControlPointPositionStatus(index) == node.PositionUndefined:
            with session.suppressed():  # it was not placed: absent, as before
                node.SetNthControlPointPositionMissing(index)
