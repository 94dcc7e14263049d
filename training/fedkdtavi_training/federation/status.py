"""How a federation stands: gathered from what its server, or a site, has on its disk. Reading it starts nothing."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fedkdtavi_core.errors import InputError, UsageError

from . import certificates, connection, kits, progress, project
from .certificates import Certificate

Status = dict[str, Any]


def gather(folder: Path) -> Status:
    """The status of the server, the site, or the results in ``folder``.

    Raises:
        UsageError: it is none of these.
        InputError: a file of it is broken.
    """
    folder = Path(folder)
    if (folder / kits.OUT / progress.STATUS).exists() or (folder / kits.AUTHORITY).is_dir():
        return of_results(folder / kits.OUT)
    if (folder / progress.STATUS).exists():
        return of_results(folder)
    if (folder / kits.SITE).exists():
        return of_site(folder)
    raise UsageError(f"{folder}: is no folder of a server, a site or a simulation; give one of these.")


def of_results(out: Path) -> Status:
    """What the rounds have written to ``out``; project and certificates are taken from the server's folder above."""
    state, door, server = progress.read(out / progress.STATUS), progress.read_door(out / progress.DOOR), out.parent
    real = (server / kits.AUTHORITY).is_dir()
    plan = project.read(server / kits.PROJECT, foreign=True) if real else None
    certified = {one.name: one for one in _certificates(server)} if real else {}
    names = [site.name for site in plan.sites] if plan else list(state["sites"])
    sites = []
    for name in [*names, *(one for one in state["sites"] if one not in names)]:
        known = state["sites"].get(name, {})
        seen = max(filter(None, (known.get("seen"), door["came"].get(name))), default=None)
        row = {"name": name, "seen": seen, **{key: known.get(key) for key in ("stage", "round", "outcome", "reason")}}
        sites.append(row | {"certificate_days": certified[name].days_left() if name in certified else None})
    frozen = [
        {"stage": stage, "round": entry["round"], "why": why}
        for stage, found in state["stages"].items()
        for entry in found["history"]
        for why in entry["frozen"]
    ]
    return {
        "kind": "server",
        "project": plan.name if plan else None,
        "server": f"{plan.server.host}:{plan.server.port}" if plan else None,
        "k": plan.k if plan else None,
        "running": kits.running(server) if real else None,
        "version": state["version"],
        "updated": state["updated"],
        "stages": [{"name": name, **found} for name, found in state["stages"].items()],
        "sites": sites,
        "frozen": frozen,
        "refused": door["refused"],
        "certificates": [_row(one) for one in certified.values()],
        "warnings": [text for one in certified.values() if (text := one.warning(what_to_do=_what_to_do(one, names)))],
    }


def _what_to_do(one: Certificate, sites: list[str]) -> str:
    return certificates.RENEW if one.name in sites else certificates.FOUND_ANEW


def of_site(folder: Path) -> Status:
    """What a site knows of itself: it is asked by the server, and sees nothing of the others."""
    settings = _json(folder / kits.SITE)
    certificate = folder / kits.KIT / "startup" / "client.crt"
    found = [certificates.of_file(certificate)] if certificate.exists() else []
    running, answered = kits.running(folder), connection.answered(folder)
    return {
        "kind": "site",
        "project": settings["project"],
        "site": settings["name"],
        "server": settings["server"],
        "joined": bool(found),
        "running": running,
        "connected": connection.fresh(answered) if running else None,
        "answered": answered,
        "certificates": [_row(one) for one in found],
        "warnings": [warning for one in found if (warning := one.warning())],
    }


def _row(one: Certificate) -> dict[str, Any]:
    return {"name": one.name, "until": f"{one.until:%Y-%m-%d}", "days": one.days_left()}


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({error}); enrol again.") from error


def _certificates(server: Path) -> Iterator[Certificate]:
    """The authority's, the server's, and those it has approved."""
    for path in (server / kits.AUTHORITY / "rootCA.pem", server / kits.KIT / "startup" / "server.crt"):
        if path.exists():
            yield certificates.of_file(path)
    for path in sorted((server / kits.APPROVED).glob("*.signed.zip")):
        try:
            with zipfile.ZipFile(path) as archive:
                inside = archive.read(path.name.removesuffix(".signed.zip") + ".crt")
        except (OSError, KeyError, zipfile.BadZipFile) as error:
            raise InputError(f"{path}: is no approval; approve the request again.") from error
        yield certificates.read(inside, path)


def text(status: Status) -> str:
    """The status for a terminal."""
    return "\n".join(_site_text(status) if status["kind"] == "site" else _server_text(status))


def _site_text(status: Status) -> list[str]:
    state = "running, connected" if status["connected"] else "not running"
    if status["running"] and not status["connected"]:
        since = status["answered"]
        state = (
            f"running, not connected since {clock(since)} UTC ({ago(since)})"
            if since
            else "running, not connected since its start"
        )
    lines = [f"{status['site']} in {status['project']}, server {status['server']}: {state}"]
    lines += [] if status["joined"] else ["not joined yet: waiting for the coordinator's approval"]
    lines += [f"certificate: {one['days']} days left, until {one['until']}" for one in status["certificates"]]
    return lines + [f"warning: {warning}" for warning in status["warnings"]]


def _server_text(status: Status) -> list[str]:
    head = [status["project"] or "simulation", status["server"], status["k"] and f"k = {status['k']}"]
    head += [f"fedkdtavi {status['version']}", {True: "running", False: "not running", None: None}[status["running"]]]
    lines = [", ".join(part for part in head if part)]
    lines += [f"  {stage['name']:<20} {rounds(stage)}" for stage in status["stages"]] or ["  no round is done yet"]
    lines += ["", f"  {'site':<16}{'last seen':<18}{'last round':<40}certificate"]
    for site in status["sites"]:
        days = "-" if site["certificate_days"] is None else f"{site['certificate_days']} days"
        lines.append(f"  {site['name']:<16}{ago(site['seen']):<18}{last(site):<40}{days}")
    lines += [f"  frozen: {one['stage']} round {one['round']}: {one['why']}" for one in latest(status["frozen"])]
    lines += [
        f"  refused at the door {clock(one['at'])}: {one['site']}: {one['reason']}" for one in status["refused"][-5:]
    ]
    return lines + [f"  warning: {warning}" for warning in status["warnings"]]


def rounds(stage: dict[str, Any]) -> str:
    """Where a stage stands, in words."""
    done = stage["history"][-1] if stage["history"] else None
    of = f" of {stage['of']}" if stage["of"] else ""
    if done is None:
        return f"round 0{of}"
    out = "".join(f"; left out: {site}, {why}" for site, why in done["left_out"].items())
    out += "".join(f"; {site}: {remark}" for site, remark in done.get("remarks", {}).items())
    return f"round {done['round']}{of}, {len(done['averaged'])} sites averaged{out}"


def last(site: dict[str, Any]) -> str:
    """A site's last round, in words."""
    if not site["round"]:
        return "-"
    return f"{site['stage']} {site['round']}: {site['outcome']}" + (f", {site['reason']}" if site["reason"] else "")


def latest(frozen: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The last frozen heads of every stage: those of its last such round."""
    newest = {one["stage"]: one["round"] for one in frozen}
    return [one for one in frozen if one["round"] == newest[one["stage"]]]


def clock(moment: str | None) -> str:
    """A time in UTC as a table shows it."""
    return "never" if moment is None else moment.removesuffix("+00:00").replace("T", " ")


def ago(moment: str | None, at: datetime | None = None) -> str:
    """How long ago a time in UTC is, in words."""
    if moment is None:
        return "never"
    seconds = ((at or datetime.now(UTC)) - datetime.fromisoformat(moment)).total_seconds()
    for size, unit in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds // size:.0f} {unit} ago"
    return f"{max(seconds, 0):.0f} s ago"
