"""A job as FLARE takes it: two small JSON files and no code. The sites' part says no more than which executor."""

from __future__ import annotations

import shutil
from pathlib import Path

from ...federated.config import Experiment
from ...federated.files import write_json
from ..kits import CONTROLLER, EXECUTOR
from . import message

SITE_APP, SERVER_APP = "site", "server"
AGAIN = "again.json"
"""Beside a job's results: it has ended so that it is submitted again, with a site that has come in the meantime."""
FAILED = "failed.txt"
"""There, too: the sentence with which a run ended without a model."""
_ASK_S = 1  # how often a site asks for a task; FLARE's default is 2


def write_job(experiment: Experiment, folder: Path, *, finetune: bool = False, name: str | None = None) -> Path:
    """Write the job of ``experiment`` to ``folder`` (replaced) and return it.

    Of the experiment's sites only the names go into it: where their data lies is known to themselves alone.

    Raises:
        TrainingError: it cannot be written.
    """
    shutil.rmtree(folder, ignore_errors=True)
    entries = experiment.model_dump(mode="json")
    entries["sites"] = [{"name": site.name, "folder": "."} for site in experiment.sites]
    entries |= {"out": experiment.out.name, "bundle": None, "arms": ["federated"]}
    controller = {"experiment": entries, "finetune": finetune}
    write_json(
        folder / "meta.json",
        {
            "name": name or experiment.out.name,
            "resource_spec": {},
            # A site that is not there at the start is left out by name, and asked again in the next job.
            "min_clients": 1,
            "deploy_map": {
                SERVER_APP: ["server"],
                SITE_APP: [site.name for site in experiment.sites],
            },
        },
    )
    write_json(
        folder / SERVER_APP / "config" / "config_fed_server.json",
        {
            "format_version": 2,
            "workflows": [{"id": "rounds", "path": CONTROLLER, "args": controller}],
            "components": [],
            "task_data_filters": [],
            "task_result_filters": [],
            "server": {"task_request_interval": _ASK_S},
        },
    )
    executor = {"path": EXECUTOR, "args": {}}
    write_json(
        folder / SITE_APP / "config" / "config_fed_client.json",
        {
            "format_version": 2,
            "executors": [{"tasks": [message.TASK], "executor": executor}],
            "components": [],
            "task_data_filters": [],
            "task_result_filters": [],
        },
    )
    return folder
