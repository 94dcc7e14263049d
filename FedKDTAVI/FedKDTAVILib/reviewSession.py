"""One person's review of one case: the queue, undo and the nodes kept in step.

What a person does on screen (drags, places, deletes, paints) and what the panel asks for (accept, absent, undo ...)
become steps that can be taken back; each is in the nodes at once, so a scene saved at any moment reopens where the
review stopped. The session ends by itself when the scene closes or one of its nodes is deleted, and leaves no observer.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import slicer
import vtk

from fedkdtavi_core import schema
from fedkdtavi_core.annotation import Status

from .caseNodes import CaseNodes
from .labelState import LabelState
from .observers import Observers
from .pointTracker import PointTracker
from .reviewNodes import CALCIFICATION, CONTOUR, ReviewNodes
from .reviewQueue import ReviewQueue
from .undoStack import Step, UndoStack
from .volumeCache import VolumeCache


class ReviewSession:
    """A review from its making until :meth:`end`.

    >>> session = ReviewSession(CaseNodes.find(parameterNode), reviewer="reader-1", onChange=panel.update)
    >>> session.accept()                       # and looks at the next label that nobody has reviewed
    >>> session.queue.progressText
    '1 of 9 reviewed'

    Args:
        case: nodes with labels.
        reviewer: pseudonym that the records of decisions carry; None when none is set.
        onChange: is called after every change of a label and of the label that is looked at.
        onEnd: is called once, when the session is over, for whatever reason.
        cache: holds the CT; share it with the live measurements.
        buttonHeld: tells whether a mouse button is down. A drag while none is has lost its end, and whatever the panel
            asks for next ends it; default: never down.
        later: calls back once what happens now is done; with it, a drag without an end is noticed at once.

    Raises:
        InputError: a node is gone, a point is there twice, a non-linear transform stands above one, or the CT is
            another phase than the one that was annotated.
    """

    def __init__(
        self,
        case: CaseNodes,
        *,
        reviewer: str | None = None,
        onChange: Callable[[], None] | None = None,
        onEnd: Callable[[], None] | None = None,
        cache: VolumeCache | None = None,
        buttonHeld: Callable[[], bool] | None = None,
        later: Callable[[Callable[[], None]], None] | None = None,
    ) -> None:
        self.case = case
        self.reviewer = reviewer
        self.onChange = onChange
        self.onEnd = onEnd
        self._cache = cache or VolumeCache()
        self._buttonHeld = buttonHeld or (lambda: False)
        self._later = later
        case.checkVolume()
        self._nodes = ReviewNodes(case)
        kept = case.state.read().get("review") or {}
        self.queue = ReviewQueue(self._nodes.annotation(), self._nodes.predictions(), kept.get("order"))
        if kept.get("current") in self.queue.order:
            self.queue.select(kept["current"])
        self._undo = UndoStack(self._putBack)
        self._observers = Observers()
        self._writing = 0
        self._trackers: list[PointTracker] = []
        self.isActive = True
        self._observe()
        self._keepPlace()

    # What the panel asks for

    def select(self, labelId: str) -> None:
        """Look at this label."""
        self._look(lambda: self.queue.select(labelId))

    def next(self) -> None:
        """Look at the next label."""
        self._look(self.queue.next)

    def previous(self) -> None:
        """Look at the label before."""
        self._look(self.queue.previous)

    def accept(self, *, advance: bool = True) -> Step | None:
        """Accept the label that is looked at and go on to the next that nobody has reviewed.

        Stays, with None, where there is nothing to accept (:meth:`ReviewQueue.whyNotAccept`).
        """
        self.finishDrag()
        if self.queue.whyNotAccept():
            return None
        return self._decide(self.queue.accept(), advance)

    def markAbsent(self, labelId: str | None = None, *, advance: bool = True) -> Step | None:
        """A label (default: the one that is looked at) is not there, or cannot be seen; then go on."""
        self.finishDrag()
        return self._decide(self.queue.markAbsent(labelId), advance)

    def deletePoint(self, index: int) -> Step | None:
        """Delete over a landmark's point: absent, as landmarks stay in their list. None where there is no point."""
        labelId = self._nodes.labelAt(index)
        if labelId is None or self._nodes.readPoint(labelId) is None:
            return None
        return self.markAbsent(labelId, advance=labelId == self.queue.current)

    def restorePrediction(self) -> Step | None:
        """The label that is looked at goes back to what the model said."""
        self.finishDrag()
        return self._decide(self.queue.restorePrediction(), False)

    def settle(self) -> tuple[str, ...]:
        """Accept what a person has changed but not accepted, as before an export; returns these label ids."""
        self.finishDrag()
        changed = self.queue.unaccepted
        for labelId in changed:
            self._decide(self.queue.accept(labelId), False)
        return changed

    def undo(self) -> Step | None:
        """Take back the last step and look at its label; None when there is none, or while the mouse holds a point."""
        return self._move(self._undo.undo)

    def redo(self) -> Step | None:
        """Do the last undone step again and look at its label; None as for :meth:`undo`."""
        return self._move(self._undo.redo)

    @property
    def undoText(self) -> str:
        """What Undo would take back; empty when nothing."""
        return self._undo.undoText

    @property
    def redoText(self) -> str:
        """What Redo would do again; empty when nothing."""
        return self._undo.redoText

    @property
    def interacting(self) -> bool:
        """Is a person dragging right now? The slice views stay still then."""
        return any(tracker.interacting for tracker in self._trackers)

    def finishDrag(self) -> None:
        """End a drag whose end never came, as after the key "s" over a point; one with the mouse held goes on."""
        if self.isActive and self.interacting and not self._buttonHeld():
            for tracker in self._trackers:
                tracker.finish()

    def end(self) -> None:
        """Stop listening; can be called again."""
        if not self.isActive:
            return
        self.isActive = False
        self._observers.removeAll()
        for tracker in self._trackers:
            tracker.stop()
        self._undo.clear()
        onEnd, self.onEnd, self.onChange = self.onEnd, None, None
        if onEnd is not None:
            onEnd()

    # What a person does on screen

    def pointsMoved(self, node: Any, indices: list[int]) -> None:
        """Told by a tracker."""
        if node is self.case.contour:
            self._done(self.queue.correct(self._nodes.readCurve(), CONTOUR))
            return
        for labelId in filter(None, map(self._nodes.labelAt, indices)):
            self._done(self.queue.correct(self._nodes.readPoint(labelId), labelId))

    def pointPlaced(self, node: Any, index: int) -> None:
        """Told by a tracker."""
        self.pointsMoved(node, [index])

    def pointUnset(self, node: Any, index: int, missing: bool) -> None:
        """Told by a tracker."""
        if node is self.case.contour:
            value = self._nodes.readCurve()
            self._done(self.queue.clear(CONTOUR) if value is None else self.queue.correct(value, CONTOUR))
            return
        gone = [self._nodes.labelAt(index)] if index >= 0 else schema.LANDMARK_IDS
        for labelId in filter(None, gone):
            if self._nodes.readPoint(labelId) is None and self.queue.state(labelId).value is not None:
                self._done(self.queue.markAbsent(labelId) if missing else self.queue.clear(labelId))

    def _onPainted(self, _caller: Any, _event: str) -> None:
        if self._writing:
            return
        voxels = self._nodes.readVoxels()
        step = self.queue.clear(CALCIFICATION) if voxels is None else self.queue.edit(CALCIFICATION, voxels)
        self._done(step)

    # How it is kept together

    def _observe(self) -> None:
        scene = slicer.mrmlScene if self.case.landmarks.GetScene() is None else self.case.landmarks.GetScene()
        self._trackers = [PointTracker(node, self) for node in (self.case.landmarks, self.case.contour)]
        for node in (self.case.landmarks, self.case.contour):
            self._observers.add(node, node.PointStartInteractionEvent, self._onDragStart)
        self._observers.add(scene, scene.StartCloseEvent, self._onSceneClose)
        self._observers.add(scene, scene.NodeAboutToBeRemovedEvent, self._onNodeRemoved)
        segmentation = self.case.segmentation.GetSegmentation()
        kind = slicer.vtkSegmentation
        # An import into the segment tells of its voxels with the last of these only.
        for event in (kind.SourceRepresentationModified, kind.SegmentRemoved, kind.SegmentModified):
            self._observers.add(segmentation, event, self._onPainted)
        self._members = (
            self.case.volume,
            self.case.landmarks,
            self.case.contour,
            self.case.segmentation,
            self.case.state.node,
            self.case.parameterNode,
        )

    def _onDragStart(self, caller: Any, _event: str) -> None:
        for tracker in self._trackers:
            if tracker.node is not caller:
                tracker.finish()
        if self._later is not None:
            self._later(self.finishDrag)

    def _onSceneClose(self, _caller: Any, _event: str) -> None:
        self.end()

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _onNodeRemoved(self, _caller: Any, _event: str, node: Any) -> None:
        if any(node is member for member in self._members):
            self.end()

    @contextmanager
    def suppressed(self) -> Iterator[None]:
        """What is written into the nodes inside is a program's doing and no person's."""
        with ExitStack() as stack:
            for tracker in self._trackers:
                stack.enter_context(tracker.suppressed())
            self._writing += 1
            try:
                yield
            finally:
                self._writing -= 1

    def _done(self, step: Step | None) -> None:
        """A person changed the nodes by hand: the label's status and what follows from it are written after it."""
        if step is not None:
            self._decide(step, False)

    def _decide(self, step: Step | None, advance: bool) -> Step | None:
        if step is not None:
            step = self._follow(step)
            self._undo.push(step)
            self._write(step.after)
            self._keepPrediction(step.predictions)
        if advance:
            self.queue.advance()
        if step is not None or advance:
            self._keepPlace()
            self._changed()
        return step

    def _follow(self, step: Step) -> Step:
        """A hinge point moved the annulus plane: a contour that nobody has reviewed is traced anew in it."""
        waits = CONTOUR not in self.queue.order or self.queue.status(CONTOUR) is Status.PREDICTED
        if not waits or not set(step.after) & set(schema.HINGE_IDS) or _samePlaces(step):
            return step
        from fedkdtavi_core.measurements import NotMeasurable, annulus_contour, annulus_plane

        points = {labelId: self.queue.state(labelId).value for labelId in schema.LANDMARK_IDS}
        try:
            plane = annulus_plane(points)
        except NotMeasurable:
            return step
        found = annulus_contour(self._cache.volume(self.case.volume), plane)
        if found.points is None and CONTOUR not in self.queue.order:
            return step
        record = {"reason": found.reason, "warning": found.warning}
        return self.queue.derive({CONTOUR: self._nodes.traced(found.points, record)}, step)

    def _putBack(self, states: Mapping[str, LabelState], predictions: Mapping[str, LabelState]) -> None:
        self._write(states)
        self.queue.put(states, predictions)
        self._keepPrediction(predictions)

    def _keepPrediction(self, changed: Collection[str]) -> None:
        if CONTOUR in changed:
            self._nodes.keepPredictedContour(self.queue.prediction(CONTOUR).value)

    def _write(self, states: Mapping[str, LabelState]) -> None:
        with self.suppressed():
            self._nodes.write(states)
        self._nodes.keepRecords(states, self.reviewer)

    def _move(self, move: Callable[[], Step | None]) -> Step | None:
        self.finishDrag()
        step = None if self.interacting or not self.isActive else move()
        if step is not None:
            self.queue.select(next(iter(step.after)))
            self._keepPlace()
            self._changed()
        return step

    def _look(self, select: Callable[[], str]) -> None:
        self.finishDrag()
        select()
        self._keepPlace()
        self._changed()

    def _keepPlace(self) -> None:
        """The order and the label that is looked at, for the day the scene is opened again."""
        self.case.state.update(review={"order": list(self.queue.order), "current": self.queue.current})

    def _changed(self) -> None:
        if self.onChange is not None:
            self.onChange()


def _samePlaces(step: Step) -> bool:
    """Did the step change statuses only?"""
    return all(step.before[labelId].value == state.value for labelId, state in step.after.items())
