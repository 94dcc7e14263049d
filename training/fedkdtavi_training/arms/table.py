"""What the units' CSVs say together: each arm's medians and tails, and paired differences over cases and seeds."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from fedkdtavi_core.bundle import paired
from fedkdtavi_core.errors import UsageError

from .. import tally
from ..report import results
from .matrix import Matrix

_MEASURES = {
    "hinge points + ostia, mm": "hinges and ostia",
    "membranous septum, mm": "membranous septum",
    "annulus plane, degrees": "plane_deg",
    "calcium Dice": "calcium_dice",
}
COLUMNS = ("second", "first", "measure", "unit", "seeds", "cases", "values", "gain", "low", "high", "verdict")
Results = Mapping[str, Mapping[int, results.Arm]]


def read(matrix: Matrix) -> Results:
    """Arm -> seed -> results, for the units that are done.

    Raises:
        UsageError: two of them were made on different test cases.
        InputError: a CSV is broken.
    """
    found: dict[str, dict[int, results.Arm]] = {}
    first = None
    for unit in matrix.units():
        if not unit.csv.exists():
            continue
        (arm,) = results.read([f"{unit.name}={unit.csv}"])
        test_set = str(arm.rows[0].get("test_set"))
        first = first or (test_set, unit.csv)
        if test_set != first[0]:
            raise UsageError(f"{unit.csv} and {first[1]} were made on different test cases; remove one of them.")
        found.setdefault(unit.arm, {})[unit.seed] = arm
    return found


def compare(first: Mapping[int, results.Arm], second: Mapping[int, results.Arm]) -> dict[str, tuple[str, Any]]:
    """Measure -> (unit, paired difference); positive: ``second`` is better.

    Cases are what is drawn: the differences of one case with all seeds that both arms have are drawn together, so that
    more seeds make no more cases. How much another seed would change is not in the interval.
    """
    pooled: dict[str, tuple[str, dict[str, list[float]]]] = {}
    for seed in sorted(first.keys() & second.keys()):
        for measure, (unit, cases) in results.differences(first[seed], second[seed]).items():
            into = pooled.setdefault(measure, (unit, {}))[1]
            for case, values in cases.items():
                into.setdefault(case, []).extend(values)
    return {measure: (unit, paired.paired(cases)) for measure, (unit, cases) in pooled.items()}


def rows(matrix: Matrix, found: Results) -> list[dict[str, Any]]:
    """One row for each pair of arms that both have results, and each measure that both have values of."""
    made = []
    for first, second in matrix.pairs:
        if first not in found or second not in found:
            continue
        seeds = sorted(found[first].keys() & found[second].keys())
        for measure, (unit, one) in compare(found[first], found[second]).items():
            if not one.values:
                continue
            digits = 3 if unit == "Dice" else 2
            made.append(
                {
                    "second": second, "first": first, "measure": measure, "unit": unit,
                    "seeds": " ".join(map(str, seeds)), "cases": one.cases, "values": one.values,
                    "gain": round(one.mean, digits), "low": _rounded(one.low, digits),
                    "high": _rounded(one.high, digits), "verdict": one.verdict,
                    "sentence": one.sentence(second, unit, digits),
                }
            )  # fmt: skip
    return made


def as_csv(made: Sequence[Mapping[str, Any]]) -> str:
    """The paired table for a program."""
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    writer.writerows(made)
    return out.getvalue()


def as_markdown(matrix: Matrix, found: Results, made: Sequence[Mapping[str, Any]]) -> str:
    """Both tables for a person."""
    lines = [
        "# Comparison arms",
        "",
        "Synthetic phantoms with known truth; not for clinical use. Whole CT, coarse, crop, decode, with the same "
        "coarse network for all arms. A missing landmark is infinitely far off in median and P95, and counts as "
        f"{paired.WORST_MM:g} mm (degrees) in differences.",
        "",
        "| arm | seed | measure | n | median | P95 | missing |",
        "|---|---|---|---|---|---|---|",
    ]
    for arm, seeds in found.items():
        for seed, result in seeds.items():
            measures = tally.summarise(list(result.rows))["all"]
            for name, key in _MEASURES.items():
                one = measures.get(key)
                if one and one["n"]:
                    tail, gone = one.get("p95", one.get("p5")), one.get("missing", one.get("refused"))
                    cells = (arm, seed, name, one["n"], _shown(one["median"]), _shown(tail), gone)
                    lines.append("| " + " | ".join(map(str, cells)) + " |")
    lines += [
        "",
        "For Dice n counts the CTs with a Dice, the tail is the 5th percentile, and missing counts the refused "
        "assessments of all CTs.",
        "",
        "## Paired",
        "",
        "Mean difference over the test cases that both have, with a 95 % bootstrap interval over cases (all seeds of a "
        "case are drawn together). Better is said only where the interval excludes zero.",
        "",
        "| arms | measure | seeds | cases | finding |",
        "|---|---|---|---|---|",
    ]
    for row in made:
        arms = f"{row['second']} against {row['first']}"
        lines.append(f"| {arms} | {row['measure']} | {row['seeds']} | {row['cases']} | {row['sentence']} |")
    described = [f"- {name}: {arm.about}" for name, arm in matrix.arms.items() if arm.about]
    missing = [unit.name for unit in matrix.units() if unit.seed not in found.get(unit.arm, {})]
    lines += ["", *described, "", *([f"Not run yet: {', '.join(missing)}."] if missing else [])]
    return "\n".join(lines).rstrip() + "\n"


def _shown(value: float | None) -> str:
    return "inf" if value is None else f"{value:.2f}"


def _rounded(value: float, digits: int) -> float | str:
    return round(value, digits) if value == value else ""
