"""``fedkdtavi export``: trained networks -> a sealed bundle."""

from __future__ import annotations

import json
from pathlib import Path

from fedkdtavi_core import readout
from fedkdtavi_core.bundle import Bundle, verify
from fedkdtavi_core.cli.options import Parser
from fedkdtavi_core.errors import UsageError

from . import given
from .card import read_results
from .export import assemble, lineage


def main(arguments: list[str] | None = None) -> int:
    """``export``: two trained networks -> a sealed bundle folder."""
    parser = Parser(prog="fedkdtavi export", description="Make a model bundle of trained networks.")
    parser.add_argument(
        "--coarse",
        type=Path,
        required=True,
        help="weights.safetensors of a coarse run, or a bundle: its coarse network, how it is fed, its thresholds",
    )
    parser.add_argument("--student", type=Path, required=True, help="weights.safetensors of a student or teacher run")
    parser.add_argument(
        "--refiner",
        type=Path,
        help="weights.safetensors of a refiner run, or a bundle that has one (default: a bundle without a refiner)",
    )
    parser.add_argument(
        "--calcium",
        type=Path,
        help="weights.safetensors of a calcium run, or a bundle that has such a network (default: a bundle without, "
        "whose student proposes where calcium is)",
    )
    parser.add_argument("--parent", type=Path, help="bundle that the student was trained on from: provenance names it")
    parser.add_argument("--out", type=Path, required=True, help="bundle folder")
    parser.add_argument("--name", default="fedkdtavi")
    parser.add_argument("--version", required=True)
    parser.add_argument("--calibration", type=Path, help="JSON written by calibrate")
    parser.add_argument("--results", type=Path, help="summary JSON written by evaluate, for the card")
    parser.add_argument("--threshold", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument(
        "--readout", choices=readout.READOUTS, help="how landmarks are read (default: as the student's weights say)"
    )
    parser.add_argument("--force", action="store_true", help="replace another bundle that is there already")
    options = parser.parse_args(arguments)
    try:
        thresholds = {key: float(value) for key, value in (word.split("=") for word in options.threshold)}
    except ValueError:
        raise UsageError("--threshold needs NAME=VALUE with a number, such as root_score=0.3.") from None
    report = assemble(
        options.out,
        _given(options.coarse),
        options.student,
        refiner=None if options.refiner is None else _given(options.refiner),
        calcium=None if options.calcium is None else _given(options.calcium),
        name=options.name,
        version=options.version,
        thresholds=thresholds,
        how_read=options.readout,
        replace=options.force,
        calibration=given.table(options.calibration, "calibration", "calibrate") if options.calibration else None,
        results=read_results(options.results) if options.results else None,
        provenance=None if options.parent is None else {"parent": lineage(verify(options.parent))},
    )
    print(json.dumps(report, indent=2))
    return 0


def _given(path: Path) -> Path | Bundle:
    """A bundle, verified, where the path is a folder or zip; else the path of weights."""
    return verify(path) if path.is_dir() or path.suffix == ".zip" else path
