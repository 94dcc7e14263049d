"""The rows of measurements as a person reads them: what warns comes first; as text to copy, and as CSV."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

_UNITS = {"mm2": "mm²", "mm3": "mm³", "deg": "°"}
_DIGITS = {"": 2, "mm": 1, "deg": 0}  # decimals that the points' error leaves; other units none
_PREFIX = "not measurable: "


def warningsFirst(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The same rows, those with a warning first, a low ostium before all; in their order otherwise."""
    return sorted(map(dict, rows), key=lambda row: 2 if not row["warning"] else int(row["group"] != "coronary"))


def valueText(row: Mapping[str, Any]) -> str:
    """Number with unit, "17.3 mm"; where there is none never a number but "not measurable"."""
    if row["value"] is None:
        return _("not measurable")
    unit = row["unit"]
    number = f"{row['value']:.{_DIGITS.get(unit, 0)}f}"
    number = number if float(number) else number.lstrip("-")  # no "-0"
    return f"{number} {_UNITS.get(unit, unit)}".strip()


def noteText(row: Mapping[str, Any]) -> str:
    """What stands beside the value: its warning, or why there is no value; empty for most."""
    return row["warning"] or (row["reason"].removeprefix(_PREFIX) if row["value"] is None else "")


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
