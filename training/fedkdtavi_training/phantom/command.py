"""``fedkdtavi phantom``: make virtual hospitals."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from fedkdtavi_core.cli.options import Parser
from fedkdtavi_core.errors import EXIT_OK, FedKDTAVIError, UsageError

from . import PHANTOM_VERSION

KINDS = ("heart", "noheart", "truncated", "prosthesis", "bicuspid", "low_ostia", "noncontrast")


def parser() -> argparse.ArgumentParser:
    """The options of the command."""
    p = Parser(
        prog="fedkdtavi phantom",
        description="Make virtual hospitals: synthetic cardiac CTs with label files per site, and the answer key "
        "beside them. A run that was stopped goes on where it ended.",
        epilog="With --cache crop or --cache chest it makes what `fedkdtavi train` reads, instead of hospitals; "
        "`fedkdtavi phantom --cache crop --help` explains the options of that.",
    )
    p.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the sites and the key")
    p.add_argument("--sites", type=_positive, default=8, metavar="N", help="number of hospitals (8)")
    p.add_argument(
        "--cases", type=_positive, default=10, metavar="N",
        help="CTs per hospital (10): the mean, as sites differ in size; the exact number with --test",
    )  # fmt: skip
    p.add_argument("--seed", type=int, default=0, metavar="S", help="everything follows from it (0)")
    p.add_argument(
        "--spacing", type=spacing_mm, default=None, metavar="MM", help="fineness of the anatomy (1.0; 2.0 with --fast)"
    )
    p.add_argument(
        "--test",
        action="store_true",
        help="test hospitals: no labels, two observers in the key, every second scanner out of the training ranges",
    )
    p.add_argument("--kind", choices=KINDS, default=None, help="only patients of this kind")
    p.add_argument(
        "--labels",
        choices=("table", "all"),
        default="table",
        help="which cases a site has labels for: as in the published table, or all",
    )
    p.add_argument("--processes", type=_positive, default=1, metavar="P", help="cases made at the same time (1)")
    p.add_argument(
        "--fast", action="store_true", help="coarse CTs on the anatomy's own isotropic grid, for trials and tests"
    )
    p.add_argument("--quiet", action="store_true", help="no progress")
    return p


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns the exit code. Errors for a person are one sentence on standard error."""
    options = parser().parse_args(argv)
    try:
        return run(options)
    except FedKDTAVIError as error:
        print(f"fedkdtavi: {error}", file=sys.stderr)
        return error.exit_code
    except OSError as error:
        failure = UsageError(
            f"{error.filename or options.out}: cannot be written ({error.strerror or error}); choose another --out."
        )
        print(f"fedkdtavi: {failure}", file=sys.stderr)
        return failure.exit_code
    except KeyboardInterrupt:
        print(
            "fedkdtavi: Cancelled; finished cases are complete, the same command goes on from there.", file=sys.stderr
        )
        return 130


def run(options: argparse.Namespace) -> int:
    """Plan, then make what is not there yet."""
    from .hospital import make, prepare
    from .plan import plan
    from .workers import over

    spacing = options.spacing or (2.0 if options.fast else 1.0)
    settings = {
        "seed": options.seed, "sites": options.sites, "cases": options.cases, "test": options.test,
        "kind": options.kind or "mixed", "labels": options.labels, "spacing": spacing, "fast": options.fast,
        "phantom": PHANTOM_VERSION,
    }  # fmt: skip
    sites = plan(
        options.seed, options.sites, options.cases, test=options.test, kind=options.kind,
        all_labels=options.labels == "all",
    )  # fmt: skip
    jobs = prepare(options.out, sites, settings, spacing, not options.fast)
    todo = [job for job in jobs if not job.done()]
    start = time.monotonic()
    for count, case in enumerate(over(make, todo, options.processes), start=1):
        if not options.quiet:
            left = (time.monotonic() - start) / count * (len(todo) - count)
            print(f"{count}/{len(todo)} {case} (about {left:.0f} s left)", file=sys.stderr, flush=True)
    labelled = {head: sum(head in job.case.heads for job in jobs) for head in ("hps", "ms", "calc")}
    counts = ", ".join(f"{head} {n}" for head, n in labelled.items())
    print(
        f"{options.out}: {len(jobs)} synthetic CTs in {len(sites)} virtual hospitals, {len(jobs) - len(todo)} of them "
        f"there already; labelled: {counts}."
    )
    return EXIT_OK


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return value


def spacing_mm(text: str) -> float:
    """A voxel size from the command line."""
    value = float(text)
    if not 0.3 <= value <= 8:
        raise argparse.ArgumentTypeError("must lie between 0.3 and 8 mm")
    return value
