"""Own processes, own keys, mutual TLS: the plain loop's weights, also after a site or the server was killed."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import hospitals
import pytest

from fedkdtavi_core.errors import UsageError
from fedkdtavi_training.federated import experiment as experiments
from fedkdtavi_training.federation import progress
from fedkdtavi_training.federation.loopback import Loopback
from fedkdtavi_training.federation.project import Project

pytestmark = [pytest.mark.processes, pytest.mark.torch]

TWO = {"site-1": ("hps ms calc", ""), "site-2": ("hps calc", "ms")}


def plan(rounds: int, **changes) -> dict:
    entries = {
        "name": "loopback",
        "sites": [{"name": name, "org": "hospital", "labels": ["hps", "ms", "calc"]} for name in TWO],
        "k": 1,
        "jobs": [0],
        "deadline_s": 300,
        "teacher": hospitals.training(rounds=rounds),
        "student": hospitals.training(rounds=rounds),
        "pseudo": {"min_certainty": 0.0, "min_plausibility": 0.0},
    }
    return entries | changes


def plain(entries: dict, task: int, folders: dict[str, Path], out: Path) -> dict:
    """The summary of the same job in one process."""
    project = Project.model_validate(entries | {"server": {"host": "localhost", "port": 1}})
    return experiments.run(project.experiment(task, out, folders, {}), say=lambda text: None)["federated"]


def summary(federation: Loopback, task: int) -> dict:
    return json.loads((federation.server / "out" / f"task-{task}" / "federated" / "summary.json").read_text())


def begun(entries: dict, folders: dict[str, Path], folder: Path) -> Loopback:
    federation = Loopback(folder, folders, entries, lambda text: None)
    federation.enrol()
    for name in ("server", *TWO):
        federation.start(name)
    federation.wait_for_sites([*TWO], 180)
    return federation


def test_separate_processes_over_mutual_tls_end_in_the_weights_of_the_plain_loop(tmp_path):
    folders = hospitals.write(tmp_path / "data", TWO)
    entries = plan(1)
    with begun(entries, folders, tmp_path / "federation") as federation:
        federation.run()
        found, here = summary(federation, 0), plain(entries, 0, folders, tmp_path / "plain")
        assert found["student"]["digest"] == here["student"]["digest"]
        assert found["chain"] == here["chain"]


def first_round_is_done(federation: Loopback) -> bool:
    status = federation.server / "out" / "status.json"
    stages = json.loads(status.read_text())["stages"] if status.exists() else {}
    return bool(stages.get("teacher-hps", {}).get("history"))


@contextmanager
def after_the_first_round(federation: Loopback, act: Callable[[], None]) -> Iterator[None]:
    over = threading.Event()

    def watch() -> None:
        while not over.is_set():
            if first_round_is_done(federation):
                act()
                return
            time.sleep(0.1)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()


def check(federation: Loopback, entries: dict, folders: dict[str, Path], out: Path) -> None:
    """All rounds of task 1 had both sites, and ended in the plain loop's weights."""
    history = json.loads((federation.server / "out" / "status.json").read_text())["stages"]["teacher-hps"]["history"]
    assert [row["averaged"] for row in history] == [[*TWO]] * 4
    found, here = summary(federation, 1), plain(entries, 1, folders, out)
    assert found["teachers"]["hps"]["digest"] == here["teachers"]["hps"]["digest"]


def test_a_site_that_is_killed_and_comes_back_changes_no_weight(tmp_path):
    folders = hospitals.write(tmp_path / "data", TWO)
    entries = plan(4, jobs=[1])
    with begun(entries, folders, tmp_path / "federation") as federation:

        def kill() -> None:
            federation.kill("site-2")
            federation.start("site-2")

        with after_the_first_round(federation, kill):
            federation.run()
        check(federation, entries, folders, tmp_path / "plain")


def test_a_server_that_is_killed_goes_on_from_its_checkpoint(tmp_path):
    folders = hospitals.write(tmp_path / "data", TWO)
    entries = plan(4, jobs=[1])
    with begun(entries, folders, tmp_path / "federation") as federation:
        lost = after_the_first_round(federation, lambda: federation.kill("server"))
        with lost, pytest.raises(UsageError, match="it goes on from its checkpoint"):
            federation.run()
        again = progress.now()
        federation.start("server")
        limit = time.monotonic() + 180
        # A coordinator waits too: who is not back yet is left out of the round.
        while not all(federation.door()["came"].get(name, "") > again for name in TWO):
            assert time.monotonic() < limit
            time.sleep(0.5)
        federation.run()
        check(federation, entries, folders, tmp_path / "plain")
        assert (federation.server / "jobs" / "store").is_dir()  # not under the system's temporary directory
