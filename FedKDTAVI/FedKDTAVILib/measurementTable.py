"""The rows of measurements as a person reads them, what warns first: in the panel, as text to copy, and as CSV."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

from fedkdtavi_core.numbers import printed
from fedkdtavi_core.rowtext import GROUPS, LOW_OSTIUM, UNITS, brief_name, brief_normal

_PREFIX = "not measurable: "


def warningsFirst(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The same rows, those with a warning first, a low ostium before all; in their order otherwise."""

    def place(row: Mapping[str, Any]) -> int:
        return 2 if not row["warning"] else int(not row["warning"].startswith(LOW_OSTIUM))

    return sorted(map(dict, rows), key=place)


def valueText(row: Mapping[str, Any]) -> str:
    """Number with unit, "17.3 mm"; where there is none never a number but "not measurable"."""
    if row["value"] is None:
        return _("not measurable")
    return f"{printed(row)} {UNITS.get(row['unit'], row['unit'])}".strip()


def noteText(row: Mapping[str, Any]) -> str:
    """What stands beside the value: its warning, or why there is no value; empty for most."""
    return row["warning"] or (row["reason"].removeprefix(_PREFIX) if row["value"] is None else "")


@dataclass(frozen=True)
class Line:
    """A line of the panel's table: name, value and normal range (or why there is no value), and its tooltip.

    ``isHeading``: the name of a section, alone in its line.
    """

    cells: tuple[str, str, str]
    tip: str = ""
    isHeading: bool = False
    warns: bool = False


def panelLines(rows: Iterable[Mapping[str, Any]]) -> list[Line]:
    """The rows in sections, each on one line: what warns comes first, the CT's suitability last.

    The line above the table has said the suitability already; all that is left out here stands in the tooltip.
    """
    rows = list(rows)
    groups = dict.fromkeys(row["group"] for row in warningsFirst(rows) if row["warning"]) | dict.fromkeys(GROUPS)
    groups = sorted(groups, key=lambda group: group == "suitability")
    lines = []
    for group in groups:
        members = warningsFirst(row for row in rows if row["group"] == group)
        if members:
            lines.append(Line((_(GROUPS.get(group, group)), "", ""), isHeading=True))
            lines += map(_line, members)
    return lines


def _line(row: Mapping[str, Any]) -> Line:
    warns = bool(row["warning"])
    name = f"\u26a0 {_(brief_name(row))}" if warns else _(brief_name(row))
    parts = (
        row["name"],
        row["definition"],
        row["normal"] and _("Normal: {range}").format(range=row["normal"]),
        row["warning"],
        row["reason"],
    )
    tip = "\n".join(part for part in parts if part)
    if row["value"] is None:
        return Line(
            (name, "\u2013", _("not measurable: {reason}").format(reason=noteText({**row, "warning": ""}))), tip
        )
    return Line((name, valueText(row), brief_normal(row["normal"])), tip, warns=warns)


def tableText(rows: Sequence[Mapping[str, Any]], warnings: Sequence[str] = ()) -> str:
    """The table for the clipboard, tab-separated: warnings, then name, value, normal range, note, definition.

    Args:
        rows: as the core's ``measure().rows()`` gives them.
        warnings: sentences that a reader must see before the numbers, worst first.
    """
    lines = [*(_("WARNING: {text}").format(text=text) for text in warnings)]
    lines.append("\t".join((_("Measurement"), _("Value"), _("Normal or reference"), _("Note"), _("Definition"))))
    for row in rows:
        cells = (row["name"], valueText(row), row["normal"], noteText(row), row["definition"])
        lines.append("\t".join(" ".join(cell.split()) for cell in cells))
    lines.append(_("Predictions by networks trained on synthetic phantoms; not for clinical use."))
    return "\n".join(lines) + "\n"


def writeCsv(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write the table as the core's ``measurements.csv``: all columns, numbers unformatted, missing ones empty.

    Raises:
        OSError: the file cannot be written.
    """
    from fedkdtavi_core.labels.tables import write_csv

    write_csv(Path(path), rows)
