"""A hospital's three commands: ``request`` (its key is made, and stays), ``join`` (with the approval), ``start``."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path

from pydantic import ValidationError

from fedkdtavi_core.errors import EXIT_OK, InputError, UsageError

from ..config import refused
from . import certificates, connection, engine, enrol, kits, project
from .settings import SiteSettings

Say = Callable[[str], None]
# What stands in a site's federation.json: written by ``request``, and what the site may add by hand.
_KEYS = ("project", "name", "org", "server", "datasets", "threads")
PROTECTION = ("privacy", "least_cases")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The site's commands."""
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    its_folder = {"type": Path, "help": "this site's folder, as `request` has made it"}
    one = commands.add_parser("request", help="make this site's key, and the request to send to the coordinator")
    one.add_argument("project", type=Path, help="the project file that the coordinator has sent")
    one.add_argument("--name", required=True, help="this site's name in the project file")
    one.add_argument("--dataset", type=Path, required=True, action="append", help="site dataset (several: repeat)")
    one.add_argument(
        "--out", type=Path, required=True, metavar="FOLDER", help="this site's folder; the key stays in it"
    )
    one.add_argument("--threads", type=int, default=1, help="threads a training may use (default: 1)")
    one.add_argument("--again", action="store_true", help="a new key, when the certificate nears its end")
    one.set_defaults(run=lambda o, say: request(
        o.project, o.name, o.dataset, o.out, threads=o.threads, again=o.again, say=say))  # fmt: skip
    two = commands.add_parser("join", help="take in the coordinator's approval")
    two.add_argument("folder", **its_folder)
    two.add_argument("approval", type=Path, help=f"NAME{enrol.APPROVAL}, as the coordinator has sent it")
    two.add_argument("--fingerprint", required=True, help="of the authority, as the coordinator has told on the phone")
    two.set_defaults(run=lambda o, say: join(o.folder, o.approval, o.fingerprint, say))
    three = commands.add_parser("start", help="take part: one connection out, until stopped")
    three.add_argument("folder", **its_folder)
    three.add_argument("--bundle", type=Path, help="whose coarse network crops the CTs (default: the released one)")
    three.set_defaults(run=lambda o, say: start(o.folder, o.bundle, say))
    four = commands.add_parser("stop", help="end it")
    four.add_argument("folder", **its_folder)
    four.set_defaults(run=lambda o, say: engine.stop("site", o.folder, say) or EXIT_OK)


def request(
    file: Path, name: str, datasets: list[Path], out: Path, *, threads: int = 1, again: bool = False, say: Say
) -> int:
    """The site's folder, with its key, and the request that may leave it.

    Raises:
        UsageError: the project has no such site or is of another version; the folder cannot be written.
        InputError: a dataset fails its check.
    """
    plan = project.read(file)
    site = plan.site(name)
    for dataset in datasets:
        check(dataset, say)
    for head in promised(datasets, site.labels):
        say(f"warning: the project says that {name} holds labels for {head}, but no dataset here has any")
    folder = kits.make_folder(out)
    key = kits.make_folder(folder / kits.KEY)
    if (key / f"{name}{enrol.REQUEST}").exists() and not again:
        raise UsageError(f"{folder}: has made a request already; send it, or make a new key with --again.")
    kept = _own_settings(folder) if again and (folder / kits.SITE).exists() else {}  # before the key is replaced
    made = enrol.request(folder, key, plan, {"name": name, "type": "client", "org": site.org}, again=again)
    shutil.copyfile(file, folder / kits.PROJECT)
    settings = {
        "project": plan.name,
        "name": name,
        "org": site.org,
        "server": f"{plan.server.host}:{plan.server.port}",
        "datasets": [str(dataset.resolve()) for dataset in datasets],
        "threads": threads,
        **{key: kept[key] for key in PROTECTION if key in kept},  # a new certificate must not switch it off
    }
    kits.write(folder / kits.SITE, settings)
    say(f"Send {made} to the coordinator. The key beside it stays here.")
    say(f"On the phone, read its number to them: {enrol.number(made)}")
    return EXIT_OK


def join(folder: Path, approval: Path, fingerprint: str, say: Say) -> int:
    """The engine's workspace from the approval and this site's key.

    Raises:
        UsageError: no request was made here; there is no such file; it is of another authority, site or key.
        InputError: the file is no approval.
    """
    settings, plan = _opened(folder)
    named = enrol.approved(approval)  # what is in it counts: a browser may have given it another name
    if named != settings["name"]:
        raise UsageError(f"{approval}: is the approval of {named}; give that of {settings['name']}.")
    enrol.package(folder, folder / kits.KEY, approval, fingerprint, folder / kits.KIT)
    _write_local(folder, settings, plan)
    certificate = certificates.of_file(_certificate(folder))
    say(f"Joined {plan.name}; the certificate is good for {certificate.days_left()} days.")
    say(f"Next: fedkdtavi federation site start {folder}")
    return EXIT_OK


def start(folder: Path, bundle: Path | None, say: Say) -> int:
    """Take part until stopped: the datasets are checked and cropped, then the engine runs.

    Raises:
        UsageError: not joined, another version, an ended certificate, the server's door; InputError: a dataset.
    """
    settings, plan = _opened(folder)
    engine.refuse_twice("site", folder)
    if not _certificate(folder).exists():
        raise UsageError(
            f"{folder}: has not joined yet; with the coordinator's approval, call `fedkdtavi federation site join "
            f"{folder} APPROVAL --fingerprint SHA256:...`."
        )
    warning = certificates.check(certificates.of_file(_certificate(folder)))
    if warning:
        say(f"warning: {warning}")
    datasets = [Path(dataset) for dataset in settings["datasets"]]
    for dataset in datasets:
        check(dataset, say)
    _refuse_common_cts(datasets)
    kits.make_folder(folder / kits.WORK)
    own = _write_local(folder, settings, plan, bundle)
    if any((dataset / "site.json").is_file() for dataset in datasets):
        try:
            with ProcessPoolExecutor(1, get_context("spawn")) as pool:  # what cropping needs in memory goes with it
                pool.submit(crop, own).result()
        except BrokenProcessPool as error:
            raise UsageError(f"{folder}: cropping was cut off; see that memory is free, and start again.") from error
    filtered = f"filter {own.privacy.filter}" if own.privacy else "no filter"
    say(f"{settings['name']}: {filtered}; rounds that would learn from fewer cases than {own.least_cases} are refused")
    say(f"{settings['name']}: connecting to {settings['server']}; Ctrl-C stops")
    watch = connection.Watch(folder, settings["name"], settings["server"], say)
    return engine.run("site", folder, {"uid": settings["name"], "org": settings["org"]}, say, watch.look)


def _refuse_common_cts(datasets: list[Path]) -> None:
    """A CT in two datasets would count twice, and be held out in one while it is learned from in the other.

    Raises:
        InputError: two have one in common.
    """
    from fedkdtavi_core.site.dataset import open_site

    from ..sites import check_distinct

    check_distinct([open_site(dataset) for dataset in datasets if (dataset / "site.json").is_file()])


def check(dataset: Path, say: Say = lambda text: None) -> None:
    """Is a dataset fit to be trained on? A cache of crops is taken as it is.

    Raises:
        UsageError: it is neither.
        InputError: it fails its check.
    """
    from fedkdtavi_core.site.check import ERROR, check_site

    if any(dataset.glob("case_*.npz")):
        return
    problems = check_site(dataset)
    errors = [problem for problem in problems if problem.level == ERROR]
    if errors:
        more = f" and {len(errors) - 1} more" if len(errors) > 1 else ""
        where = f"{errors[0].case}: " if errors[0].case else ""
        raise InputError(
            f"{dataset}: fails its check ({where}{errors[0].message.rstrip('.')}{more}); "
            f"see `fedkdtavi site check {dataset}`."
        )
    if problems:
        say(f"{dataset}: {len(problems)} warnings; see `fedkdtavi site check {dataset}`.")


def crop(own: SiteSettings) -> None:
    """Crop the datasets now, and not in the first round's time; only what has changed is cropped anew.

    Raises:
        UsageError, InputError: one cannot be cropped.
    """
    from ..federated.pace import to_stderr
    from .child import cropped

    cropped(own, to_stderr)


def promised(datasets: list[Path], heads: tuple[str, ...]) -> list[str]:
    """The heads without a single true label in any dataset; nothing is said of caches, which the rounds count."""
    from fedkdtavi_core import schema
    from fedkdtavi_core.site.dataset import open_site
    from fedkdtavi_core.site.status import counts

    sites = [dataset for dataset in datasets if (dataset / "site.json").is_file()]
    if len(sites) < len(datasets):
        return []
    held = [counts(open_site(dataset)) for dataset in sites]
    return [head for head in heads if not any(one[label]["truth"] for one in held for label in schema.HEADS[head])]


def _opened(folder: Path) -> tuple[dict, project.Project]:
    return _own_settings(folder), project.read(folder / kits.PROJECT)


def _own_settings(folder: Path) -> dict:
    """What the site has written of itself. A key that is not known would be a protection that is not there."""
    settings = kits.read(folder / kits.SITE, "make a request with `fedkdtavi federation site request`")
    for key in settings:
        if key not in (*_KEYS, *PROTECTION):
            raise UsageError(
                f"{folder / kits.SITE}: {key!r} is not known; known are {', '.join((*_KEYS, *PROTECTION))}."
            )
    return settings


def _certificate(folder: Path) -> Path:
    return folder / kits.KIT / "startup" / "client.crt"


def _write_local(folder: Path, settings: dict, plan: project.Project, bundle: Path | None = None) -> SiteSettings:
    try:
        own = SiteSettings(
            name=settings["name"],
            schema_version=plan.schema_version,
            folders=settings["datasets"],
            work=(folder / kits.WORK).resolve(),
            threads=settings["threads"],
            deadline_s=plan.deadline_s,
            bundle=bundle and bundle.resolve(),
            # Written there by the site's own hand, or not at all.
            privacy=settings.get("privacy"),
            least_cases=settings.get("least_cases", 1),
        )
    except ValidationError as error:
        raise refused(folder / kits.SITE, error) from error
    kits.local_of_site(folder, own)
    return own
