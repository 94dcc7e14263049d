"""What the panel says of progress and of labels, as a person reads it. No Qt."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from slicer.i18n import tr as _

from fedkdtavi_core.annotation import Status

from .reviewQueue import Item
from .timeLeft import timeLeftText


def percent(fraction: float) -> int:
    """0..1 as whole percent."""
    return round(100 * min(max(fraction, 0.0), 1.0))


def progressText(words: str, secondsLeft: float | None) -> str:
    """ "Reading the CT, about 10 s left"; without the time while nothing can be said of it."""
    left = timeLeftText(secondsLeft)
    return _("{words}, {left}").format(words=words, left=left) if left else words


def statusText(item: Item) -> str:
    """What is known of a label: "predicted", "not found", "corrected" ..."""
    if item.state.value is None and item.state.status is not Status.ABSENT:
        return _("not found")
    return {
        Status.ABSENT: _("absent"),
        Status.PREDICTED: _("predicted"),
        Status.CORRECTED: _("corrected"),
        Status.CONFIRMED: _("confirmed"),
    }[item.state.status]


def confidenceText(item: Item) -> str:
    """Calibrated confidence of the prediction in percent; empty where there is none."""
    confidence = item.doubt.confidence
    return "" if confidence is None else _("{percent} %").format(percent=percent(confidence))


def panelRows(rows: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The rows in their order, but those on the CT's suitability last: the line above the table has said it."""
    return sorted(rows, key=lambda row: row["group"] == "suitability")


def rowTip(row: Mapping[str, Any]) -> str:
    """All that is to be known of a measurement: definition, normal range, warning, why there is none."""
    parts = (row["definition"], row["normal"] and _("Normal: {range}").format(range=row["normal"]), row["warning"])
    return "\n".join(part for part in (*parts, row["reason"]) if part)


def shortNormal(row: Mapping[str, Any]) -> str:
    """The normal range without population and source, which stand in the tooltip."""
    return re.sub(r"\s*\([^()]*\)", "", row["normal"]).strip()


def warningsText(warnings: Iterable[str]) -> str:
    """Warnings as one text, a line each."""
    return "\n".join(f"\u26a0 {warning}" for warning in warnings)
