"""A server that strangers are sent to, and one site of its own, enrolled once."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import attempts
import hospitals

from fedkdtavi_training.federation import kits
from fedkdtavi_training.federation.loopback import Loopback

COME_S = 240.0


@dataclass(frozen=True)
class Refusal:
    """A row of the table."""

    stranger: str
    refused_by: str
    reason: str
    told_in: str
    seconds: float


class Ground:
    """The federation of sites a and b under ``folder``; the server runs inside the ``with``."""

    def __init__(self, folder: Path, say: Callable[[str], None] = print) -> None:
        self.folder, self.say = folder.resolve(), say
        shutil.rmtree(self.folder, ignore_errors=True)
        data = hospitals.write(self.folder / "data", {"a": ("hps",), "b": ("hps",)})
        plan: dict[str, Any] = {
            "name": "strangers",
            "sites": [{"name": name, "org": f"org_{name}", "labels": ["hps"]} for name in data],
            "k": 1,
            "jobs": [1],
            "deadline_s": 120,
            "teacher": hospitals.training(rounds=1),
        }
        self.loop = Loopback(self.folder / "federation", data, plan, say)

    def __enter__(self) -> Ground:
        self.loop.enrol()
        self.loop.start("server")
        self.loop.wait_until_open(COME_S)
        return self

    def __exit__(self, *_: object) -> None:
        self.loop.__exit__()

    def with_site(self) -> None:
        """Start site b, if it does not run yet."""
        if "b" not in self.loop.door()["came"]:
            self.loop.start("b")
            self.loop.wait_for_sites(["b"], COME_S)

    @property
    def authority(self) -> Path:
        """The authority's folder, which a coordinator alone has."""
        return self.loop.server / kits.AUTHORITY

    @property
    def port(self) -> int:
        return int(kits.read(self.loop.server / kits.PROJECT, "enrol")["server"]["port"])

    def console(self) -> str:
        """What the server's engine has printed so far."""
        return (self.loop.server / "console.log").read_text(encoding="utf-8", errors="replace")


def line_with(text: Callable[[], str], words: str, limit_s: float) -> str:
    """The shortest line that holds ``words``, as soon as there is one; fails when there is none."""
    end = time.monotonic() + limit_s
    while True:
        found = [line for line in text().splitlines() if words in line]
        if found:
            return min(found, key=len).strip()
        assert time.monotonic() < end, f"{words!r} is not told; what is: {text()[-2000:]}"
        time.sleep(0.3)


def record(path: Path, rows: list[Refusal]) -> None:
    """Write the table; the rows of strangers that were not tried now are kept."""
    told = [{**asdict(row), "seconds": f"{row.seconds:.1f}"} for row in rows]
    attempts.merge(path, list(Refusal.__dataclass_fields__), told)
