"""``train_federated.py``: parse, train or test, print and write the per-site table."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from fedkdtavi_core.errors import EXIT_OK, UsageError

from .. import train as training_loop
from ..federated import experiment as federated
from ..federated.config import TASK_HEADS, Experiment, Stage
from ..federated.messages import Driver, SiteFailedError, Task
from ..federated.pace import to_stderr
from ..federated.plain import PlainDriver
from ..federated.site import Site
from . import args as flags
from . import plan, table
from .testing import CaseLog, TestingDriver

CASES, SITES = "test_cases.csv", "test_sites.csv"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code. Raises a FedKDTAVIError of one sentence when it cannot."""
    args = flags.parse(argv)
    if args.mode == "test" and args.ckpt is None:
        args.ckpt = _trained_before(args.out / args.exp_name, args.task)
    experiment = plan.experiment_of(args)
    (test if args.mode == "test" else train)(args, experiment)
    return EXIT_OK


def train(args: argparse.Namespace, experiment: Experiment) -> dict[str, dict[str, Any]]:
    """Train; with ``--test_on_...`` also test the updates on the cases that are kept for testing."""
    log = CaseLog(experiment.out / CASES)
    tested = args.test_on_global_updates or args.test_on_local_updates
    drivers: list[TestingDriver] = []

    def driver(sites: tuple[Site, ...], report: Callable[[str, int, int], None]) -> Driver:
        made = _driver(args, PlainDriver(sites, report), sites, log)
        drivers.append(made)
        return made

    finetune = bool(args.finetune)
    summaries = federated.run(experiment, finetune=finetune, driver=driver if tested else PlainDriver)
    if args.test_on_global_updates:
        for name, summary in summaries.items():
            _test_last(experiment, experiment.out / name, summary, drivers[0])
    if tested:
        _tell(log, experiment.out / SITES)
    failed = [summary["error"] for summary in summaries.values() if "error" in summary]
    if failed and len(failed) == len(summaries):
        raise UsageError(failed[0])
    print(json.dumps({name: summary.get("chain", summary.get("error")) for name, summary in summaries.items()}))
    return summaries


def test(args: argparse.Namespace, experiment: Experiment) -> None:
    """Test given weights at every hospital, before and after one local round; nothing is averaged.

    Raises:
        UsageError: there are no weights, or no cases to test on.
    """
    training_loop.prepare_torch()
    network, _, told = plan.opened(args.ckpt)
    heads = TASK_HEADS[args.task]
    missing = [head for head in heads if head not in told.get("taught", heads)]
    if missing:
        raise UsageError(f"{args.ckpt}: has not learned {', '.join(missing)}; give another --task or other weights.")
    how = experiment.student if args.task == 0 or args.finetune else experiment.teacher
    stage = Stage(
        name=args.ckpt.stem,
        heads=heads,
        training=how.model_copy(update={"rounds": 1}),
        aggregation=experiment.aggregation,
        seed=experiment.seed,
        heads_only=bool(args.finetune),
        test_ratio=flags.value(args, "test_ratio"),
    )
    work = experiment.out / "test" / "sites"
    shutil.rmtree(work, ignore_errors=True)  # a hospital's optimiser starts anew
    sites = tuple(Site(site.name, site.folders, work / site.name) for site in federated.cropped(experiment))
    (experiment.out / "test" / CASES).unlink(missing_ok=True)  # a test says what it has tested, and nothing else
    log = CaseLog(experiment.out / "test" / CASES)
    driver = _driver(args, PlainDriver(sites), sites, log)
    weights = {name: value.clone() for name, value in network.state_dict().items()}
    for site in driver.sites:
        if args.test_on_local_updates:
            try:
                driver.send(site, Task("train", stage, 0, weights))
            except SiteFailedError as error:
                to_stderr(str(error))
        else:
            driver.test(site, stage, weights, 0, "global")
    _tell(log, experiment.out / "test" / SITES)


def _driver(args: argparse.Namespace, inner: Driver, sites: Sequence[Site], log: CaseLog) -> TestingDriver:
    ratio = flags.value(args, "test_ratio")
    return TestingDriver(
        inner,
        {site.name: site.test_cases(ratio) for site in sites},
        log,
        "test" if args.mode == "test" else "local" if args.local else "federated",
        on_global=args.test_on_global_updates,
        on_local=args.test_on_local_updates,
        say=to_stderr,
    )


def _test_last(experiment: Experiment, folder: Path, summary: dict[str, Any], driver: TestingDriver) -> None:
    """What all rounds have come to; no round starts from it, so no round tests it."""
    links = [*summary.get("teachers", {}).values(), summary.get("student")]
    for link in links:
        if not link or "stage" not in link:  # a teacher that was trained before
            continue
        name = link["stage"]
        training = experiment.teacher_of(name.removeprefix("teacher-")) if "teacher" in name else experiment.student
        stage = Stage(
            name=name,
            heads=tuple(link["taught"]),
            training=training,
            aggregation=experiment.aggregation,
            seed=experiment.seed,
        )
        network, _, _ = plan.opened(folder / f"{name}.safetensors")
        for site in driver.sites:
            driver.test(site, stage, network.state_dict(), int(link["rounds"]), "global")


def _trained_before(out: Path, task: int) -> Path:
    """The last network that a training of this name has made."""
    teachers = tuple(f"teacher-{head}" for head in TASK_HEADS[task]) if task else ()
    for name in ("finetuned", *teachers, "student-2", "student"):
        path = out / "federated" / f"{name}.safetensors"
        if path.is_file():
            return path
    raise UsageError(f"{out}: holds no trained network to test; train one under this --exp_name, or give --ckpt.")


def _tell(log: CaseLog, path: Path) -> None:
    rows = table.table(log.tests())
    table.write(path, rows)
    print("Distances in mm to what each hospital's own observer has set; not for clinical use.")
    print(table.as_text(table.last(rows)))
    print(f"{path}: all tests", file=sys.stderr)
