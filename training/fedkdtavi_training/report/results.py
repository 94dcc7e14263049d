"""Per-case results of several arms, as the figures and tables read them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fedkdtavi_core import schema
from fedkdtavi_core.bundle import paired
from fedkdtavi_core.errors import InputError, UsageError

from .. import tally

Row = dict[str, object]
POINT_MEASURES = {"Hinge points + ostia": schema.HEADS["hps"], "Membranous septum": schema.HEADS["ms"]}
# What each row may lack, and what then stands there: nothing, except that a row was annotated and has a root.
_COLUMNS = (
    *(f"{i}_{what}" for i in schema.LANDMARK_IDS for what in ("mm", "confidence")),
    *(f"{i}_height_error_mm" for i in schema.OSTIUM_IDS), *(f"{i}_height_mm" for i in schema.OSTIUM_IDS),
    "plane_deg", "area_error_percent", "calc_dice", "calc_refused",
)  # fmt: skip
_ASSUMED = {"status": "annotated", "has_root": 1.0, "in_range": 1.0, "site": "", "bundle": ""}


@dataclass(frozen=True)
class Arm:
    """One model's (or observer's) results.

    Attributes:
        name: as shown.
        path: the CSV.
        rows: one for each case; an infinite error is a landmark that was not found.
    """

    name: str
    path: Path
    rows: tuple[Row, ...]

    def errors(self, labels: Sequence[str], site: str | None = None) -> np.ndarray:
        """Errors in mm of these landmarks, inf where missing; of one site or of all."""
        rows = [row for row in self.rows if site is None or row["site"] == site]
        return np.array([row[f"{i}_mm"] for row in rows for i in labels if row[f"{i}_mm"] is not None], float)

    def values(self, column: str, site: str | None = None) -> np.ndarray:
        """What a column holds, where it holds something."""
        found = [row[column] for row in self.rows if site is None or row["site"] == site]
        return np.array([value for value in found if value is not None], float)


def read(arguments: Sequence[str]) -> list[Arm]:
    """``NAME=FILE.csv`` or ``FILE.csv`` (named by its file) -> arms in the order given.

    Raises:
        InputError: a file is missing, empty or holds no per-case results.
        UsageError: two arms have the same name.
    """
    arms: list[Arm] = []
    for argument in arguments:
        name, found, text = argument.partition("=")
        path = Path(text if found else argument)
        name = name if found else path.stem
        if name in {arm.name for arm in arms}:
            raise UsageError(f"Two arms are called {name}; name them apart, like first={path}.")
        arms.append(Arm(name, path, _rows(path)))
    return arms


def sites(arms: Sequence[Arm]) -> list[str]:
    """Names of all sites, in a person's order (site-2 before site-10)."""
    names = {str(row["site"]) for arm in arms for row in arm.rows}
    return sorted(names, key=lambda name: [int(p) if p.isdigit() else p for p in re.split(r"(\d+)", name)])


def gains(first: Arm, second: Arm) -> dict[str, tuple[str, paired.Paired]]:
    """Measure -> (unit, paired difference) over the cases of both; positive: ``second`` is better."""
    return {name: (unit, paired.paired(cases)) for name, (unit, cases) in differences(first, second).items()}


def differences(first: Arm, second: Arm) -> dict[str, tuple[str, dict[str, list[float]]]]:
    """Measure -> (unit, case -> differences), over the cases of both; positive: ``second`` is better."""
    ours, theirs = ({str(row["case"]): row for row in arm.rows} for arm in (first, second))
    shared = [case for case in ours if case in theirs]
    result = {}
    columns = {name: ("mm", tuple(f"{i}_mm" for i in labels)) for name, labels in POINT_MEASURES.items()}
    columns["Coronary heights"] = ("mm", tuple(f"{i}_height_error_mm" for i in schema.OSTIUM_IDS))
    columns["Annulus plane"] = ("degrees", ("plane_deg",))
    for measure, (unit, names) in columns.items():
        found = {}
        for case in shared:
            pairs = [(ours[case][n], theirs[case][n]) for n in names]
            found[case] = [
                paired.counted(abs(a)) - paired.counted(abs(b)) for a, b in pairs if a is not None and b is not None
            ]
        result[measure] = (unit, found)
    dice = {case: (ours[case]["calc_dice"], theirs[case]["calc_dice"]) for case in shared}
    result["Calcium"] = (
        "Dice", {case: [b - a] for case, (a, b) in dice.items() if a is not None and b is not None}
    )  # fmt: skip
    return result


def failures(arms: Sequence[Arm], most: int) -> list[tuple[float, Arm, Row, dict[str, float]]]:
    """The worst cases: mean counted error in mm, arm, row, and its errors from the largest down."""
    found = []
    for arm in arms:
        for row in arm.rows:
            errors = {i: float(row[f"{i}_mm"]) for i in schema.LANDMARK_IDS if row[f"{i}_mm"] is not None}
            if errors:
                mean = float(np.mean([paired.counted(error) for error in errors.values()]))
                found.append((mean, arm, row, dict(sorted(errors.items(), key=lambda item: -item[1]))))
    return sorted(found, key=lambda item: -item[0])[:most]


def _rows(path: Path) -> tuple[Row, ...]:
    errors = [f"{i}_mm" for i in schema.LANDMARK_IDS]
    try:
        header = tally.read_header(path)
        if "case" not in header or not set(errors) & set(header):
            lacking = ", ".join(name for name in ("case", *errors) if name not in header)
            raise InputError(f"{path}: lacks the columns {lacking}; give a CSV of `fedkdtavi evaluate`.")
        rows = tally.read_rows(path)
    except (OSError, ValueError, TypeError) as error:
        why = getattr(error, "strerror", None) or error
        raise InputError(f"{path}: cannot be read as results ({why}); give a CSV of `fedkdtavi evaluate`.") from error
    if not rows:
        raise InputError(f"{path}: holds no per-case results; give a CSV of `fedkdtavi evaluate`.")
    return tuple({**dict.fromkeys(_COLUMNS), **_ASSUMED, **row} for row in rows)
