"""Jobs that a site must not run, submitted by the coordinator itself: who has its key could do the same."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

from fedkdtavi_core.errors import UsageError
from fedkdtavi_training.disk import write_bytes
from fedkdtavi_training.federation import enrol, kits, project
from fedkdtavi_training.federation.flare.job import SERVER_APP, SITE_APP, write_job

from .ground import Ground, Refusal, line_with

_HERE = "fedkdtavi_training.federation.flare"
_NOT_BUILT = "component not authorized: "
_NOT_LISTED, _NOT_OURS = f"{_NOT_BUILT}Component", f"{_NOT_BUILT}The job asks"  # not a line of source in a traceback
_TOLD_S = 60.0


def with_code(ground: Ground) -> Refusal:
    """The job brings a module in ``custom/`` that leaves a file when it is imported, and names a class in it."""
    job = _job(ground, "code")
    mark = ground.folder / "code-ran"
    text = f"from pathlib import Path\nPath({str(mark)!r}).touch()\nclass Taken:\n    pass\n"
    write_bytes(job / SITE_APP / "custom" / "taken.py", text.encode())
    _executor(job, {"path": "taken.Taken", "args": {}})
    return _refused(ground, "job with code in custom/", job, mark, "BYOC not permitted", "site's authorization.json")


def with_another_executor(ground: Ground) -> Refusal:
    """The job names FLARE's executor that runs a command of the job's."""
    job = _job(ground, "executor")
    mark = ground.folder / "executor-ran"
    executors = "nvflare.app_common.executors"
    _executor(
        job,
        {"path": f"{executors}.client_api_launcher_executor.ClientAPILauncherExecutor",
         "args": {"launcher_id": "launcher", "pipe_id": "pipe"}},
        {"id": "launcher", "path": "nvflare.app_common.launchers.subprocess_launcher.SubprocessLauncher",
         "args": {"script": f"touch {mark}"}},
        {"id": "pipe", "path": "nvflare.fuel.utils.pipe.file_pipe.FilePipe",
         "args": {"mode": "PASSIVE", "root_path": str(ground.folder)}},
    )  # fmt: skip
    return _refused(ground, "job with a command of its own", job, mark, _NOT_LISTED, "site's class_allow_list")


def with_arguments(ground: Ground) -> Refusal:
    """The job names our executor, with arguments."""
    job = _job(ground, "arguments")
    mark = ground.folder / "arguments-ran"
    _executor(job, {"path": f"{_HERE}.executor.FedKDTAVIExecutor", "args": {"command": f"touch {mark}"}})
    return _refused(ground, "job with arguments for our executor", job, mark, _NOT_OURS, "site's door")


def with_another_workflow(ground: Ground) -> Refusal:
    """The job names another controller for the server."""
    job = _job(ground, "workflow")
    path = job / SERVER_APP / "config" / "config_fed_server.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    other = "nvflare.app_common.workflows.cmd_task_controller.CmdTaskController"
    config["workflows"][0] = {"id": "rounds", "path": other, "args": {}}
    write_bytes(path, json.dumps(config).encode())
    mark = ground.folder / "never"
    return _refused(
        ground,
        "job with another workflow at the server",
        job,
        mark,
        _NOT_LISTED,
        "server's class_allow_list",
    )


def _job(ground: Ground, name: str) -> Path:
    """A job as the coordinator's command writes it, for site b alone, which is there to get it."""
    ground.with_site()
    plan = project.read(ground.loop.server / kits.PROJECT)
    experiment = plan.experiment(1, ground.loop.server / kits.OUT / name, {}, {})
    experiment = experiment.model_copy(update={"sites": tuple(site for site in experiment.sites if site.name == "b")})
    return write_job(experiment, ground.folder / "jobs" / name, name=name)


def _executor(job: Path, executor: dict[str, Any], *components: dict[str, Any]) -> None:
    path = job / SITE_APP / "config" / "config_fed_client.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config["executors"][0]["executor"] = executor
    config["components"] = list(components)
    write_bytes(path, json.dumps(config).encode())


def _refused(ground: Ground, stranger: str, job: Path, mark: Path, words: str, refused_by: str) -> Refusal:
    """Submit the job and wait until a log says why it is not run."""
    began = time.monotonic()
    before = set(_logs(ground))
    sizes = {path: path.stat().st_size for path in before}
    kit = ["--startup-kit", str(ground.loop.server / kits.COORDINATOR)]
    number = enrol.flare(["job", "submit", "-j", str(job), *kit], ground.loop.server)["job_id"]
    try:
        ended = enrol.flare(["job", "wait", number, *kit], ground.loop.server)["status"]
    except UsageError as error:
        ended = str(error)
    ground.say(f"{job.name}: {ended}")

    def told() -> str:
        lines = []
        for path in _logs(ground):
            with path.open("rb") as file:
                file.seek(sizes.get(path, 0))
                text = file.read().decode(errors="replace")
            where = "server" if path.is_relative_to(ground.loop.server) else "site"
            lines += [f"{where}'s {path.name} | {line}" for line in text.splitlines()]
        return "\n".join(lines)

    told_in, _, line = line_with(told, words, _TOLD_S).partition(" | ")
    assert not mark.exists(), "what the job brought was run"
    weights = list((ground.loop.server / kits.OUT / job.name).rglob("*.safetensors"))
    assert not [path for path in weights if path.name.startswith("teacher-")], "the job has left a model"
    shutil.rmtree(job)
    reason = line[line.index(words) :].removeprefix(_NOT_BUILT) if words.startswith(_NOT_BUILT) else words
    return Refusal(stranger, refused_by, reason, told_in, time.monotonic() - began)


def _logs(ground: Ground) -> list[Path]:
    """What the engines at the server and at site b have written."""
    folders = (ground.loop.server, ground.loop.site("b"))
    return sorted(path for folder in folders for name in ("console.log", "log.txt") for path in folder.rglob(name))
