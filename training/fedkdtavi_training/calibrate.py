"""From raw confidence to P(error < 5 mm): a rising piecewise-linear table per head, from held-out phantoms."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from fedkdtavi_core import schema
from fedkdtavi_core.cli.options import Parser
from fedkdtavi_core.errors import UsageError

from .disk import write_bytes
from .networks import LANDMARK_HEADS

WITHIN_MM = 5.0
_BINS = 12
_LOWEST = 3
_LEAST = 40  # pairs without which no table is made


def table(raw: np.ndarray, error_mm: np.ndarray) -> dict[str, list[float]]:
    """Raw confidences and errors (mm, inf for a missing point) of one head -> {"raw", "p_within_5mm"}.

    Bins of equal counts, the lowest parted once more where it holds misses (what is least sure is rare, and is what has
    to be told apart), each share smoothed as (hits + 1) / (n + 2) so that few cases promise no certainty, then isotonic
    regression (it cannot fall), weighted by counts. The ends reach to 0 and 1.
    """
    from scipy.optimize import isotonic_regression

    raw, hit = np.asarray(raw, float), np.asarray(error_mm, float) < WITHIN_MM
    if len(raw) < _LEAST:
        raise UsageError(f"A calibration needs at least {_LEAST} landmarks of a head, here are {len(raw)}.")
    order = np.argsort(raw, kind="stable")
    lowest, *others = np.array_split(order, min(_BINS, len(raw) // 15))
    low = [lowest] if hit[lowest].all() else np.array_split(lowest, _LOWEST)
    parts = [part for part in (*low, *others) if len(part)]
    centres = np.array([raw[part].mean() for part in parts])
    shares = np.array([(hit[part].sum() + 1) / (len(part) + 2) for part in parts])
    counts = np.array([len(part) for part in parts], float)
    rising = isotonic_regression(shares, weights=counts).x
    knots, values = [0.0], [float(rising[0]) * float(centres[0] > 0)]
    for centre, value in zip(centres, rising, strict=True):
        if centre > knots[-1] + 1e-4 and centre < 1 - 1e-4:
            knots.append(round(float(centre), 5))
            values.append(round(float(value), 5))
    values[0] = round(min(values[0], values[-1], float(rising[0])), 5)
    return {"raw": [*knots, 1.0], "p_within_5mm": [*values, max(round(float(rising[-1]), 5), values[-1])]}


def from_csv(paths: list[Path], say: Callable[[str], None] = lambda text: None) -> dict[str, dict[str, list[float]]]:
    """Tables of all heads from per-case CSVs with columns ``<landmark>_mm`` and ``<landmark>_raw``.

    Both `fedkdtavi evaluate` and the validation of a training run write such files. A confidence is of landmarks that
    are given: one that is missing has none and says nothing, one with nothing to compare with is left out. A head that
    gives too few gets no table, and ``say`` is told so.
    """
    rows: list[dict[str, str]] = []
    for path in paths:
        try:
            with path.open(newline="", encoding="utf-8") as file:
                rows += list(csv.DictReader(file))
        except OSError as error:
            raise UsageError(f"{path} cannot be read ({error.strerror}); give a CSV of evaluate.") from error
    tables = {}
    for head in LANDMARK_HEADS:
        pairs = [
            (float(row[f"{label}_raw"]), float(row[f"{label}_mm"]))
            for row in rows
            for label in schema.HEADS[head]
            if row.get(f"{label}_raw") and row.get(f"{label}_mm")
        ]
        if len(pairs) < _LEAST:
            say(f"{head}: {len(pairs)} landmarks with confidence and error, at least {_LEAST} are needed: no table")
            continue
        raw, error = np.array(pairs).T
        tables[head] = table(raw, error)
    return tables


def main(arguments: list[str] | None = None) -> int:
    """``calibrate``: per-case CSVs -> the calibration JSON that export puts into the bundle."""
    parser = Parser(prog="fedkdtavi calibrate", description=__doc__)
    parser.add_argument("csv", type=Path, nargs="+", help="per-case CSVs on held-out phantoms")
    parser.add_argument("--out", type=Path, required=True, help="JSON to write")
    options = parser.parse_args(arguments)
    tables = from_csv(options.csv, lambda text: print(text, file=sys.stderr))
    if not tables:
        raise UsageError(
            f"{options.csv[0]}: no head has {_LEAST} landmarks with confidence and error; give more of evaluate's CSVs."
        )
    write_bytes(options.out, (json.dumps(tables, indent=2) + "\n").encode())
    return 0
