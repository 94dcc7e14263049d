"""One experiment's federated arm through FLARE's simulator: the same weights as in one process."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fedkdtavi_core import schema

from ...disk import TrainingError
from ...federated import experiment as experiments
from ...federated.config import Experiment
from ...federated.files import write_json
from ...federated.pace import to_stderr
from .. import kits
from ..settings import ELSEWHERE, ServerSettings, SiteSettings
from .controller import ARM
from .job import FAILED, write_job


def simulate(
    experiment: Experiment,
    *,
    finetune: bool = False,
    say: Callable[[str], None] = to_stderr,
) -> dict[str, Any]:
    """The summary of the federated arm; everything lies under ``experiment.out``, the status for people, too.

    Raises:
        UsageError, InputError, TrainingError: as :func:`fedkdtavi_training.federated.experiment.run`; the simulator
            ended without a result.
    """
    alone = experiment.model_copy(update={"arms": (ARM,)})
    if set(experiment.arms) != {ARM}:
        say("FLARE's simulator runs the federated arm alone")
    hospitals = experiments.cropped(alone, say)
    out = alone.out.resolve()
    own = out / "settings"
    for site in hospitals:
        folders = tuple(one.resolve() for one in site.folders)
        work = out / ARM / "sites" / site.name
        settings = SiteSettings(name=site.name, schema_version=schema.SCHEMA_VERSION, folders=folders, work=work)
        write_json(own / f"{site.name}.json", settings.model_dump(mode="json"))
    server = ServerSettings(name="server", schema_version=schema.SCHEMA_VERSION, out=out)
    write_json(own / "server.json", server.model_dump(mode="json"))
    names = [site.name for site in hospitals]
    # Results and status in one folder, which is all that this server has: the job asks for none of its own there.
    here = alone.model_copy(update={"out": Path()})
    job, workspace = write_job(here, out / "job", finetune=finetune, name=out.name), out / "simulator"
    shutil.rmtree(workspace, ignore_errors=True)
    # The simulator obeys the same rule as a site: nothing runs but what is ours.
    allowed = kits.allowed(*kits.SERVER_CLASSES, *kits.SITE_CLASSES)
    write_json(workspace / "local" / "resources.json", {"format_version": 2, "components": [], **allowed})
    result = out / ARM / experiments.SUMMARY
    failed = out / FAILED
    for left in (result, failed):
        left.unlink(missing_ok=True)
    say(f"FLARE's simulator: {len(names)} sites, log in {workspace}")
    code = _simulator(job, workspace, names, own)
    if failed.exists():
        raise TrainingError(failed.read_text(encoding="utf-8").strip())
    if not result.exists():
        raise TrainingError(f"FLARE's simulator ended (code {code}) without a result; its log is {workspace}.log.")
    return json.loads(result.read_text(encoding="utf-8"))


def _simulator(job: Path, workspace: Path, names: list[str], own: Path) -> int:
    # A process of its own: the simulator changes signal handlers, folders and logging of the one it runs in.
    command = [
        sys.executable, "-m", "nvflare.private.fed.app.simulator.simulator", str(job),
        "-w", str(workspace), "-c", ",".join(names), "-t", str(len(names)),
    ]  # fmt: skip
    with Path(f"{workspace}.log").open("wb") as log:
        return subprocess.run(
            command, env={**os.environ, ELSEWHERE: str(own)}, stdout=log, stderr=subprocess.STDOUT, check=False
        ).returncode
