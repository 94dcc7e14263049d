"""The jobs at the server that runs: which are not done yet, and their end when the coordinator wants it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fedkdtavi_core.errors import EXIT_OK, UsageError
from fedkdtavi_core.labels.exchange import folder_lock, is_being_written

from . import engine, enrol, kits

_DONE = "FINISHED"  # what the engine's states of a job that is over begin with
_QUEUED, _RUNS = "SUBMITTED", "RUNNING"
_CONNECTION = "CONNECTION_FAILED"
_END_S, _PAUSE_S = 180.0, 2.0
_RUN = "run"  # what a `run` that lives holds the lock of


def ask(folder: Path, *words: str, limit_s: float | None = 300.0) -> Any:
    """What the server answers to a command of the engine, asked with the coordinator's certificate.

    Raises:
        UsageError: no server runs from ``folder``, or it is not reached; the engine refuses, in its own words.
    """
    if not kits.running(folder):
        raise UsageError(f"{folder}: the server does not run; start it with {start_command(folder)}.")
    try:
        return enrol.flare([*words, "--startup-kit", str(folder / kits.COORDINATOR)], folder, limit_s)
    except enrol.EngineError as error:
        if error.engine_code == _CONNECTION and not kits.running(folder):
            raise UsageError(f"{folder}: the server has ended; start it with {start_command(folder)}.") from error
        if error.engine_code == _CONNECTION:
            raise UsageError(
                f"{folder}: its server is not reached at the host and port of {kits.PROJECT}; see that this machine "
                f"finds that host, and {folder / engine.CONSOLE}."
            ) from error
        raise


def start_command(folder: Path) -> str:
    """How the server is started."""
    return f"`fedkdtavi federation server start {folder}`"


def how_to_go_on(folder: Path) -> str:
    """What can be done about a job that is at the server."""
    return (
        f"follow it with `fedkdtavi federation status {folder}`, "
        f"or end it with `fedkdtavi federation server cancel {folder}`"
    )


def unfinished(folder: Path) -> list[dict[str, str]]:
    """The jobs that run or are queued, the queued ones first. Raises as :func:`ask`.

    A job that a server was killed with is listed as one that runs for ever: which ones do, its status says.
    """
    found = [job for job in ask(folder, "job", "list") if not job["status"].startswith(_DONE)]
    if any(job["status"] == _RUNS for job in found):
        at_work = {job["job_id"] for job in ask(folder, "system", "status", "server")["jobs"]}
        found = [job for job in found if job["status"] != _RUNS or job["job_id"] in at_work]
    return sorted(found, key=lambda job: job["status"] != _QUEUED)


def refuse_second(folder: Path) -> None:
    """A further job would wait behind the one that is there, and start by itself when that ends.

    Raises:
        UsageError: there is one; or as :func:`ask`.
    """
    found = unfinished(folder)
    if found:
        job = found[-1]
        state = "is queued" if job["status"] == _QUEUED else "runs"
        raise UsageError(f"{job['job_name']} {state} at the server already; {how_to_go_on(folder)}.")


@contextmanager
def submitting(folder: Path) -> Iterator[None]:
    """Be the one `run` of this server, from its first check to its end, so that :func:`cancel` knows of it.

    Raises:
        UsageError: another one lives.
    """
    one = kits.make_folder(folder / kits.JOBS) / _RUN
    if is_being_written(one):
        raise UsageError(f"{folder}: another `run` is at work on its jobs already; {how_to_go_on(folder)}.")
    with folder_lock(one):
        yield


def cancel(folder: Path, say: Callable[[str], None]) -> int:
    """End every job that runs or is queued, and wait until that is so; what their rounds have made so far stays.

    A `run` that lives may be about to submit its job, or the next one: it is waited for, and ends with its job.

    Raises:
        UsageError: one does not end; or as :func:`ask`.
    """
    folder = folder.resolve()
    told, end, why, waited = set(), time.monotonic() + _END_S, "it does not end", False
    while True:
        comes = is_being_written(folder / kits.JOBS / _RUN)  # before the list: what it has submitted by now is in there
        found = unfinished(folder)
        if not found and not comes:
            break
        if not found and not told and not waited:
            say("no job yet, but a `run` is about to submit one: waiting for it")
            waited = True
        for job in found:  # the queued ones first: they would begin when the one that runs has ended
            if job["job_id"] in told:
                continue
            try:
                ask(folder, "job", "abort", job["job_id"], "--force")
            except enrol.EngineError as error:  # it may have begun, or ended, in the meantime: the list will tell
                why = str(error).rstrip(".")
                continue
            told.add(job["job_id"])
            say(f"{job['job_name']}: told to end ({job['job_id']})")
        if time.monotonic() > end and not found:
            raise UsageError(
                f"{folder}: its `run` neither submits a job nor ends; end it with Ctrl-C, and cancel again."
            )
        if time.monotonic() > end:
            raise UsageError(f"{found[0]['job_name']}: {why}; see {folder / engine.CONSOLE}, and stop the server.")
        time.sleep(_PAUSE_S)
    say("no job runs or is queued any longer; `run` goes on from the last checkpoint" if told else "no job to end")
    return EXIT_OK
