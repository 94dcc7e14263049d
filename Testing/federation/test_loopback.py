"""Own processes, own keys, mutual TLS: the same weights as in one process, also after a site was killed."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import hospitals
import pytest

from fedkdtavi_training.federated import experiment as experiments
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


def test_a_site_that_is_killed_and_comes_back_changes_no_weight(tmp_path):
    folders = hospitals.write(tmp_path / "data", TWO)
    entries = plan(4, jobs=[1])
    with begun(entries, folders, tmp_path / "federation") as federation:
        done = threading.Event()
        status = federation.server / "out" / "status.json"

        def kill() -> None:
            while not done.is_set():
                stages = json.loads(status.read_text())["stages"] if status.exists() else {}
                if stages.get("teacher-hps", {}).get("history"):
                    federation.kill("site-2")
                    federation.start("site-2")
                    return
                time.sleep(0.1)

        killer = threading.Thread(target=kill)
        killer.start()
        try:
            federation.run()
        finally:
            done.set()
            killer.join()
        found = summary(federation, 1)
        history = json.loads(status.read_text())["stages"]["teacher-hps"]["history"]
        assert [round_["averaged"] for round_ in history] == [[*TWO]] * 4
        link, here = (one["teachers"]["hps"] for one in (found, plain(entries, 1, folders, tmp_path / "plain")))
        assert link["digest"] == here["digest"]
        assert (federation.server / "jobs" / "store").is_dir()  # not under the system's temporary directory
