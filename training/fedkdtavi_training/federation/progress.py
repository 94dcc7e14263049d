"""What the server notes for people while the rounds run: one small JSON file, and a page made of it after each round.

Nothing in it comes from a CT: names of sites, numbers of rounds, reasons in words of this program.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import fedkdtavi_core
from fedkdtavi_core import schema
from fedkdtavi_core.atomic import replace_file
from fedkdtavi_core.errors import InputError, UsageError

STATUS, DOOR = "status.json", "door.json"
REFUSALS_KEPT = 100


def replace(path: Path, text: str) -> None:
    """Replace a file atomically. Raises UsageError when it cannot be written; the older one stays."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, text.encode())
    except OSError as error:
        raise UsageError(f"{path}: cannot be written ({error.strerror}); make room, or give another folder.") from error


def now() -> str:
    """The time in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


class Progress:
    """The rounds of one federation, as its server sees them; a run that goes on adds to what is there.

    >>> progress = Progress(folder)
    >>> progress.stage("teacher-hps", rounds=30)
    >>> progress.site_seen("site-1")
    >>> progress.round("teacher-hps", 1, rows, frozen)

    Args:
        folder: the server's folder for results; it gets ``status.json`` and ``status.html``.

    Raises:
        InputError: the ``status.json`` that is there is broken.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        self._lock = threading.Lock()
        self._state = read(self.folder / STATUS)

    def stage(self, name: str, rounds: int) -> None:
        """A stage of ``rounds`` rounds begins, or goes on."""
        with self._lock:
            self._stage(name)["of"] = rounds
            self._write()

    def site_seen(self, name: str) -> None:
        """A site has answered just now."""
        with self._lock:
            self._site(name)["seen"] = now()
            self._write(page=False)

    def round(
        self,
        stage: str,
        number: int,
        rows: Iterable[Mapping[str, Any]],
        frozen: Mapping[str, str] | Iterable[str] = (),
    ) -> None:
        """Round ``number`` (from 1) is averaged.

        Args:
            rows: one a site: ``site``, ``outcome`` (averaged, failed, refused, no labels), ``reason`` (of an averaged
                one: what is wrong with it all the same).
            frozen: head -> why it stayed as it was; or the sentences alone.
        """
        with self._lock:
            entry: dict[str, Any] = {
                "round": number, "at": now(), "averaged": [], "no_labels": [], "left_out": {}, "remarks": {},
            }  # fmt: skip
            for row in rows:
                site = self._site(row["site"])
                site |= {"outcome": row["outcome"], "reason": row.get("reason", ""), "stage": stage, "round": number}
                if row["outcome"] in ("averaged", "no labels"):
                    entry["averaged" if row["outcome"] == "averaged" else "no_labels"].append(row["site"])
                    site["seen"] = entry["at"]
                    if row.get("reason"):
                        entry["remarks"][row["site"]] = row["reason"]
                else:
                    entry["left_out"][row["site"]] = f"{row['outcome']}: {row.get('reason', '')}"
            entry["frozen"] = list(frozen.values()) if isinstance(frozen, Mapping) else list(frozen)
            history = self._stage(stage)["history"]
            history[:] = [past for past in history if past["round"] < number] + [entry]
            self._write()

    def _stage(self, name: str) -> dict[str, Any]:
        return self._state["stages"].setdefault(name, {"of": None, "history": []})

    def _site(self, name: str) -> dict[str, Any]:
        return self._state["sites"].setdefault(name, {"seen": None})

    def _write(self, page: bool = True) -> None:
        self._state["updated"] = now()
        replace(self.folder / STATUS, json.dumps(self._state, indent=1) + "\n")
        if page:
            from . import page as html
            from . import status

            replace(self.folder / "status.html", html.html(status.of_results(self.folder)))


class Door:
    """Who came to the server's door: when last, and who was refused and why. Another process writes it than the rounds.

    Args:
        folder: the server's folder for results; it gets ``door.json``.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        self._lock = threading.Lock()

    def came(self, site: str, *, registered: bool = False) -> None:
        """A site was let in, or has given a sign of life since."""

        def change(state: dict[str, Any]) -> None:
            state["came"][site] = now()
            if registered:
                state["registered"][site] = state["came"][site]

        self._note(change)

    def refused(self, site: str, reason: str) -> None:
        """A site was not let in; ``reason`` is a sentence."""
        entry = {"at": now(), "site": site, "reason": reason}
        self._note(lambda state: state["refused"].append(entry))

    def _note(self, change: Any) -> None:
        with self._lock:
            state = read_door(self.folder / DOOR)
            change(state)
            state["refused"] = state["refused"][-REFUSALS_KEPT:]
            replace(self.folder / DOOR, json.dumps(state, indent=1) + "\n")


def read(path: Path) -> dict[str, Any]:
    """A ``status.json``, or an empty one where there is none. Raises InputError when it is broken."""
    empty = {
        "version": fedkdtavi_core.__version__,
        "schema": schema.SCHEMA_VERSION,
        "updated": None,
        "sites": {},
        "stages": {},
    }
    return _read(path, empty)


def read_door(path: Path) -> dict[str, Any]:
    """A ``door.json``, or an empty one. Raises InputError when it is broken."""
    return _read(path, {"came": {}, "registered": {}, "refused": []})


def _read(path: Path, empty: dict[str, Any]) -> dict[str, Any]:
    if not path.exists():
        return empty
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(found, dict) or any(
            type(found.get(key, value)) is not type(value)
            for key, value in empty.items()
            if isinstance(value, (dict, list))
        ):
            raise ValueError("it is no status of a federation")
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({error}); remove it, and it is written anew.") from error
    return empty | found
