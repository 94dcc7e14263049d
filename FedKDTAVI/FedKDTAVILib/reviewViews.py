"""Where the slice views look during a review: at the label that is looked at, seen from the annulus plane."""

from __future__ import annotations

from typing import Any

from fedkdtavi_core import schema

from .reviewSession import ReviewSession
from .sliceViews import SliceViews

SLAB_MM = 8.0


class ReviewViews:
    """Points the slice views at labels, and gives them back as they were.

    >>> views = ReviewViews(slicer.mrmlScene)
    >>> views.follow(session)              # again and again: the views move only when another label is looked at
    >>> views.release()
    """

    def __init__(self, scene: Any) -> None:
        self._scene = scene
        self._views: SliceViews | None = None
        self._session: ReviewSession | None = None
        self._label: str | None = None

    def follow(self, session: ReviewSession | None) -> None:
        """Look where the review looks; None gives the views back. Never moves them during a drag."""
        if session is None:
            self.release()
            return
        if session is not self._session:
            self.release()
            self._session = session
            self._views = SliceViews(self._scene, session.case.volume)
            self._views.enter()
        if session.queue.current != self._label and not session.interacting:
            self.jump()

    def jump(self) -> None:
        """Look at the current label, wherever the views are now; harmless without a review."""
        if self._session is None:
            return
        queue = self._session.queue
        self._label = queue.current
        value = queue.state(self._label).value
        point = value if queue.item(self._label).kind == "landmark" else None
        self._views.jump(_plane(self._session), point)

    def setSlab(self, shown: bool) -> None:
        """Show a slab of 8 mm as maximum intensity, or single slices; harmless without a review."""
        if self._views is not None:
            self._views.setSlab(SLAB_MM if shown else None)

    def release(self) -> None:
        """Give layout, orientation and window back; can be called again."""
        if self._views is not None:
            self._views.restore()
        self._views = self._session = self._label = None


def _plane(session: ReviewSession):
    """The annulus plane of the points as they are, or None."""
    import numpy as np

    from fedkdtavi_core.measurements import NotMeasurable, annulus_plane

    values = {i: session.queue.state(i).value for i in schema.LANDMARK_IDS}
    try:
        return annulus_plane({i: None if value is None else np.array(value) for i, value in values.items()})
    except NotMeasurable:
        return None
