"""Measurements as a JSON file for programs and a CSV table for people."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from .jsonfile import plain, write_json


def write_csv(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows as CSV (RFC 4180), columns in the order in which the rows first name them.

    UTF-8 with a byte order mark, without which spreadsheets misread units and names; missing values are empty cells.
    """
    rows = [plain(row) for row in rows]
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with Path(path).open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        for row in rows:
            writer.writerow({name: _cell(value) for name, value in row.items()})


def write_measurements(folder: Path, measurements: Any) -> None:
    """Write ``measurements.json`` (from ``.to_dict()``) and ``measurements.csv`` (from ``.rows()``) into ``folder``."""
    write_json(folder / "measurements.json", measurements.to_dict())
    write_csv(folder / "measurements.csv", measurements.rows())


def _cell(value: Any) -> Any:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list):
        return "; ".join(str(_cell(item)) for item in value)
    return "" if value is None else value
