"""A federation of two small hospitals that faults are tried on: enrolled once, started anew for each."""

from __future__ import annotations

import json
import os
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import attempts
import hospitals

from fedkdtavi_core.errors import FedKDTAVIError
from fedkdtavi_training.federated import experiment as experiments
from fedkdtavi_training.federated.config import Experiment
from fedkdtavi_training.federated.messages import SiteFailedError, Task, Update
from fedkdtavi_training.federated.plain import PlainDriver
from fedkdtavi_training.federation import kits
from fedkdtavi_training.federation.loopback import Loopback
from fedkdtavi_training.federation.project import Project

BROKEN = Path(__file__).with_name("broken")
SITES = ("a", "b")
ROUNDS = 3
HEAD = "hps"
_COME_S, _REACH_S, _RUN_S = 180.0, 240.0, 400.0


@dataclass(frozen=True)
class Result:
    """A row of the table."""

    fault: str
    happened: str
    named: str
    digest: str
    seconds: float


class Absent:
    """A driver that leaves a site's answers to some rounds out: what a run must end in when a fault has done so."""

    parallel = 1

    def __init__(self, inner: PlainDriver, site: str, rounds: tuple[int, ...]) -> None:
        self._inner, self._site, self._rounds, self.sites = inner, site, rounds, inner.sites

    def send(self, site: str, task: Task) -> Update:
        update = self._inner.send(site, task)
        if site == self._site and task.kind == "train" and task.round_number + 1 in self._rounds:
            raise SiteFailedError(site, "left out on purpose")
        return update


class Ground:
    """Data, keys and certificates of one federation under ``folder``; ``say`` takes what its commands say."""

    def __init__(self, folder: Path, say: Callable[[str], None] = print) -> None:
        self.folder, self.say = folder.resolve(), say
        shutil.rmtree(self.folder, ignore_errors=True)
        self.data = hospitals.write(self.folder / "data", {"a": ("hps ms calc", ""), "b": ("hps calc", "ms")})
        self.plan: dict[str, Any] = {
            "name": "faults",
            "sites": [{"name": name, "org": f"org_{name}", "labels": [HEAD]} for name in SITES],
            "k": 1,
            "jobs": [1],
            "deadline_s": _RUN_S,
            "teacher": hospitals.training(rounds=ROUNDS),
        }
        self.loop = Loopback(self.folder / "federation", self.data, self.plan, self._said)
        self.lines: list[str] = []
        self.flags, self.up = self.folder / "flags", set[str]()
        self.loop.enrol()
        self._digests: dict[tuple[int, ...], str] = {}

    def _said(self, text: str) -> None:
        self.lines.append(text)
        self.say(text)

    def digest_without(self, *rounds: int) -> str:
        """Digest of the plain loop in which b's answers to ``rounds`` are not counted."""
        if rounds not in self._digests:
            plan = Project.model_validate(self.plan | {"server": {"host": "localhost", "port": 1}})
            out = self.folder / "plain" / "-".join(map(str, rounds or (0,)))
            experiment: Experiment = plan.experiment(1, out, self.data, {})

            def driver(sites: Any, report: Any) -> Absent:
                return Absent(PlainDriver(sites, report), "b", rounds)

            summary = experiments.run(
                experiment.model_copy(update={"arms": ("federated",)}), say=lambda text: None, driver=driver
            )
            self._digests[rounds] = summary["federated"]["teachers"][HEAD]["digest"]
        return self._digests[rounds]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end(*list(self.up))

    def start(self, name: str, **environment: str) -> None:
        """Start server or site in an environment in which faults can be told to its processes."""
        path = os.pathsep.join([str(BROKEN), *filter(None, [os.environ.get("PYTHONPATH")])])
        self.loop.start(name, PYTHONPATH=path, FEDKDTAVI_FAULTS=str(self.flags), **environment)
        self.up.add(name)

    def end(self, *names: str) -> None:
        """End them at once, with all that they have started."""
        for name in names:
            self.loop.kill(name)
            self.up.discard(name)

    @contextmanager
    def trial(self, fault: str) -> Iterator[Trial]:
        """A fault's own run, with nothing left of the rounds before; processes that are up stay up."""
        shutil.rmtree(self.flags, ignore_errors=True)
        self.flags.mkdir()
        out = self.loop.server / kits.OUT
        shutil.rmtree(out / "task-1", ignore_errors=True)
        (out / "status.json").unlink(missing_ok=True)
        for name in SITES:
            for path in (self.loop.site(name) / kits.WORK).glob("*"):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        self.lines.clear()
        yield Trial(self, fault)


class Trial:
    """One fault's run."""

    def __init__(self, ground: Ground, fault: str) -> None:
        self.loop, self.fault, self._ground = ground.loop, fault, ground
        self._began = time.monotonic()
        self._error: FedKDTAVIError | None = None

    def tell(self, name: str, what: str, number: int = 0) -> None:
        """Let ``name`` (a site, or server) go wrong in round ``number`` (from 1); a server does so from now on."""
        told = self._ground.flags / f"{name}.json"
        part = told.with_suffix(".part")
        part.write_text(json.dumps({"what": what, "round": number}), encoding="utf-8")
        part.replace(told)

    def start(self, **environments: dict[str, str]) -> None:
        """Start what is not up, a site in its environment; when all are connected, the clock of the fault starts."""
        if "server" not in self._ground.up:
            self._ground.end(*list(self._ground.up))
            shutil.rmtree(self.loop.server / kits.OUT, ignore_errors=True)
            self._ground.start("server")
            self.loop.wait_until_open(_COME_S)
        before = {name: self.registered(name) for name in SITES if name not in self._ground.up}
        for name in before:
            self.again(name, **environments.get(name, {}))
        for name in SITES:
            self.wait(lambda name=name: self.registered(name) > before.get(name, ""), f"{name} has not come")
        self._began = time.monotonic()

    def again(self, name: str, **environment: str) -> None:
        """Start a site (again)."""
        self._ground.start(name, **environment)

    def kill(self, name: str) -> None:
        """SIGKILL, for all its processes."""
        self._ground.end(name)

    def registered(self, name: str) -> str:
        """When a site was last let in; empty: never."""
        return self.loop.door().get("registered", {}).get(name, "")

    @contextmanager
    def running(self, *, fails: bool = False) -> Iterator[None]:
        """The job runs while the body does its worst; at the end of the body it is waited for."""

        def run() -> None:
            self._error = None
            try:
                self.loop.run()
            except FedKDTAVIError as error:
                self._error = error

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        yield
        thread.join(_RUN_S)
        assert not thread.is_alive(), "the run has not ended"
        if self._error is not None:
            self._ground.say(f"run: {self._error}")
            if not fails:
                raise self._error
        assert not fails or self._error is not None, "the run should have ended with a sentence"

    def run(self) -> None:
        """The job runs undisturbed, to its end."""
        with self.running():
            pass

    @property
    def error(self) -> str:
        """The sentence that ``run`` has ended with."""
        return str(self._error or "")

    def reached(self) -> None:
        """Wait until the site that pauses has begun its round."""
        self.wait((self._ground.flags / "reached").exists, "the site has not begun the round")

    def go(self) -> None:
        """Let it go on."""
        (self._ground.flags / "go").touch()

    def wait(self, done: Callable[[], bool], otherwise: str) -> None:
        """Until ``done`` says so."""
        end = time.monotonic() + _REACH_S
        while not done():
            assert time.monotonic() < end, otherwise
            time.sleep(0.1)

    def update_of(self, site: str, number: int) -> Path:
        """Where the server has put a site's update to round ``number``."""
        return self._stage() / f"round-{number:05d}" / f"{site}.safetensors"

    def _stage(self) -> Path:
        return self.loop.server / kits.OUT / "task-1" / "federated" / f"teacher-{HEAD}"

    def digest(self) -> str:
        """Of the model that the run has left."""
        summary = self._stage().parent / experiments.SUMMARY
        return json.loads(summary.read_text(encoding="utf-8"))["teachers"][HEAD]["digest"]

    def history(self) -> list[dict[str, Any]]:
        """The rounds as status.json tells them."""
        path = self.loop.server / kits.OUT / "status.json"
        return json.loads(path.read_text(encoding="utf-8"))["stages"][f"teacher-{HEAD}"]["history"]

    def left_out(self) -> dict[int, str]:
        """Round -> "site: reason" of who was left out of it, from status.json."""
        return {
            one["round"]: "; ".join(f"{site}: {why}" for site, why in one["left_out"].items())
            for one in self.history()
            if one["left_out"]
        }

    def said(self, words: str) -> str:
        """The last sentence with these words that the coordinator has read or can read in the server's log."""
        logs = sorted((self.loop.server / kits.KIT).rglob("log.txt"))
        lines = [line for log in logs for line in log.read_text(encoding="utf-8", errors="replace").splitlines()]
        found = [line.rpartition(" - ")[2] for line in lines if words in line]
        found += [line for line in (*self._ground.lines, self.error) if words in line]
        assert found, f"nothing says {words!r}"
        return found[-1]

    def result(self, happened: str, named: str, *, without: tuple[int, ...] | None = None) -> Result:
        """The row. ``without``: rounds that b could not take part in; None when the fault must leave no trace.

        The weights are held against the plain loop in either case; "not applicable" says that the rounds left out are
        part of the comparison. What leaves no trace leaves nobody out, either.
        """
        assert without or not self.left_out(), self.left_out()
        seconds = time.monotonic() - self._began
        same = self.digest() == self._ground.digest_without(*(without or ()))
        assert same, f"{self.fault}: the weights are not those of the plain loop"
        told = "not applicable" if without else "yes"
        more = f"; weights equal the plain loop without b in {_rounds(without)}" if without else ""
        return Result(self.fault, happened + more, named, told, round(seconds, 1))


def _rounds(numbers: tuple[int, ...]) -> str:
    return f"round {', '.join(map(str, numbers))}"


def record(table: Path, results: list[Result], order: list[str]) -> None:
    """Put rows into the table, in place of older ones of the same faults."""
    columns = ["fault", "what happened to the run", "named site and reason", "digest equals run without it", "seconds"]
    rows = []
    for one in results:
        told = [re.sub(r"/\S*/federation/", "FOLDER/", text) for text in (one.happened, one.named)]
        rows.append(dict(zip(columns, (one.fault, *told, one.digest, f"{one.seconds:.1f}"), strict=True)))
    attempts.merge(table, columns, rows, order)
