"""How far a stage is, for a person who waits: a line now and then, with the time that is left."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable


def to_stderr(text: str) -> None:
    """Print one line at once."""
    print(text, file=sys.stderr, flush=True)


class Pace:
    """Counts the sites' steps of a stage and estimates the rest from the pace so far.

    Args:
        say: takes the lines.
        every_s: least time between two lines.
    """

    def __init__(self, say: Callable[[str], None] = to_stderr, every_s: float = 20.0) -> None:
        self.say, self.every_s = say, every_s
        self.begin("", 1, ())

    def begin(self, what: str, rounds: int, sites: tuple[str, ...], done: int = 0) -> None:
        """A new stage of ``rounds``, of which ``done`` were done before."""
        self.what, self.rounds, self.sites = what, rounds, sites
        self.began = self.told = time.monotonic()
        self.first = self.round = done
        self.at, self.steps = 0, 0

    def report(self, site: str, done: int, todo: int) -> None:
        """``done`` of ``todo`` steps of the task that ``site`` has in hand; sites come in their order."""
        at = self.sites.index(site)
        if at < self.at or (at == self.at and done < self.steps):
            self.round += 1
        self.at, self.steps = at, done
        now = time.monotonic()
        last = self.round + 1 >= self.rounds and at + 1 == len(self.sites) and done >= todo
        if now - self.told < self.every_s and not last:
            return
        self.told = now
        reached = self.round + (at + done / max(todo, 1)) / len(self.sites)
        share = (reached - self.first) / max(self.rounds - self.first, 1)
        left = (now - self.began) * (1 - share) / max(share, 1e-6)
        where = f"round {self.round + 1}/{self.rounds}, {site} {done}/{todo}"
        self.say(f"{self.what}: {where} | {_clock(left)} left")


def _clock(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"
