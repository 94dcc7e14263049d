"""How long a piece of work will still take, from how far it is."""

from __future__ import annotations

import time
from collections.abc import Callable

from slicer.i18n import tr as _

# The first steps say little: before that much is done nothing is promised.
_LEAST_FRACTION = 0.08
_LEAST_SECONDS = 1.0
# Weight of a new estimate of the end against the one so far: steps are of uneven length.
_WEIGHT = 0.4


class TimeLeft:
    """Estimates the end from fractions as they come.

    Args:
        clock: seconds that only grow.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._start = clock()
        self._end: float | None = None

    def update(self, fraction: float) -> None:
        """The work is at ``fraction``, 0..1."""
        elapsed = self._clock() - self._start
        if fraction < _LEAST_FRACTION or elapsed < _LEAST_SECONDS:
            return
        end = self._start + elapsed / fraction
        self._end = end if self._end is None else self._end + _WEIGHT * (end - self._end)

    @property
    def seconds(self) -> float | None:
        """Seconds left, never below zero; None while nothing can be said."""
        return None if self._end is None else max(0.0, self._end - self._clock())


def timeLeftText(seconds: float | None) -> str:
    """``seconds`` in words, coarse as the estimate is; empty when nothing can be said."""
    if seconds is None:
        return ""
    if seconds < 3:
        return _("nearly done")
    if seconds < 55:
        return _("about {seconds} s left").format(seconds=5 * max(1, round(seconds / 5)))
    return _("about {minutes} min left").format(minutes=max(1, round(seconds / 60)))
