"""The folders of a server and of a site, and what the engine is told in them: what it may run, and where it writes.

    server/ project.json authority/ key/ kit/ coordinator/ requests/ approved/ jobs/ out/
    site/   project.json federation.json key/ kit/ work/

``key/`` holds the private key that was made there. The engine's own workspace is ``kit/``; its ``local/`` is written
here, by the side that owns it, and nothing that comes over the network changes it.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import fedkdtavi_core
from fedkdtavi_core import schema
from fedkdtavi_core.errors import InputError, UsageError

from . import progress
from .project import Project
from .settings import FILE, ServerSettings, SiteSettings

PROJECT, SITE, AUTHORITY, KEY, KIT = "project.json", "federation.json", "authority", "key", "kit"
COORDINATOR, REQUESTS, APPROVED, JOBS, OUT, WORK = "coordinator", "requests", "approved", "jobs", "out", "work"
PROCESS = "process.json"

_PACKAGE = "fedkdtavi_training.federation.flare"
EXECUTOR, CONTROLLER = f"{_PACKAGE}.executor.FedKDTAVIExecutor", f"{_PACKAGE}.controller.FedKDTAVIController"
SITE_CLASSES = (f"{_PACKAGE}.executor",)
SERVER_CLASSES = (f"{_PACKAGE}.controller",)
HEART_BEAT_TIMEOUT_S = 30
# Who may do what, in the words of FLARE. No role may bring code, read a shell, or stop a hospital's machine.
_NOTHING = {"byoc": "none", "shell_commands": "none", "server-predeployed-flwr": "none"}
_LEAD = {"submit_job": "any", "clone_job": "n:submitter", "manage_job": "n:submitter", "download_job": "n:submitter",
         "view": "any", **_NOTHING}  # fmt: skip


def allowed(*classes: str) -> dict[str, Any]:
    """What the engine's resources say of the classes that a job may build: these, and no others."""
    return {"class_list_enforcement_mode": "enforce", "class_allow_list": list(classes)}


def local_of_site(folder: Path, own: SiteSettings) -> None:
    """Write ``kit/local`` of a site: its own settings, and that only our executor may run.

    Raises:
        InputError: the kit is not one of the engine's.
        UsageError: it cannot be written.
    """
    local = folder / KIT / "local"
    resources = _defaults(local)
    resources |= {
        **allowed(*SITE_CLASSES),
        # The engine's default sends the site's error log to the server: exception texts name cases.
        "allow_log_streaming": False,
        "client": {**resources.get("client", {}), "retry_timeout": 30},
    }
    versions = {"version": fedkdtavi_core.__version__, "schema_version": schema.SCHEMA_VERSION}
    resources["components"] = [
        *_without(resources, "site_log_streamer"),
        {"id": "door", "path": f"{_PACKAGE}.door.SiteDoor", "args": versions | {"folder": str(folder.resolve())}},
    ]
    write(local / "resources.json", resources)
    # Nor may anyone ask a hospital's machine what is installed on it, or for the errors of a job.
    write(local / "authorization.json", _policy({**_LEAD, "operate": "none", "view": "none"}))
    write(local / FILE, own.model_dump(mode="json"))


def local_of_server(folder: Path, project: Project) -> None:
    """Write ``kit/local`` of the server: its stores inside its folder, its door, the one controller that it runs.

    Raises:
        as :func:`local_of_site`.
    """
    folder = folder.resolve()
    local = folder / KIT / "local"
    resources = _defaults(local)
    resources |= allowed(*SERVER_CLASSES)
    for server in resources["servers"]:
        server |= {"heart_beat_timeout": HEART_BEAT_TIMEOUT_S, "max_num_clients": max(100, 2 * len(project.sites))}
    resources["snapshot_persistor"]["args"]["storage"]["args"]["root_dir"] = str(folder / JOBS / "snapshots")
    components = _without(resources, "log_receiver")
    for component in components:
        if component["id"] == "job_manager":
            component["args"]["uri_root"] = str(folder / JOBS / "store")
        elif component["id"] == "job_scheduler":
            component["args"]["max_jobs"] = 1
    asked = {"version": project.fedkdtavi, "schema_version": project.schema_version}
    door = {**asked, "out": str(folder / OUT), "sites": [site.name for site in project.sites]}
    resources["components"] = [*components, {"id": "door", "path": f"{_PACKAGE}.door.ServerDoor", "args": door}]
    write(local / "resources.json", resources)
    write(local / "authorization.json", _policy({**_LEAD, "operate": "any"}))
    own = ServerSettings(name="server", out=folder / OUT, schema_version=schema.SCHEMA_VERSION)
    write(local / FILE, own.model_dump(mode="json"))


def _policy(lead: dict[str, str]) -> dict[str, Any]:
    others = {"view": lead["view"], **_NOTHING}
    roles = {"lead": lead, "project_admin": lead, "org_admin": others, "member": others}
    return {"format_version": "1.0", "permissions": roles}


def _defaults(local: Path) -> dict[str, Any]:
    path = local / "resources.json.default"
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({error}); join again.") from error


def _without(resources: dict[str, Any], name: str) -> list[dict[str, Any]]:
    return [one for one in resources["components"] if one["id"] not in (name, "door")]


def write(path: Path, content: dict[str, Any]) -> None:
    """A JSON object of ours, replaced whole. Raises UsageError when it cannot be written."""
    progress.replace(path, json.dumps(content, indent=2) + "\n")


def make_folder(folder: Path) -> Path:
    """A folder of one's own that can be written to.

    Raises:
        UsageError: it cannot.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        probe = folder / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UsageError(f"{folder}: cannot be written ({error.strerror}); give another folder.") from error
    return folder


def read(path: Path, what: str) -> dict[str, Any]:
    """A JSON object of ours. Raises UsageError when ``what`` has not been done yet."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: cannot be read; {what} first.") from error


def running(folder: Path) -> bool:
    """Does a process that was started from this folder still run?"""
    try:
        number = int(json.loads((folder / PROCESS).read_text(encoding="utf-8"))["pid"])
        os.kill(number, 0)
    except PermissionError:  # another user's: it runs
        return True
    except (OSError, ValueError, KeyError):
        return False
    return True
