"""The per-site table: what a test of one update on one hospital adds up to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fedkdtavi_core import schema

from .. import tally
from .testing import KEY, Row

_POINTS = {head: ids for head, ids in schema.HEADS.items() if head != "calc"}
MEASURES = tuple(
    [f"{head}_{what}" for head in _POINTS for what in ("n", "median_mm", "p95_mm", "missing")] + ["calc_n", "calc_dice"]
)
ALL_SITES = "all sites"


def table(tests: Mapping[tuple[str, ...], Sequence[Row]]) -> list[dict[str, Any]]:
    """A row for every test, and one over all sites of each update.

    Medians and P95 count a landmark that was not given as infinitely far off; None where that is what comes out.
    """
    grouped: dict[tuple[str, ...], list[Row]] = {}
    for key, rows in tests.items():
        grouped[key] = list(rows)
        grouped.setdefault((*key[:-1], ALL_SITES), []).extend(rows)
    order = {site: n for n, site in enumerate(dict.fromkeys(key[-1] for key in tests))} | {ALL_SITES: len(tests)}
    found = sorted(grouped.items(), key=lambda item: (*item[0][:2], int(item[0][2]), item[0][3], order[item[0][4]]))
    return [dict(zip(KEY, key, strict=True)) | _measures(rows) for key, rows in found]


def last(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Of every arm, stage and update only the test after the most rounds."""
    newest: dict[tuple[str, ...], int] = {}
    for row in rows:
        name = (row["arm"], row["stage"], row["update"])
        newest[name] = max(newest.get(name, 0), int(row["round"]))
    return [row for row in rows if int(row["round"]) == newest[row["arm"], row["stage"], row["update"]]]


def write(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """As CSV; an empty cell where there is nothing to say. Raises as :func:`..tally.write_rows`."""
    tally.write_rows(path, rows, (*KEY, *MEASURES))


def as_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """For a terminal; measures that no row has are left out."""
    columns = [*KEY, *(name for name in MEASURES if any(row[_count_of(name)] for row in rows))]
    lines = [columns, *([_cell(row[name]) for name in columns] for row in rows)]
    widths = [max(len(line[n]) for line in lines) for n in range(len(columns))]
    return "\n".join("  ".join(f"{text:>{width}}" for text, width in zip(line, widths, strict=True)) for line in lines)


def _measures(rows: Sequence[Row]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for head, ids in _POINTS.items():
        errors = np.array([row[f"{i}_mm"] for row in rows for i in ids if row[f"{i}_mm"] is not None], float)
        result[f"{head}_n"] = len(errors)
        for name, share in (("median_mm", 0.5), ("p95_mm", 0.95)):
            # Interpolation would make infinity minus infinity.
            value = float(np.quantile(errors, share, method="higher")) if len(errors) else np.inf
            result[f"{head}_{name}"] = round(value, 2) if np.isfinite(value) else None
        result[f"{head}_missing"] = int(np.isinf(errors).sum())
    dice = [row["calc_dice"] for row in rows if row["calc_dice"] is not None]
    result["calc_n"] = len(dice)
    result["calc_dice"] = round(float(np.median(dice)), 3) if dice else None
    return result


def _count_of(measure: str) -> str:
    return f"{measure.partition('_')[0]}_n"


def _cell(value: Any) -> str:
    return "-" if value is None else f"{value:.2f}" if isinstance(value, float) else str(value)
