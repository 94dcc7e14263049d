"""The engine's own process: started in the foreground, and again when it breaks."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from fedkdtavi_core.errors import EXIT_OK, UsageError

from . import kits, progress

CONSOLE = "console.log"
_MODULES = {
    "site": ("nvflare.private.fed.app.client.client_train", "fed_client.json"),
    "server": ("nvflare.private.fed.app.server.server_train", "fed_server.json"),
}
_SOON_S, _TIMES, _PAUSE_S, _END_S, _LOOK_S = 60.0, 3, 5.0, 15.0, 1.0
_REJECTED = "registration rejected"


def run(
    kind: str,
    folder: Path,
    names: Mapping[str, str],
    say: Callable[[str], None],
    look: Callable[[], None] = lambda: None,
) -> int:
    """Run server or site until it is stopped (Ctrl-C, ``stop``, SIGTERM) or told to end by its coordinator.

    Args:
        kind: ``server`` or ``site``.
        folder: of that server or site; what the engine prints goes to ``console.log`` in it.
        names: what the engine is told of itself: ``uid``, ``org``.
        look: called about every second while the engine runs.

    Raises:
        UsageError: it runs already; it ended soon several times; the server did not let this site in.
    """
    refuse_twice(kind, folder)
    kit = (folder / kits.KIT).resolve()
    module, config = _MODULES[kind]
    told = ["secure_train=true", *(f"{key}={value}" for key, value in names.items()), "config_folder="]
    command = [sys.executable, "-u", "-m", module, "-m", str(kit), "-s", config, "--set", *told]
    progress.replace(folder / kits.PROCESS, json.dumps({"pid": os.getpid(), "started": progress.now()}) + "\n")
    before = signal.signal(signal.SIGTERM, _interrupt)
    soon = 0
    try:
        while True:
            begun = time.monotonic()
            code, printed = _once(command, kit, folder / CONSOLE, look)
            if code == 0 or (kit / "shutdown.fl").exists():
                say(f"{kind}: ended as it was told to")
                return EXIT_OK
            if _REJECTED in printed:
                raise UsageError(_turned_away(folder))
            soon = soon + 1 if time.monotonic() - begun < _SOON_S else 0
            if soon >= _TIMES:
                raise UsageError(f"{kind}: ended {_TIMES} times within {_SOON_S:.0f} s; see {folder / CONSOLE}.")
            say(f"{kind}: ended unexpectedly ({code}); starting again")
            time.sleep(_PAUSE_S)
    except KeyboardInterrupt:
        say(f"{kind}: stopped")
        return EXIT_OK
    finally:
        signal.signal(signal.SIGTERM, before)
        (folder / kits.PROCESS).unlink(missing_ok=True)


def refuse_twice(kind: str, folder: Path) -> None:
    """Raises UsageError when it runs already."""
    if kits.running(folder):
        raise UsageError(f"{folder}: runs already; stop it with `fedkdtavi federation {kind} stop {folder}`.")


def stop(kind: str, folder: Path, say: Callable[[str], None], wait_s: float = 30.0) -> None:
    """End what was started from ``folder``. Raises UsageError when nothing runs, or it does not end."""
    if not kits.running(folder):
        raise UsageError(f"{folder}: nothing runs here; start it with `fedkdtavi federation {kind} start {folder}`.")
    os.kill(int(kits.read(folder / kits.PROCESS, "start it")["pid"]), signal.SIGTERM)
    end = time.monotonic() + wait_s
    while kits.running(folder):
        if time.monotonic() > end:
            raise UsageError(f"{folder}: has not ended within {wait_s:.0f} s; see {folder / CONSOLE}.")
        time.sleep(0.2)
    say(f"{kind}: stopped")


def _once(command: list[str], kit: Path, console: Path, look: Callable[[], None]) -> tuple[int, str]:
    """Run it to its end, whichever; returns its exit code and what it printed last."""
    with console.open("ab") as file:
        start = file.tell()
        process = subprocess.Popen(command, cwd=kit, stdout=file, stderr=file, start_new_session=True)
        try:
            while (code := _ended(process)) is None:
                look()
        finally:
            _end(process)
    with console.open("rb") as file:
        file.seek(start)
        return code, file.read().decode(errors="replace")


def _ended(process: subprocess.Popen[bytes]) -> int | None:
    """Its exit code, or None when it still runs after a second."""
    try:
        return process.wait(_LOOK_S)
    except subprocess.TimeoutExpired:
        return None


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the engine with its process group; its job processes lead their own, watch it, and end soon after it."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
            process.wait(_END_S)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            continue


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def _turned_away(folder: Path) -> str:
    """What a site says that was not let in."""
    from fedkdtavi_core import __version__, schema

    return (
        f"{folder}: the server did not let this site in; its door asks for the versions of the project file, here are "
        f"fedkdtavi {__version__} and label schema {schema.SCHEMA_VERSION}; its coordinator reads the reason in "
        "`fedkdtavi federation status`."
    )
