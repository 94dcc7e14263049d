"""Progress and cancel, as one small interface that runs through the whole way of a CT."""

from __future__ import annotations

from collections.abc import Callable

from .errors import Cancelled


class Progress:
    """Tells how far a piece of work is, and whether it should stop.

    Args:
        report: called with (fraction in 0..1 of the whole, words for a person); may be None.
        cancelled: asked at every step; when it answers True, :class:`~.errors.Cancelled` is raised.
    """

    def __init__(
        self,
        report: Callable[[float, str], None] | None = None,
        cancelled: Callable[[], bool] | None = None,
        *,
        _span: tuple[float, float] = (0.0, 1.0),
    ) -> None:
        self._report = report
        self._cancelled = cancelled
        self._start, self._end = _span

    def step(self, fraction: float, message: str) -> None:
        """Report ``fraction`` (0..1 of this part) with ``message``; raise Cancelled if asked to stop."""
        self.check()
        if self._report is not None:
            clamped = min(max(fraction, 0.0), 1.0)
            self._report(self._start + clamped * (self._end - self._start), message)

    def check(self) -> None:
        """Raise Cancelled if the person asked to stop; cheap enough for inner loops."""
        if self._cancelled is not None and self._cancelled():
            raise Cancelled("Cancelled; nothing was written.")

    def part(self, start: float, end: float) -> Progress:
        """A view of this progress whose 0..1 covers ``start``..``end`` of it."""
        width = self._end - self._start
        span = (self._start + start * width, self._start + end * width)
        return Progress(self._report, self._cancelled, _span=span)


SILENT = Progress()
