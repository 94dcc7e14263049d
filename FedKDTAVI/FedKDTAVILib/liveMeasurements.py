"""Measurements that follow the labels: at once while a person drags, whole when the drag ends.

While a point is dragged, all rows are measured anew on the part of the CT around the root, except that the annulus
contour is not traced: where the plane has left the contour (a hinge point was dragged), its rows say "measured when
the drag ends" instead of a number that no longer holds. A contour that is dragged itself is measured as it is drawn.
Calcium is sorted into the moving sectors during the drag, too, because its voxels are at hand; it is read from the
segment again, and a contour traced, at the end.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
from slicer.i18n import tr as _

from fedkdtavi_core.annotation import Annotation, Status
from fedkdtavi_core.errors import InputError

from . import contourNodes, landmarkNodes
from .caseNodes import CaseNodes
from .measurementTable import warningsFirst
from .observers import Observers
from .volumeCache import VolumeCache, around

if TYPE_CHECKING:
    from fedkdtavi_core.measurements import CArm, Measurements
    from fedkdtavi_core.volume import Volume

_REVIEWED_CURVE = (Status.CORRECTED, Status.CONFIRMED)
_LATER_MS = 15  # a measurement that came too soon after the last is made up for after this


@dataclass(frozen=True)
class Table:
    """What the panel shows.

    Attributes:
        rows: dicts with the keys of the core's ``Row``, those with a warning first; no number where there is none.
        warnings: sentences that a reader must see before the numbers, worst first.
        suitability: one line: may this CT be measured, and what speaks against it.
        carm: views for the C-arm plot, or None with ``planeReason``.
        planeReason: why there is no annulus plane; empty when there is one.
        whole: False while a drag goes on and rows of the contour may have to wait for its end.
    """

    rows: list[dict[str, Any]]
    warnings: list[str]
    suitability: str
    carm: CArm | None
    planeReason: str
    whole: bool = True


def measureTable(case: CaseNodes, cache: VolumeCache) -> Table:
    """Everything, as the nodes stand now.

    Raises:
        InputError: a node is gone, or a non-linear transform stands above one.
    """
    from fedkdtavi_core.measurements import measure

    volume, annotation = around(cache.volume(case.volume), case.toAnnotation())
    return _table(measure(volume, asTheyStand(volume, annotation)))


def asTheyStand(volume: Volume, annotation: Annotation) -> Annotation:
    """The annotation with its flags as the points now stand: a correction may clear a neighbour's flag, or raise one.

    Nothing is removed here that is seen in the scene; ``annotation`` stays as it is.
    """
    from fedkdtavi_core.plausibility import check_on

    now = replace(annotation, landmarks={i: replace(mark) for i, mark in annotation.landmarks.items()})
    check_on(volume, now)
    for i, mark in annotation.landmarks.items():
        now.landmarks[i].position = mark.position
    return now


def measureRows(case: CaseNodes, cache: VolumeCache) -> list[dict[str, Any]]:
    """The rows of :func:`measureTable`."""
    return measureTable(case, cache).rows


class LiveMeasurements:
    """Keeps a table up to date until :meth:`end`.

    >>> live = LiveMeasurements(case, cache, onMeasured=panel.show, later=qt.QTimer.singleShot)
    >>> session.onChange = live.refresh        # decisions, undo and painting; drags are followed without it

    Args:
        case: the nodes.
        cache: holds the CT.
        onMeasured: gets each :class:`Table`.
        onProblem: gets a sentence when nothing can be measured, as when a node was deleted.
        later: ``later(ms, function)`` calls back once when the program is idle: with it, events that come faster
            than can be measured are left out, and the last of them is made up for.
    """

    def __init__(
        self,
        case: CaseNodes,
        cache: VolumeCache,
        onMeasured: Callable[[Table], None],
        onProblem: Callable[[str], None] | None = None,
        later: Callable[[int, Callable[[], None]], None] | None = None,
    ) -> None:
        self._case = case
        self._cache = cache
        self._onMeasured = onMeasured
        self._onProblem = onProblem
        self._later = later
        self._observers = Observers()
        self._part: tuple[Volume, Annotation] | None = None
        self._dragged: Any = None
        self._freeAt = 0.0
        self._waits = False
        self._stale = False
        for node in (case.landmarks, case.contour):
            self._observers.add(node, node.PointStartInteractionEvent, self._onStart)
            self._observers.add(node, node.PointModifiedEvent, self._onMoved)
            # Before all others stop following, after all others measure: labels are changed in between.
            self._observers.add(node, node.PointEndInteractionEvent, self._onEnding, priority=1.0)
            self._observers.add(node, node.PointEndInteractionEvent, self._onEnded, priority=-1.0)

    def end(self) -> None:
        """Stop listening; can be called again."""
        self._observers.removeAll()
        self._part = self._dragged = None

    def refresh(self) -> None:
        """Measure everything now."""
        self._dragged = self._part = None
        self._stale = False
        try:
            table = measureTable(self._case, self._cache)
        except InputError as error:
            if self._onProblem is not None:
                self._onProblem(str(error))
            return
        self._onMeasured(table)

    def _onStart(self, node: Any, _event: str) -> None:
        try:
            self._part = around(self._cache.volume(self._case.volume), self._case.toAnnotation())
        except InputError:
            return  # nothing to follow: a node of the case is gone
        self._dragged = node

    def _onMoved(self, _node: Any, _event: str) -> None:
        if self._dragged is None or self._waits:
            return
        if self._later is not None and perf_counter() < self._freeAt:
            self._waits = True
            self._later(_LATER_MS, self._makeUp)
            return
        self._follow()

    def _makeUp(self) -> None:
        self._waits = False
        if self._dragged is not None:
            self._follow()

    def _follow(self) -> None:
        start = perf_counter()
        volume, annotation = self._part
        # Not the labels' statuses: they change when the drag has ended and the point was indeed moved.
        try:
            moved = replace(annotation, landmarks=landmarkNodes.readLandmarks(self._case.landmarks))
            if self._dragged is self._case.contour:
                curve = contourNodes.readContour(self._case.contour)
                moved = replace(moved, annulus_contour=curve, contour_status=Status.CORRECTED)
            if self._left(moved):
                volume, moved = around(self._cache.volume(self._case.volume), self._case.toAnnotation())
        except InputError:
            return
        self._onMeasured(measureDragged(volume, moved))
        # As long again for everything else that has to follow the mouse.
        self._freeAt = perf_counter() + (perf_counter() - start)

    def _left(self, annotation: Annotation) -> bool:
        """Was a point dragged out of the part, although the CT goes on there?"""
        part, whole = self._part[0].grid, self._cache.volume(self._case.volume).grid
        points = [mark.position for mark in annotation.landmarks.values() if mark.position is not None]
        return bool(points) and bool((whole.contains(np.array(points)) & ~part.contains(np.array(points))).any())

    def _onEnding(self, _node: Any, _event: str) -> None:
        self._stale = self._dragged is not None
        self._dragged = self._part = None

    def _onEnded(self, _node: Any, _event: str) -> None:
        if self._stale:  # nobody asked for a refresh at the end of this drag
            self.refresh()


def measureDragged(volume: Volume, annotation: Annotation) -> Table:
    """Everything but a contour that would have to be traced: its rows then wait for the end of the drag."""
    from fedkdtavi_core.measurements import measure

    if not _wouldTrace(annotation):
        return replace(_table(measure(volume, annotation)), whole=False)
    held = replace(annotation, annulus_contour=None, contour_status=Status.ABSENT)
    measured = measure(volume, held)
    told = f"annulus {measured.contour.reason}"
    rows = measured.rows()
    for row in rows:
        if row["id"].startswith("annulus_") and row["value"] is None:
            row["reason"] = _("measured when the drag ends")
    table = _table(measured)
    warnings = [warning for warning in table.warnings if warning != told]
    return replace(table, rows=warningsFirst(rows), warnings=warnings, whole=False)


def _wouldTrace(annotation: Annotation) -> bool:
    """Would measuring trace the contour, which takes too long for a drag?"""
    from fedkdtavi_core.measurements import NotMeasurable, annulus_plane, landmark_points
    from fedkdtavi_core.measurements.annulus import MAX_OUT_OF_PLANE_MM

    if annotation.contour_status in (*_REVIEWED_CURVE, Status.ABSENT) and (
        annotation.annulus_contour is not None or annotation.contour_status is Status.ABSENT
    ):
        return False
    try:
        plane = annulus_plane(landmark_points(annotation))
    except NotMeasurable:
        return False
    given = annotation.annulus_contour
    return given is None or float(np.abs(plane.height(given)).max(initial=0.0)) > MAX_OUT_OF_PLANE_MM


def _table(measured: Measurements) -> Table:
    return Table(
        warningsFirst(measured.rows()),
        measured.warnings,
        measured.suitability_line,
        measured.carm,
        measured.plane_reason,
    )
