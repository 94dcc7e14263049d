"""One unit's way: train (or go on), export, evaluate the product's way, and leave one small CSV."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fedkdtavi_core import schema
from fedkdtavi_core.bundle import Bundle, verify
from fedkdtavi_core.errors import UsageError

from .. import evaluate, export, tally
from ..federated import experiment
from ..federated.config import Experiment
from .matrix import Unit

# What a committed row holds: enough for every table and figure, and nothing that a second run would change.
COLUMNS = (
    "arm", "seed", "unit", "chain", "test_set", "bundle", "case", "site", "kind", "in_range", "has_root", "status",
    *(f"{i}_{what}" for i in schema.LANDMARK_IDS for what in ("mm", "raw")),
    "plane_deg", *(f"{i}_{what}" for i in schema.OSTIUM_IDS for what in ("height_mm", "height_error_mm")),
    "area_error_percent", "calc_dice", "calc_true_mm3", "calc_mm3", "calc_refused",
)  # fmt: skip


def state(unit: Unit, coarse: Bundle) -> str:
    """What there is of it, in words: done, to do, or done with another configuration, program or coarse network."""
    try:
        return "done" if is_done(unit, coarse) else "to do"
    except UsageError:
        return "done, with another configuration"


def is_done(unit: Unit, coarse: Bundle) -> bool:
    """Is its result there?

    Raises:
        UsageError: it is, but was made with another configuration.
    """
    if not unit.csv.exists():
        return False
    rows = tally.read_rows(unit.csv)
    if not rows or rows[0].get("unit") != unit.digest(coarse.digest):
        raise UsageError(f"{unit.csv} was made with another configuration; remove it to run the unit again.")
    return True


def run(unit: Unit, coarse: Bundle, say: Callable[[str], None], device: str = "auto") -> None:
    """Do what is left of a unit; its CSV appears when all is done.

    Raises:
        UsageError, InputError, TrainingError, ExportError: one sentence; a later run goes on from where it was.
    """
    settings = unit.experiment()
    evaluate.read_keys(unit.matrix.cases)  # before hours of training: are there any?
    bundle, digest = unit.folder / "bundle", unit.digest(coarse.digest)
    if not bundle.exists():
        weights, summary = _trained(unit, settings, coarse, say)
        say(f"{unit.name}: exporting")
        told = {"arm": unit.arm, "seed": unit.seed, "unit": digest, "chain": summary["chain"]}
        export.assemble(bundle, coarse, weights, name=unit.arm, version=str(unit.seed), provenance=told, partly=True)

    made = verify(bundle)
    if made.provenance.get("unit") != digest:
        raise UsageError(f"{unit.folder} holds a run with another configuration; remove it to run the unit again.")

    def report(done: int, todo: int, row: dict[str, Any]) -> None:
        say(f"{unit.name}: {done}/{todo} {row['case']}: {row['status']} ({row['seconds']} s)")

    limit, out = unit.matrix.limit, unit.folder / "cases.csv"
    test_set = test_digest(unit.matrix.cases, limit)  # now, not before: hospitals may still have been in the making
    rows = evaluate.evaluate(made, unit.matrix.cases, out, device=device, limit=limit, report=report)
    told = {"arm": unit.arm, "seed": unit.seed, "unit": digest, "test_set": test_set}
    told["chain"] = made.provenance["chain"][:16]  # sites' data, teachers, pseudo-labels, student
    unit.csv.parent.mkdir(parents=True, exist_ok=True)
    tally.write_rows(unit.csv, [_compact(told | row) for row in rows])
    say(f"{unit.name}: done, {unit.csv}")


def test_digest(cases: Path, limit: int | None) -> str:
    """Of the answer keys that count: results on other cases, or with other truth, are not paired."""
    total = hashlib.sha256()
    for key in evaluate.read_keys(cases)[:limit]:
        total.update(f"{key.case} ".encode() + (cases / "key" / f"{key.case}.json").read_bytes())
    return total.hexdigest()[:16]


test_digest.__test__ = False  # its name is no test's


def _trained(
    unit: Unit, settings: Experiment, coarse: Bundle, say: Callable[[str], None]
) -> tuple[Path, dict[str, Any]]:
    """The student's weights and the chain of digests they come from."""
    shared = settings.model_copy(update={"out": unit.matrix.runs, "bundle": coarse.path})
    crops = [{"name": site.name, "folder": site.folders[0]} for site in experiment.cropped(shared, say)]
    settings = Experiment.model_validate(settings.model_dump() | {"sites": crops})
    _share_teachers(unit, say)
    summary = experiment.run(settings, say=lambda text: say(f"{unit.name}: {text}"))[unit.entry.federation]
    if "error" in summary:
        raise UsageError(f"{unit.name}: {summary['error']}")
    link = summary.get("student") or next(iter(summary["teachers"].values()))
    return unit.folder / unit.entry.federation / f"{link['stage']}.safetensors", summary


def _share_teachers(unit: Unit, say: Callable[[str], None]) -> None:
    """Teachers that another arm has trained, as if they had been trained here.

    A checkpoint knows what it was made of, and the rounds refuse one of another experiment.
    """
    if unit.entry.teachers_from is None:
        return
    source = Unit(unit.matrix, unit.entry.teachers_from, unit.seed)
    there, here = source.folder / source.entry.federation, unit.folder / unit.entry.federation
    for weights in sorted(there.glob("teacher-*.safetensors")):  # written when a teacher is done
        if not (here / weights.stem).exists():
            here.mkdir(parents=True, exist_ok=True)
            part = here / f".{weights.stem}.part"
            shutil.rmtree(part, ignore_errors=True)
            shutil.copytree(there / weights.stem, part)
            part.rename(here / weights.stem)
            say(f"{unit.name}: {weights.stem} is that of {source.name}")


def _compact(row: dict[str, Any]) -> dict[str, Any]:
    kept = {key: row.get(key) for key in COLUMNS}
    kept["bundle"] = str(kept["bundle"])[:16]
    # "1", not "1.0": numbers as evaluate writes them before they have been read again.
    return {key: int(v) if isinstance(v, float) and v.is_integer() else v for key, v in kept.items()}
