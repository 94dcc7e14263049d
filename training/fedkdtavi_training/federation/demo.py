"""The whole of a federation on one machine: hospitals, keys, mutual TLS, four jobs, a bundle, a CT annotated with it.

Small enough for two cores, so it shows that everything works together; the model it makes has learned next to nothing.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fedkdtavi_core import bundle as bundles
from fedkdtavi_core.errors import EXIT_OK, UsageError
from fedkdtavi_core.site.dataset import open_site
from fedkdtavi_core.site.status import counts

from ..federated.config import HEADS
from . import kits, server_command
from .loopback import Loopback

K = 3
_SMALL = {"network": {"channels": [8, 16]}, "warmup": 0, "crop": 32, "loss": {"spacing_mm": 2.5}}
TEACHER: dict[str, Any] = {"model": "teacher", "rounds": 2, "local_steps": 4, **_SMALL}
STUDENT: dict[str, Any] = {"model": "student", "rounds": 2, "local_steps": 1, "batch": 1, "lr": 1e-5, "warmup": 0}
_FIRST_S = 300.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The demonstration's options."""
    parser.add_argument("--out", type=Path, required=True, help="new folder for everything")
    parser.add_argument("--sites", type=int, default=8, help="hospitals, each a process (default: %(default)s)")
    parser.add_argument("--cases", type=int, default=2, help="CTs a hospital, on average (default: %(default)s)")
    parser.add_argument("--ct", type=Path, help="CT to annotate with the new bundle in the end")


def run(out: Path, sites: int, cases: int, ct: Path | None, say: Callable[[str], None]) -> int:
    """From nothing to a bundle, and to ``ct`` annotated with it.

    Raises:
        UsageError: ``out`` holds something; too few sites.
        LoopbackError, TrainingError: a process or a job failed; its log is named.
    """
    if out.exists() and any(path.name != "hospitals" for path in out.iterdir()):
        raise UsageError(f"{out}: is not empty; give a new folder, or leave nothing in it but hospitals.")
    if sites < K:
        raise UsageError(f"--sites {sites}: a head needs {K} sites that have labels for it; give at least {K}.")
    say(f"1 of 4: {sites} virtual hospitals with synthetic CTs")
    datasets = _hospitals(out / "hospitals", sites, cases)
    parent = bundles.resolve(None)
    weights = out / "released.safetensors"
    weights.write_bytes(parent.read("models/student.safetensors"))
    plan = _plan(datasets, weights)
    say(f"2 of 4: enrolment, then server and {sites} sites, each a process of its own, over mutual TLS")
    with Loopback(out / "federation", datasets, plan, say) as federation:
        federation.enrol()
        federation.start("server")
        federation.wait_until_open(60)
        for name in datasets:
            federation.start(name)
        federation.wait_for_sites(list(datasets), _FIRST_S)
        say(f"3 of 4: jobs {', '.join(map(str, plan['jobs']))}: teachers, pseudo-labels, student")
        federation.run()
        student = server_command.model(federation.server, 0)
    say("4 of 4: the bundle")
    made = _bundle(out / "bundle", parent, student)
    say(f"bundle {out / 'bundle'}: digest {made['digest'][:16]}")
    shutil.copyfile(federation.server / kits.OUT / "status.html", out / "status.html")
    say(f"status {out / 'status.html'}")
    if ct is not None:
        return _annotate(ct, out)
    return EXIT_OK


def _hospitals(folder: Path, sites: int, cases: int) -> dict[str, Path]:
    from ..phantom.command import main

    code = main(["--fast", "--sites", str(sites), "--cases", str(cases), "--seed", "5", "--out", str(folder)])
    if code != EXIT_OK:
        raise UsageError(f"{folder}: the hospitals could not be made; see above.")
    return {path.name: path for path in sorted(folder.iterdir()) if (path / "site.json").is_file()}


def _plan(datasets: dict[str, Path], weights: Path) -> dict[str, Any]:
    """The project, and the jobs that enough sites have labels for."""
    entries, holders = [], dict.fromkeys(HEADS, 0)
    for name, path in datasets.items():
        held = _labels(path)
        entries.append({"name": name, "org": name.replace("-", "_"), "labels": held})
        for head in held:
            holders[head] += 1
    jobs = [number for number, head in enumerate(HEADS, 1) if holders[head] >= K]
    if len(jobs) < len(HEADS):
        raise UsageError(f"Labels at {holders}: every head needs {K} sites; give more --sites or --cases.")
    return {
        "name": "demo", "sites": entries, "k": K, "jobs": [*jobs, 0], "deadline_s": 600.0, "teacher": TEACHER,
        "student": STUDENT, "pseudo": {"min_certainty": 0.5}, "init": str(weights.resolve()),
    }  # fmt: skip


def _labels(path: Path) -> list[str]:
    """The heads that a dataset has true labels for."""
    from fedkdtavi_core import schema

    found = counts(open_site(path))
    true = {label for label, states in found.items() if states["truth"]}
    return [head for head in HEADS if true & set(schema.HEADS[head])]


def _bundle(folder: Path, parent: bundles.Bundle, student: Path) -> dict[str, Any]:
    from .. import export, networks

    _, _, told = networks.load(student)
    return export.assemble(
        folder,
        parent,
        student,
        refiner=parent,
        name="fedkdtavi-federation-demo",
        version="0.0.0",
        provenance={"parent": {"digest": parent.digest}, "student": told},
        limits=["Made by the federation's demonstration: a few steps of training, no better than its parent."],
    )


def _annotate(ct: Path, out: Path) -> int:
    from fedkdtavi_core.cli.main import main

    return main(["annotate", str(ct), "--bundle", str(out / "bundle"), "--out", str(out / "annotated")])
