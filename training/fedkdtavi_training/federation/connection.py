"""Whether a site is connected: its engine notes each answer of the server, and people are told when that changes."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from . import progress

FILE = "connection.json"
LOST_S = 35.0  # the engine asks the server every 10 s
FIRST_S = 30.0  # without any answer, before a person is told


def note(folder: Path) -> None:
    """The server has answered just now. Raises UsageError when it cannot be written."""
    progress.replace(folder / FILE, json.dumps({"answered": progress.now()}) + "\n")


def forget(folder: Path) -> None:
    """Nothing of an earlier start counts."""
    with contextlib.suppress(OSError):
        (folder / FILE).unlink()


def answered(folder: Path) -> str | None:
    """When the server has answered last since the site was started (UTC), or None."""
    try:
        moment = str(json.loads((folder / FILE).read_text(encoding="utf-8"))["answered"])
        datetime.fromisoformat(moment)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return moment


def fresh(moment: str | None, at: datetime | None = None) -> bool:
    """Is an answer of that time so young that the site is connected?"""
    if moment is None:
        return False
    return ((at or datetime.now(UTC)) - datetime.fromisoformat(moment)).total_seconds() < LOST_S


class Watch:
    """Says once that the site is connected, that it could not connect, and that a connection is lost.

    Args:
        folder: the site's.
        name: the site's.
        server: ``host:port``.
        say: takes the sentences.
    """

    def __init__(self, folder: Path, name: str, server: str, say: Callable[[str], None]) -> None:
        self.folder, self.name, self.server, self.say = folder, name, server, say
        self._began, self._connected, self._warned = time.monotonic(), False, False
        forget(folder)

    def look(self) -> None:
        """Called every second or so."""
        moment = answered(self.folder)
        connected, before = fresh(moment), self._connected
        self._connected = connected
        host, _, port = self.server.rpartition(":")
        if connected and not before:
            self.say(f"{self.name}: connected to {self.server}")
        elif before and not connected:
            self.say(f"warning: {self.name}: no answer from {self.server} since {moment}; it goes on trying")
        elif moment is None and not self._warned and time.monotonic() - self._began > FIRST_S:
            self._warned = True
            self.say(
                f"warning: {self.name}: no connection to host {host}, port {port}, for {FIRST_S:.0f} s; it goes on "
                "trying, see that the server runs and that the firewall lets this machine out to that port"
            )
