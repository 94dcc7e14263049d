"""The right column: every number with its unit and normal range, then how sure the model is of each landmark."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .. import schema
from ..annotation import Annotation, Status
from . import style

if TYPE_CHECKING:
    from .sheet import Sheet

GROUPS = {"annulus": "Annulus", "coronary": "Coronary ostia", "septum": "Membranous septum", "calcium": "Valve calcium",
          "carm": "C-arm"}  # fmt: skip
UNITS = {"mm2": "mm²", "mm3": "mm³", "deg": "°"}
VALUE_AT, NORMAL_AT = 0.58, 0.68  # share of the width: where values end and normal ranges begin
CONFIDENCE_ROW = 0.215
LOW_CONFIDENCE = 0.5


def draw_table(
    sheet: Sheet, x: float, y: float, width: float, bottom: float, rows: Sequence[Mapping[str, Any]]
) -> float:
    """Rows of numbers from ``y`` down, at most to ``bottom``; returns where they end. All in inches."""
    grouped = {g: [row for row in rows if row["group"] == g and not row["id"].startswith(_ANGLES)] for g in GROUPS}
    grouped = {group: members for group, members in grouped.items() if members}
    lines = sum(len(members) for members in grouped.values()) + 1.25 * len(grouped)
    height = min(max((bottom - y - 0.25) / max(lines, 1), 0.12), 0.225)
    size = min(style.BODY, height * 72 / 1.55)
    small = size * 0.88
    y += 0.17
    sheet.text(x, y, "Measurements", size=style.HEADING, fontweight="bold")
    sheet.text(x + width * NORMAL_AT, y, "normal or reference", size=style.TINY, color=style.MUTED)
    y += 0.08
    for group, members in grouped.items():
        y += height * 1.1
        heading = {"size": small * 0.92, "color": style.ACCENT, "fontweight": "bold"}
        sheet.text(x, y - height * 0.25, GROUPS[group].upper(), **heading)
        sheet.rule(x, y - height * 0.02, width)
        for row in members:
            y += height
            _row(sheet, x, y - height * 0.25, width, row, size, small)
        y += height * 0.15
    return y


# The angles stand in the C-arm picture; the table would only repeat them.
_ANGLES = ("three_cusp", "cusp_overlap")


def _row(sheet: Sheet, x: float, y: float, width: float, row: Mapping[str, Any], size: float, small: float) -> None:
    warned = bool(row.get("warning"))
    value = format_value(row)
    sheet.text(x, y, sheet.fit(short_name(row), width * (VALUE_AT - 0.13), size), size=size)
    if value is None:
        reason = sheet.fit(f"not measurable: {row.get('reason') or 'see above'}", width * (1 - VALUE_AT + 0.13), small)
        sheet.text(x + width * (VALUE_AT - 0.13), y, reason, size=small, color=style.CAUTION.ink, fontstyle="italic")
        return
    number, unit = value
    color = style.STOP.ink if warned else style.INK
    marked = f"▲ {number}" if warned else number
    sheet.text(x + width * VALUE_AT, y, marked, size=size, color=color, fontweight="bold", ha="right")
    sheet.text(x + width * (VALUE_AT + 0.015), y, unit, size=small, color=style.MUTED)
    normal = sheet.fit(short_normal(row.get("normal") or ""), width * (1 - NORMAL_AT), small)
    sheet.text(x + width * NORMAL_AT, y, normal, size=small, color=style.MUTED)


def format_value(row: Mapping[str, Any]) -> tuple[str, str] | None:
    """Number and unit as they are printed, or None when there is no value."""
    value, unit = row["value"], row["unit"]
    if value is None:
        return None
    if isinstance(value, str):
        return value, UNITS.get(unit, unit)
    digits = {"": 2, "mm": 1, "deg": 0}.get(unit, 0)
    return f"{value:.{digits}f}".replace("-", "−"), UNITS.get(unit, unit)


def short_name(row: Mapping[str, Any]) -> str:
    """The name without the group's, under which it stands."""
    name, group = row["name"], row["group"].capitalize()
    if name.startswith(f"{group} "):
        name = name[len(group) + 1 :]
    return name[:1].upper() + name[1:]


def short_normal(normal: str) -> str:
    """A normal range as it fits the column: the sources stay in the CSV file."""
    short = re.sub(r"[;,]\s*[^;,()]*\d{4}[^;,()]*(?=\))", "", normal)  # ", Mori 2018)" or "; PubMed 1234)"
    short = re.sub(r"\s*\([^()]*\d{4}[^()]*\)", "", short)  # "(Mori 2018)"
    return short.replace("women", "♀").replace("men", "♂").strip()


def draw_confidence(sheet: Sheet, x: float, y: float, width: float, annotation: Annotation) -> None:
    """One bar per landmark: P(error < 5 mm), calibrated on held-out phantoms; or who set it, or that it is missing."""
    y += 0.17
    sheet.text(x, y, "Landmarks", size=style.HEADING, fontweight="bold")
    sheet.text(x + width, y, "P(error < 5 mm) on held-out phantoms", size=style.TINY, color=style.MUTED, ha="right")
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
            bars.barh(number + 0.5, float(landmark.confidence), 0.42, color=label.color, lw=0)
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
    if landmark.confidence is None:
        return "set by hand", style.MUTED
    return f"{landmark.confidence:.0%}", style.CAUTION.ink if landmark.confidence < LOW_CONFIDENCE else style.INK
