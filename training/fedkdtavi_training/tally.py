"""Per-case rows on disk, and what they add up to: medians and tails in which failures count."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fedkdtavi_core import schema

from .disk import write_bytes

FAR_MM = 10.0


def read_header(path: Path) -> list[str]:
    """The columns of a CSV; none of an empty one. Raises OSError, ValueError where it cannot be read."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file).fieldnames or [])


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Rows of a CSV; numbers as float (``inf``: not found), empty cells as None."""
    with path.open(newline="", encoding="utf-8") as file:
        return [{key: _value(key, text) for key, text in row.items()} for row in csv.DictReader(file)]


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]], columns: Sequence[str] | None = None) -> None:
    """Write all rows, atomically; None is an empty cell. ``columns`` are those of the rows when not given.

    Raises:
        TrainingError, UsageError: the file cannot be written; the older one is untouched.
    """
    text = io.StringIO(newline="")
    if columns is None:  # rows of an older program may lack some
        columns = list(dict.fromkeys(key for row in reversed(rows) for key in row))
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_bytes(path, text.getvalue().encode())


def summarise(rows: list[dict[str, Any]]) -> dict[str, dict[str, dict[str, Any]]]:
    """Rows -> group (``all``, ``in_range``, ``out_of_range``) -> measure -> n, median, p95, missing, over_10_mm.

    Missing counts as an infinite error in median and P95 (shown as None when infinite), and is never left out.
    """
    groups = {
        "all": rows,
        "in_range": [row for row in rows if row["in_range"]],
        "out_of_range": [row for row in rows if not row["in_range"]],
    }
    return {name: _group(some) for name, some in groups.items() if some}


def as_text(summary: dict[str, dict[str, dict[str, Any]]]) -> str:
    """The summary as an aligned table for a terminal."""
    columns = ["n", "median", "p95", "missing", "over_10_mm"]
    lines = ["Synthetic phantoms; not for clinical use."]
    for group, measures in summary.items():
        lines += ["", group, f"{'':24}" + "".join(f"{name:>12}" for name in columns)]
        for measure, values in measures.items():
            cells = "".join(f"{'-' if values.get(name) is None else values[name]:>12}" for name in columns)
            lines.append(f"{measure:24}" + (cells if "median" in values else f"{_plain(values)}"))
    return "\n".join(lines)


def _group(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    measures: dict[str, dict[str, Any]] = {"presence": _presence(rows)}
    sets = {"hinges and ostia": schema.HEADS["hps"], "membranous septum": schema.HEADS["ms"]}
    for name, labels in sets.items():
        measures[name] = _errors([row[f"{label}_mm"] for row in rows for label in labels], far=True)
    for label in schema.LANDMARK_IDS:
        measures[label] = _errors([row[f"{label}_mm"] for row in rows], far=True)
    measures["plane_deg"] = _errors([row["plane_deg"] for row in rows])
    for label in schema.OSTIUM_IDS:
        measures[f"{label}_height"] = _errors([row[f"{label}_height_error_mm"] for row in rows])
    measures["area_percent"] = _errors([row["area_error_percent"] for row in rows])
    dice = [row["calc_dice"] for row in rows if row["calc_dice"] is not None]
    refused = int(sum(row["calc_refused"] or 0 for row in rows))
    if dice:
        low = round(float(np.percentile(dice, 5)), 3)
        measures["calcium_dice"] = {
            "n": len(dice),
            "median": round(float(np.median(dice)), 3),
            "p5": low,
            "refused": refused,
        }
    return measures


def _errors(values: list[float | None], far: bool = False) -> dict[str, Any]:
    known = np.abs([value for value in values if value is not None])
    if not len(known):
        return {"n": 0, "median": None, "p95": None, "missing": 0}
    result: dict[str, Any] = {"n": len(known)}
    for name, share in (("median", 0.5), ("p95", 0.95)):
        value = float(np.quantile(known, share, method="higher"))  # interpolation would make infinity minus infinity
        result[name] = round(value, 2) if np.isfinite(value) else None
    result["missing"] = int(np.isinf(known).sum())
    if far:
        result["over_10_mm"] = int((np.isfinite(known) & (known > FAR_MM)).sum())
    return result


def _presence(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Roots that were found and missed, and CTs without a whole root that were refused or not."""
    found = [row["status"] == "annotated" for row in rows]
    has = [bool(row["has_root"]) for row in rows]
    return {
        "n": len(rows),
        "roots_found": sum(f and h for f, h in zip(found, has, strict=True)),
        "roots_missed": sum(not f and h for f, h in zip(found, has, strict=True)),
        "rightly_refused": sum(not f and not h for f, h in zip(found, has, strict=True)),
        "wrongly_annotated": sum(f and not h for f, h in zip(found, has, strict=True)),
    }


def _plain(values: dict[str, Any]) -> str:
    return "  " + ", ".join(f"{key} {value}" for key, value in values.items())


_TEXT = ("case", "site", "kind", "bundle", "status", "reason", "arm", "unit", "chain", "test_set")


def _value(key: str, text: str) -> Any:
    if key in _TEXT or key.endswith("_flags"):
        return text
    return None if text == "" else float(text)
