"""What the panel says of progress and of warnings, as a person reads it. No Qt."""

from __future__ import annotations

from collections.abc import Iterable

from slicer.i18n import tr as _

from .timeLeft import timeLeftText


def percent(fraction: float) -> int:
    """0..1 as whole percent."""
    return round(100 * min(max(fraction, 0.0), 1.0))


def progressText(words: str, secondsLeft: float | None) -> str:
    """ "Reading the CT, about 10 s left"; without the time while nothing can be said of it."""
    left = timeLeftText(secondsLeft)
    return _("{words}, {left}").format(words=words, left=left) if left else words


def warningsText(warnings: Iterable[str]) -> str:
    """Warnings as one text, a line each."""
    return "\n".join(f"\u26a0 {warning}" for warning in warnings)
