"""The right column: every number with its unit and normal range, then how sure the model is of each landmark."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .. import rowtext, schema
from ..annotation import Annotation, Status
from ..numbers import fixed
from ..plausibility import UNSEEN
from ..rowtext import format_value, short_name, short_normal
from . import style
from .notices import sentence

if TYPE_CHECKING:
    from .sheet import Sheet

# The suitability line heads the page and the angles stand in the C-arm picture: the table does not repeat them.
GROUPS = {group: name for group, name in rowtext.GROUPS.items() if group not in ("suitability", "carm")}
VALUE_AT, NORMAL_AT = 0.58, 0.68  # share of the width: where values end and normal ranges begin
SMALLER = 0.88  # reasons and normal ranges, of the size of names
CONFIDENCE_ROW = 0.215
LOW_CONFIDENCE = 0.5


def draw_table(
    sheet: Sheet, x: float, y: float, width: float, bottom: float, rows: Sequence[Mapping[str, Any]]
) -> float:
    """Rows of numbers from ``y`` down, at most to ``bottom``; returns where they end. All in inches."""
    grouped = {group: list(_merged(row for row in rows if row["group"] == group)) for group in GROUPS}
    # Wrapped at the largest size: no size used takes more lines.
    lines = 1.3 * len(grouped)
    for names, value, row in (member for members in grouped.values() for member in members):
        lines += 1 if value else sum(map(len, _unmeasured(sheet, width, names, row, style.BODY))) * 0.95 + 0.1
    height = min(max((bottom - y - 0.25) / lines, 0.12), 0.225)
    size = min(style.BODY, height * 72 / 1.55)
    small = size * SMALLER
    y += 0.17
    sheet.text(x, y, "Measurements", size=style.HEADING, fontweight="bold")
    sheet.text(x + width * NORMAL_AT, y, "normal or reference", size=style.TINY, color=style.MUTED)
    if any(value and row["warning"] for members in grouped.values() for _, value, row in members):
        legend = {"size": style.TINY, "color": style.STOP.ink, "ha": "right"}
        sheet.text(x + width * (NORMAL_AT - 0.03), y, "▲ see the warnings", **legend)
    y += 0.06
    for group, members in grouped.items():
        y += height * 1.15
        heading = {"size": small * 0.92, "color": style.ACCENT, "fontweight": "bold"}
        sheet.text(x, y - height * 0.25, GROUPS[group].upper(), **heading)
        sheet.rule(x, y - height * 0.02, width)
        for names, value, row in members:
            y += height
            if value:
                _number(sheet, x, y - height * 0.25, width, names, value, row, size, small)
                continue
            first, why = _unmeasured(sheet, width, names, row, size)
            for number, line in enumerate(first):
                y += height * 0.9 if number else 0
                sheet.text(x, y - height * 0.25, line, size=size, color=style.MUTED)
            for line in why:
                y += height * 0.9
                sheet.text(x + 0.15, y - height * 0.25, line, size=small, color=style.CAUTION.ink, fontstyle="italic")
        y += height * 0.15
    return y


def _unmeasured(
    sheet: Sheet, width: float, names: str, row: Mapping[str, Any], size: float
) -> tuple[list[str], list[str]]:
    """Lines of the names of what could not be measured, and of the reason why."""
    return sheet.wrap(names, width, size), sheet.wrap(row["reason"], width - 0.2, size * SMALLER)


def _merged(rows: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, tuple[str, str] | None, Mapping[str, Any]]]:
    """(names, value, row); neighbours that cannot be measured come as one, with all their reasons."""
    waiting: list[Mapping[str, Any]] = []
    for row in [*rows, None]:
        if waiting and (row is None or row["value"] is not None):
            names = [short_name(one) for one in waiting]
            reasons = "; ".join(dict.fromkeys(one["reason"].removeprefix("not measurable: ") for one in waiting))
            merged = {**waiting[0], "reason": sentence(f"not measurable: {reasons}")}
            yield ", ".join([names[0], *(_lowered(name) for name in names[1:])]), None, merged
            waiting = []
        if row is not None and row["value"] is None:
            waiting.append(row)
        elif row is not None:
            yield short_name(row), format_value(row), row


def _lowered(name: str) -> str:
    """In the middle of a list; abbreviations stay as they are."""
    return name if name[:2].isupper() else name[:1].lower() + name[1:]


def _number(
    sheet: Sheet,
    x: float,
    y: float,
    width: float,
    name: str,
    value: tuple[str, str],
    row: Mapping[str, Any],
    size: float,
    small: float,
) -> None:
    room = width * (VALUE_AT - 0.13)
    name_size = next((s for s in (size, small) if sheet.measure(name, s) <= room), 0.78 * size)
    sheet.text(x, y, sheet.fit(name, room, name_size), size=name_size)
    color = style.STOP.ink if row["warning"] else style.INK
    marked = f"▲ {value[0]}" if row["warning"] else value[0]
    sheet.text(x + width * VALUE_AT, y, marked, size=size, color=color, fontweight="bold", ha="right")
    sheet.text(x + width * (VALUE_AT + 0.015), y, value[1], size=small, color=style.MUTED)
    normal, room = short_normal(row["normal"]), width * (1 - NORMAL_AT)
    small = small if sheet.measure(normal, small) <= room else 0.88 * small
    sheet.text(x + width * NORMAL_AT, y, sheet.fit(normal, room, small), size=small, color=style.MUTED)


def draw_confidence(sheet: Sheet, x: float, y: float, width: float, annotation: Annotation) -> None:
    """One bar per landmark: P(error < 5 mm), calibrated on held-out phantoms; or who set it, or that it is missing."""
    y += 0.17
    sheet.text(x, y, "Landmarks", size=style.HEADING, fontweight="bold")
    sheet.text(x + width, y, "on phantoms only: P(error < 5 mm)", size=style.SMALL, color=style.MUTED, ha="right")
    y += 0.1
    bars = sheet.axes(x + 0.95, y, width - 1.85, CONFIDENCE_ROW * len(schema.LANDMARKS), label="confidence")
    bars.set_xlim(0, 1)
    bars.set_ylim(len(schema.LANDMARKS), 0)
    for spine in bars.spines.values():
        spine.set_visible(False)
    for number, label in enumerate(schema.LANDMARKS):
        landmark = annotation.landmarks[label.id]
        baseline = y + CONFIDENCE_ROW * (number + 0.7)
        sheet.text(x + 0.02, baseline, "●", size=style.BODY, color=label.color)
        sheet.text(x + 0.2, baseline, label.name, size=style.BODY)
        bars.barh(number + 0.5, 1, 0.42, color=style.BAND_ODD, lw=0)
        words, color = style_of(landmark)
        if landmark.position is not None and landmark.confidence is not None:
            # A point that something speaks against is no longer as sure as the network was.
            color_of_bar = style.MUTED if landmark.flags else label.color
            bars.barh(number + 0.5, float(landmark.confidence), 0.42, color=color_of_bar, lw=0)
        sheet.text(x + width, baseline, words, size=style.SMALL, color=color, ha="right")


def confidence_height() -> float:
    """Inches that ``draw_confidence`` takes."""
    return 0.27 + CONFIDENCE_ROW * len(schema.LANDMARKS)


def style_of(landmark: Any) -> tuple[str, str]:
    """What stands beside a landmark's bar, and its colour."""
    if landmark.status == Status.ABSENT:
        return "absent", style.MUTED
    if landmark.position is None:
        return "not found", style.STOP.ink
    if landmark.status != Status.PREDICTED:
        return str(landmark.status), style.GOOD.ink
    if UNSEEN in landmark.flags:
        return "a guess", style.STOP.ink
    if landmark.confidence is None:
        return "set by hand", style.MUTED
    if landmark.flags:
        return f"{fixed(100 * landmark.confidence)}%, check", style.CAUTION.ink
    return (
        f"{fixed(100 * landmark.confidence)}%",
        style.CAUTION.ink if landmark.confidence < LOW_CONFIDENCE else style.INK,
    )
