"""``fedkdtavi federation``: simulate, server, site, status, project."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from fedkdtavi_core.cli.console import Console
from fedkdtavi_core.cli.options import Parser
from fedkdtavi_core.errors import EXIT_OK, UsageError


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command. Raises UsageError or InputError of one sentence when it cannot."""
    options = _parser().parse_args(argv)
    try:
        return options.run(options, _say)
    except PermissionError as error:
        raise UsageError(
            f"{error.filename or 'a file'}: may not be used by this user ({error.strerror}); call this as the "
            "user who runs this server or site."
        ) from error


def _say(text: str) -> None:
    Console().note(text)


def _parser() -> argparse.ArgumentParser:
    from . import demo, server_command, site_command

    parser = Parser(
        prog="fedkdtavi federation",
        description="Train over many hospitals: their CTs stay, weights travel. Runbooks: training/docs. "
        "Trained on synthetic phantoms so far; not for clinical use.",
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    one = commands.add_parser("project", help="check a project file, and show who trains what")
    one.add_argument("file", type=Path, help="project file, JSON (training/docs/coordinator.md)")
    one.set_defaults(run=_project)
    two = commands.add_parser("simulate", help="all rounds on this machine, from a config as `distill` takes")
    two.add_argument("config", type=Path, help="JSON configuration of an experiment")
    two.add_argument("--engine", choices=("plain", "flare"), default="plain", help="(default: plain, one process)")
    two.add_argument("--workspace", type=Path, help="folder for results (default: `out` of the config)")
    two.set_defaults(run=_simulate)
    server_command.add_arguments(commands.add_parser("server", help="the coordinator's side"))
    site_command.add_arguments(commands.add_parser("site", help="a hospital's side"))
    demo.add_arguments(one := commands.add_parser("demo", help="a whole federation on this machine, in minutes"))
    one.set_defaults(run=lambda o, say: demo.run(o.out, o.sites, o.cases, o.ct, say))
    three = commands.add_parser("status", help="rounds, sites, frozen heads, certificates; of a server or a site")
    three.add_argument("folder", type=Path, help="the server's folder, the site's, or a simulation's")
    three.add_argument("--json", action="store_true", help="the same for programs")
    three.add_argument("--html", type=Path, metavar="FILE", help="also write the page (a server's, a simulation's)")
    three.set_defaults(run=_status)
    return parser


def _project(options: argparse.Namespace, say: object) -> int:
    from ..federated.config import TASK_HEADS
    from . import project

    plan = project.read(options.file)
    show = Console().say
    show(f"{plan.name}: {len(plan.sites)} sites, server {plan.server.host}:{plan.server.port}, k = {plan.k}")
    for task in plan.jobs:
        show(f"  task {task}, {project.TASKS[task]} ({', '.join(TASK_HEADS[task])}): {', '.join(plan.holders(task))}")
    return EXIT_OK


def _simulate(options: argparse.Namespace, say: object) -> int:
    from ..federated import config
    from . import simulation

    changes = {} if options.workspace is None else {"out": options.workspace}
    Console().say(json.dumps(simulation.run(config.read(options.config, changes), options.engine), indent=2))
    return EXIT_OK


def _status(options: argparse.Namespace, say: object) -> int:
    from . import page, progress, status

    found = status.gather(options.folder)
    if options.html is not None:
        if found["kind"] == "site":
            raise UsageError(f"{options.folder}: is a site; the page is of a server or a simulation.")
        progress.replace(options.html, page.html(found))
    Console().say(json.dumps(found, indent=2) if options.json else status.text(found))
    return EXIT_OK
