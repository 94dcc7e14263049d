"""The coordinator's commands: found the federation, approve sites, run the server, run the jobs one after another."""

from __future__ import annotations

import argparse
import json
import shutil
import socket
import sys
from collections.abc import Callable
from pathlib import Path

from fedkdtavi_core.errors import EXIT_OK, Cancelled, UsageError

from ..federated.config import HEADS, SUMMARY
from . import certificates, engine, enrol, jobs, kits, project

Say = Callable[[str], None]
_ABORTED = "JOB_ABORTED"  # nvflare's name for a job that was cancelled
_ENDED = "FATAL_SYSTEM_ERROR received:"  # what nvflare prints before the controller's own sentence


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The server's commands."""
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    its_folder = {"type": Path, "help": "the server's folder, as `init` has made it"}
    one = commands.add_parser("init", help="found a federation: its authority, the server's and the coordinator's keys")
    one.add_argument("project", type=Path, help="project file")
    one.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="the server's folder")
    one.set_defaults(run=lambda o, say: init(o.project, o.out, say))
    two = commands.add_parser("approve", help="sign the request of a site, once its number was heard from there")
    two.add_argument("folder", **its_folder)
    two.add_argument("request", type=Path, help=f"NAME{enrol.REQUEST}, as the site has sent it")
    two.add_argument(
        "--days", type=int, default=enrol.CERTIFICATE_DAYS, help="until the certificate ends (default: %(default)s)"
    )
    two.add_argument("--again", action="store_true", help="though the site has a certificate already")
    two.add_argument("--number", help="as the site has read it on the phone; without it, this is asked (in a terminal)")
    two.set_defaults(run=lambda o, say: approve(o.folder, o.request, o.days, o.again, say, number=o.number))
    three = commands.add_parser("start", help="wait for the sites, until stopped")
    three.add_argument("folder", **its_folder)
    three.set_defaults(run=lambda o, say: start(o.folder, say))
    four = commands.add_parser("run", help="run the project's jobs one after another; what is done is not done again")
    four.add_argument("folder", **its_folder)
    four.add_argument("--task", type=int, choices=(0, 1, 2, 3), help="this job alone")
    four.set_defaults(run=lambda o, say: run(o.folder, o.task, say))
    five = commands.add_parser("cancel", help="end the jobs that run or are queued; the server goes on")
    five.add_argument("folder", **its_folder)
    five.set_defaults(run=lambda o, say: cancel(o.folder, say))
    seven = commands.add_parser(
        "next-round", help="write the project that trains a bundle's student on, between its sites"
    )
    seven.add_argument("project", type=Path, help="project file of the federation: who takes part, where its server is")
    seven.add_argument("--parent", type=Path, metavar="BUNDLE", help="folder or zip (default: the one in use)")
    seven.add_argument("--out", type=Path, required=True, metavar="FILE", help="new project file; weights go beside it")
    seven.set_defaults(run=lambda o, say: _next_round(o.project, o.parent, o.out, say))
    six = commands.add_parser("stop", help="end the server")
    six.add_argument("folder", **its_folder)
    six.set_defaults(run=lambda o, say: engine.stop("server", o.folder, say) or EXIT_OK)


def init(file: Path, out: Path, say: Say) -> int:
    """The server's folder: authority, server and coordinator, each with its key.

    Raises:
        UsageError: the project file is wrong; the folder cannot be written, or holds a federation already.
    """
    plan = project.read(file)
    if (out / kits.AUTHORITY).exists():
        raise UsageError(f"{out}: holds a federation already; give another folder.")
    part = kits.make_folder(out.with_name(f".{out.name}.part"))
    try:
        authority = _found(part, file, plan)
        kits.make_folder(out).rmdir()
        part.rename(out)
    except OSError as error:
        raise UsageError(f"{out}: cannot be made ({error.strerror}); give a new folder.") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    kits.local_of_server(out, plan)
    say(f"{plan.name}: founded in {out}. Send {out / kits.PROJECT} to every site.")
    say(f"Tell every site on the phone, not by mail:\nfingerprint {authority}")
    return EXIT_OK


def _versions(plan: project.Project) -> dict[str, str | int]:
    """Said in the project file from now on: who reads it later may have another version."""
    return {"fedkdtavi": plan.fedkdtavi, "schema_version": plan.schema_version}


def _found(folder: Path, file: Path, plan: project.Project) -> str:
    kits.write(folder / kits.PROJECT, json.loads(file.read_text(encoding="utf-8")) | _versions(plan))
    authority = enrol.found_authority(folder, plan)
    server = {"name": plan.server.host, "type": "server", "org": plan.org}
    person = f"{plan.coordinator}@{plan.name}.federation"  # the engine wants the shape of an address
    coordinator = {"name": person, "type": "admin", "org": plan.org, "role": "lead"}
    for participant, kit in ((server, kits.KIT), (coordinator, kits.COORDINATOR)):
        key = kits.make_folder(folder / kits.KEY / kit)
        asked = enrol.request(folder, key, plan, participant)
        approval = enrol.sign(folder, asked, key / f"{participant['name']}{enrol.APPROVAL}")
        enrol.package(folder, key, approval, authority, folder / kit)
    return authority


def approve(folder: Path, request: Path, days: int, again: bool, say: Say, *, number: str | None = None) -> int:
    """Sign a site's request, once the site has read its number on the phone: anyone can send a file.

    Args:
        number: what the site has read; None: the person at the terminal is shown the number, and asked.

    Raises:
        UsageError: it is another number, or nobody confirms it: nothing has changed then; or as :func:`.enrol.approve`.
    """

    def confirm(site: str, shown: str) -> None:
        if number is None:
            _ask_for(site, shown, request, say)
        elif number.replace(" ", "").lower() != shown.replace(" ", ""):
            raise UsageError(
                f"{request}: its number is {shown}, not {number}, so it is not signed; ask {site} for the request that "
                "it has made itself."
            )

    approval = enrol.approve(folder, _plan(folder), request, confirm, again=again, days=days)
    say(f"Approved the request of number {enrol.number(request)}.")
    say(f"Send {approval} back; it holds no secret.\nfingerprint {enrol.fingerprint(folder)}")
    return EXIT_OK


def _ask_for(site: str, shown: str, request: Path, say: Say) -> None:
    """Ask the person at the terminal whether the site reads this number. Raises UsageError unless the answer is yes."""
    if sys.stdin is None or not sys.stdin.isatty():
        raise UsageError(
            f"{request}: nobody is there to be asked for its number; hear it from {site} on the phone, and give it as "
            "--number."
        )
    say(f"{site} asks with number {shown}")
    say(f"Does {site}, on the phone, read the same number? Type yes to sign:")
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise UsageError(
            f"{request}: not signed, as its number was not confirmed; ask {site} for the request that it has made "
            "itself."
        )


def start(folder: Path, say: Say) -> int:
    """Run the server until it is stopped.

    Raises:
        UsageError: a certificate has ended; the port is in use; a folder cannot be written.
    """
    plan = _plan(folder)
    engine.refuse_twice("server", folder)
    for certificate in ("server.crt", "rootCA.pem"):
        own = certificates.of_file(folder / kits.KIT / "startup" / certificate)
        warning = certificates.check(own, what_to_do=certificates.FOUND_ANEW)
        if warning:
            say(f"warning: {warning}")
    for part in (kits.OUT, kits.JOBS, kits.KIT):
        kits.make_folder(folder / part)
    free(plan.server.port)
    kits.local_of_server(folder, plan)
    say(f"{plan.name}: serving on port {plan.server.port}, {len(plan.sites)} sites expected; Ctrl-C stops")
    return engine.run("server", folder, {"org": plan.org}, say)


def free(port: int) -> None:
    """Raises UsageError when something else listens on the port, or we may not."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError as error:
            raise UsageError(
                f"port {port}: cannot be used ({error.strerror}); end what uses it, or give the project another port."
            ) from error


def run(folder: Path, only: int | None, say: Say) -> int:
    """Submit the project's jobs one after another and wait for each; the student's job gets the teachers' weights.

    Raises:
        UsageError: the server does not run; a job is there already, was refused, or ended without a model.
        Cancelled: the job was cancelled; Ctrl-C, which ends the waiting and not the job.
    """
    folder = folder.resolve()  # a job is read where the engine runs
    plan = _plan(folder)
    if only is not None and only not in plan.jobs:
        raise UsageError(f"task {only} is no job of {plan.name}; its jobs are {', '.join(map(str, plan.jobs))}.")
    tasks = plan.jobs if only is None else (only,)
    for task in (1, 2, 3):
        if task in tasks or 0 in tasks:  # the student learns from what the teachers' jobs have left
            _refuse_changed(folder, plan, task)
    with jobs.submitting(folder):
        for task in tasks:
            if task and model(folder, task) is not None:
                say(f"task {task} ({project.TASKS[task]}): done before")
                continue
            try:
                _job(folder, plan, task, say)
            except KeyboardInterrupt as error:
                raise Cancelled(
                    f"task {task} ({project.TASKS[task]}): not waited for any longer, but a job that is submitted goes "
                    f"on at the server; {jobs.how_to_go_on(folder)}."
                ) from error
    return EXIT_OK


def cancel(folder: Path, say: Say) -> int:
    """End the jobs that run or are queued. Raises as :func:`.jobs.cancel`."""
    _plan(folder)
    return jobs.cancel(folder, say)


def _next_round(file: Path, parent: Path | None, out: Path, say: Say) -> int:
    from . import next_plan  # with torch

    return next_plan.write(file, parent, out, say)


def _job(folder: Path, plan: project.Project, task: int, say: Say) -> None:
    from .flare.job import AGAIN, FAILED, write_job

    jobs.refuse_second(folder)
    teachers = {HEADS[n - 1]: found for n in (1, 2, 3) if (found := model(folder, n)) is not None}
    out = folder / kits.OUT / f"task-{task}"
    experiment = plan.experiment(task, out, {}, teachers if task == 0 else {})
    job = write_job(experiment, folder / kits.JOBS / f"task-{task}", name=f"{plan.name}-task-{task}")
    what = f"task {task} ({project.TASKS[task]})"
    while True:
        for left in (AGAIN, FAILED):
            (out / left).unlink(missing_ok=True)
        printed = _size(folder / engine.CONSOLE)
        number = jobs.ask(folder, "job", "submit", "-j", str(job))["job_id"]
        say(f"{what}: submitted as {number}")
        why = ""
        try:
            jobs.ask(folder, "job", "wait", number, limit_s=None)
        except UsageError as error:  # the engine tells of a failed job as of a failed command, also of one that goes on
            why = str(error)
            if getattr(error, "engine_code", "") == _ABORTED:
                raise Cancelled(
                    f"{what}: was cancelled; call `run` again, and it goes on from its checkpoint."
                ) from error
        if not (out / AGAIN).exists():
            break
        say(f"{what}: {kits.read(out / AGAIN, 'run')['site']} has come; going on with it")
    if (out / FAILED).exists() or model(folder, task) is None:  # an older job may have left a model
        # A full disk keeps the controller from leaving its sentence; then the console may have it.
        told = (out / FAILED).read_text(encoding="utf-8").strip() if (out / FAILED).exists() else ""
        why = told or _reason(folder / engine.CONSOLE, printed) or why or "it gave no reason"
        raise UsageError(
            f"{what}: ended without a model ({why.rstrip('.')}); mend it, and call `run` again: it goes on from its "
            "checkpoint."
        )
    say(f"{what}: done")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _reason(console: Path, start: int) -> str | None:
    """The sentence with which the rounds ended, from what the engine has printed since."""
    if not console.exists():
        return None
    with console.open("rb") as file:
        file.seek(start)
        lines = file.read().decode(errors="replace").splitlines()
    ends = [line.split(_ENDED, 1)[1].strip() for line in lines if _ENDED in line]
    return ends[-1] if ends else None


def model(folder: Path, task: int) -> Path | None:
    """The weights that a finished job has left."""
    names = (f"teacher-{HEADS[task - 1]}",) if task else ("student-2", "student")  # of two sets of pseudo-labels
    out = folder / kits.OUT / f"task-{task}"
    return next((path for name in names for path in sorted(out.rglob(f"{name}.safetensors"))), None)


def _refuse_changed(folder: Path, plan: project.Project, task: int) -> None:
    """A finished teacher was trained as the project file says now, or it is not taken for the one that is wanted.

    Raises:
        UsageError: the project file has changed since.
    """
    weights, head = model(folder, task), HEADS[task - 1]
    training = plan.teachers.get(head, plan.teacher)
    if weights is None or training is None:
        return
    try:
        summary = json.loads((weights.parent / SUMMARY).read_text(encoding="utf-8"))
        was = summary["teachers"][head]["configuration"]
    except (OSError, ValueError, KeyError, TypeError):  # nothing says how it was trained
        return
    stage = plan.experiment(task, folder, {}, {}).stage(f"teacher-{head}", (head,), training)
    if stage.digest() != was:
        out = folder / kits.OUT / f"task-{task}"
        raise UsageError(
            f"task {task} ({project.TASKS[task]}): {folder / kits.PROJECT} has changed since its teacher was trained; "
            f"move {out} away and it is trained anew, or undo the change."
        )


def _plan(folder: Path) -> project.Project:
    if not (folder / kits.AUTHORITY).is_dir():
        raise UsageError(f"{folder}: is no server's folder; make one with `fedkdtavi federation server init`.")
    return project.read(folder / kits.PROJECT)
