"""Enrolment by the engine's own tools: each side makes its key where it stays, the authority signs what it is sent.

Only a request (a public key and a name) and an approval (a certificate) travel. The engine's command line is run as
a program, so that nothing of it is imported here.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fedkdtavi_core.errors import InputError, UsageError

from . import kits, progress
from .project import Project

APPROVAL, REQUEST = ".signed.zip", ".request.zip"
CERTIFICATE_DAYS = 1095


class EngineError(UsageError):
    """The engine has refused, in its own words; ``engine_code`` is its name for the reason."""

    def __init__(self, sentence: str, engine_code: str) -> None:
        super().__init__(sentence)
        self.engine_code = engine_code


def flare(arguments: list[str], folder: Path, limit_s: float | None = 300.0) -> Any:
    """Run ``nvflare`` with its records kept in ``folder`` instead of the home folder; returns what it says.

    Args:
        limit_s: longest time that it may take; None: as long as it likes.

    Raises:
        EngineError: it refuses, with its own words.
        UsageError: it does not end in time.
    """
    if importlib.util.find_spec("nvflare") is None:
        raise ModuleNotFoundError("No module named 'nvflare'", name="nvflare")
    records = str((folder / "records").resolve())
    environment = os.environ | {"HOME": records, "USERPROFILE": records}
    command = [sys.executable, "-m", "nvflare.cli", "--format", "json", *arguments]
    try:  # without an input: the engine's login would wait for a person
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=environment, check=False,
            timeout=limit_s,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise UsageError(
            f"nvflare {' '.join(arguments[:2])} did not end within {limit_s:.0f} s; see whether the server runs."
        ) from error
    for line in reversed(done.stdout.splitlines()):
        if line.startswith("{"):
            answer = json.loads(line)
            if answer["status"] == "ok":
                return answer["data"]
            sentence = f"{_sentence(answer['message'])}; {_sentence(answer['hint'])}."
            raise EngineError(sentence, str(answer.get("error_code", "")))
    last = (done.stderr.strip().splitlines() or ["no answer"])[-1]
    raise UsageError(f"nvflare {' '.join(arguments[:2])} failed ({last}); see that it is installed.")


def _sentence(words: str) -> str:
    return " ".join(words.split()).rstrip(".")


def found_authority(folder: Path, project: Project) -> str:
    """The federation's own authority in the server's folder; returns its fingerprint, which sites are told."""
    profile = folder / "profile.yaml"  # JSON is YAML
    server = {"host": project.server.host, "fed_learn_port": project.server.port, "admin_port": project.server.port}
    content = {"name": project.name, "scheme": "grpc", "connection_security": "mtls", "server": server}
    progress.replace(profile, json.dumps(content, indent=2) + "\n")
    flare(["cert", "init", "--profile", str(profile), "-o", str(folder / kits.AUTHORITY)], folder)
    return fingerprint(folder)


def fingerprint(folder: Path) -> str:
    """The authority's fingerprint, for the sites to compare. Raises UsageError when there is no authority."""
    return kits.read(folder / kits.AUTHORITY / "ca.json", "run `fedkdtavi federation server init`")[
        "rootCA_fingerprint"
    ]


def request(folder: Path, key: Path, project: Project, participant: dict[str, str], *, again: bool = False) -> Path:
    """Make a private key in ``key`` and the request that goes with it; returns the request's file.

    Args:
        participant: ``name``, ``type`` (client, server, admin), ``org``, and the ``role`` of an admin.
        again: put a new key in the place of the one that is there.
    """
    definition = key / "participant.yaml"
    text = json.dumps({"name": project.name, "description": project.name, "participants": [participant]})
    progress.replace(definition, text + "\n")
    force = ["--force"] if again else []
    return Path(flare(["cert", "request", "-p", str(definition), "--out", str(key), *force], folder)["request_zip"])


def approve(
    folder: Path,
    project: Project,
    path: Path,
    confirm: Callable[[str, str], None],
    *,
    again: bool = False,
    days: int = CERTIFICATE_DAYS,
) -> Path:
    """Sign a site's request; returns the approval to send back.

    Args:
        confirm: is given the site's name and the request's number, and raises unless the site reads the same one.

    Raises:
        UsageError: the site is not in the project, or not of that organisation; it is approved already; the request was
            replaced while its number was being confirmed.
        InputError: the file is no request.
    """
    asked = _asked(path)
    if asked.get("cert_type") != "client":
        raise UsageError(f"{path}: asks to be {asked.get('cert_type')}; only sites are approved.")
    site = project.site(str(asked.get("name")))
    if asked.get("org") != site.org:
        raise UsageError(
            f"{path}: {site.name} says it is of {asked.get('org')}, the project says {site.org}; ask them."
        )
    approval = folder / kits.APPROVED / f"{site.name}{APPROVAL}"
    if approval.exists() and not again:
        raise UsageError(f"{site.name} is approved already; with --again its earlier certificate stays good, too.")
    shown = number(path)
    confirm(site.name, shown)
    if number(path) != shown:  # a phone call is long enough for a second mail
        raise UsageError(f"{path}: is another request than the one whose number was confirmed; call this again.")
    return sign(folder, path, approval, days)


def sign(folder: Path, path: Path, approval: Path, days: int = CERTIFICATE_DAYS) -> Path:
    """Sign a request with the authority in ``folder``."""
    approval.parent.mkdir(parents=True, exist_ok=True)
    authority, profile = str(folder / kits.AUTHORITY), str(folder / "profile.yaml")
    options = ["--out", str(approval), "--valid-days", str(days), "--force"]
    flare(["cert", "approve", str(path), "-c", authority, "--profile", profile, *options], folder)
    return approval


def number(path: Path) -> str:
    """A number of the public key in a request, short enough to be read out on the phone: 20 hexadecimal digits.

    It is the engine that holds it against the key when it signs.
    """
    digits = str(_asked(path).get("public_key_sha256"))[:20]
    return " ".join(digits[n : n + 4] for n in range(0, len(digits), 4))


def _asked(path: Path) -> dict[str, Any]:
    try:
        with zipfile.ZipFile(path) as archive:
            asked = json.loads(archive.read("request.json"))
    except FileNotFoundError as error:
        raise UsageError(f"{path}: not found; give the request that the site has sent.") from error
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: is no request; give the {REQUEST} that the site has sent.") from error
    if not isinstance(asked, dict):
        raise InputError(f"{path}: is no request; give the {REQUEST} that the site has sent.")
    return asked


def approved(path: Path) -> str:
    """The name of the site that an approval is for.

    Raises:
        UsageError: there is no such file.
        InputError: it is no approval.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return str(json.loads(archive.read("signed.json"))["name"])
    except FileNotFoundError as error:
        raise UsageError(f"{path}: does not exist; give the approval that the coordinator has sent.") from error
    except (OSError, KeyError, ValueError, TypeError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: is no approval; give the {APPROVAL} that the coordinator has sent.") from error


def package(folder: Path, key: Path, approval: Path, expected: str, kit: Path) -> None:
    """Put the engine's workspace together in ``kit`` from an approval and the key that is here.

    What a workspace that is there has done so far is kept; ``startup`` and ``local`` are replaced.

    Raises:
        UsageError: the approval is of another authority than the fingerprint says, or of another key.
    """
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        signed = Path(scratch) / f"{approved(approval)}{APPROVAL}"  # as the engine names it
        shutil.copyfile(approval, signed)
        names = [
            "package",
            str(signed),
            "--request-dir",
            str(key),
            "--fingerprint",
            expected,
            "-w",
            str(Path(scratch) / "made"),
        ]
        made = Path(flare(names, folder)["output_dir"])
        kit.mkdir(parents=True, exist_ok=True, mode=0o700)
        for part in made.iterdir():
            old = kit / part.name
            if part.name in ("startup", "local") and old.exists():
                shutil.rmtree(old)
            if not old.exists():
                shutil.move(part, old)
