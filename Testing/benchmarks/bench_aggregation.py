"""What one more site costs the server in a round: judging and writing its update, and averaging it with the others.

    python Testing/benchmarks/bench_aggregation.py --sites 4 16

Seconds of processor time, so that a shared machine does not matter, and the memory that averaging takes beyond what the
process had before. Updates of 59.4 MB (the teacher of ``bench_federation.py``), random, written to disk as they come.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import threading
import time
from pathlib import Path

import bench_federation
import common
import torch
from idle_sites import idle

from fedkdtavi_training import networks, train
from fedkdtavi_training.federated import workflow
from fedkdtavi_training.federated.aggregate import aggregate
from fedkdtavi_training.federated.config import Stage
from fedkdtavi_training.federated.heads import floating, taught
from fedkdtavi_training.federated.messages import Task, Update

RULES = ("fedavg", "median")


class Memory(threading.Thread):
    """The most that this process has resident while it runs."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.most, self._end = 0.0, threading.Event()

    def run(self) -> None:
        """Look every 20 ms."""
        while not self._end.wait(0.02):
            self.most = max(self.most, idle.memory_mb("self")[0])

    def end(self) -> float:
        """MB."""
        self._end.set()
        self.join()
        return self.most


class Ready:
    """Sites whose updates are there at once."""

    parallel = 1

    def __init__(self, updates: dict[str, Update]) -> None:
        self.updates, self.sites = updates, tuple(updates)

    def send(self, site: str, task: Task) -> Update:
        """What was prepared."""
        return self.updates[site]


def measure(sites: int, folder: Path) -> dict[str, str]:
    """One row: seconds and MB of one round's work at the server, for so many sites."""
    training = bench_federation.plan(["x"], 1)["teacher"]
    entries = {"name": "cost", "heads": ("hps",), "training": training, "aggregation": {}, "seed": 0}
    stage = Stage.model_validate(entries)
    start = networks.build("teacher", stage.training.network, seed=0).state_dict()
    task = Task("train", stage, 0, floating(start))
    base = train.digest(task.weights)
    sent = taught(task.weights, ("hps",), heads_only=False)
    one = {name: value + 0.001 for name, value in sent.items()}
    driver = Ready(
        {f"site-{n}": Update(f"site-{n}", 0, base, one, {"hps": n + 1.0}, {}, "0" * 64) for n in range(sites)}
    )
    began = time.process_time()
    spilt, _ = workflow._collect(driver, task, folder, lambda text: None)
    row = {"sites": str(sites), "update_mb": f"{sum(v.numel() for v in one.values()) * 4 / 1e6:.1f}"}
    row["judge_and_write_s_a_site"] = f"{(time.process_time() - began) / sites:.2f}"
    for rule in RULES:
        chosen = stage.model_copy(update={"aggregation": stage.aggregation.model_copy(update={"rule": rule})})
        before, began, memory = idle.memory_mb("self")[0], time.process_time(), Memory()
        memory.start()
        averaged, frozen = aggregate(chosen, start, spilt)
        most = memory.end()
        assert not frozen and not torch.equal(averaged["heads.hps.weight"], start["heads.hps.weight"])
        row[f"{rule}_s_a_site"] = f"{(time.process_time() - began) / sites:.2f}"
        row[f"{rule}_mb_more"] = f"{max(most - before, 0):.0f}"
    return row


def main() -> None:
    """Measure, and write results/aggregation.csv."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sites", type=int, nargs="+", default=[4, 16])
    parser.add_argument("--note", default="", help="said of the machine, e.g. that others use it, too")
    options = parser.parse_args()
    train.prepare_torch()
    rows = []
    for number in options.sites:
        folder = Path(tempfile.mkdtemp(prefix="aggregation-"))
        try:
            rows.append(measure(number, folder))
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        print(rows[-1], flush=True)
    common.write("aggregation.csv", rows, options.note)


if __name__ == "__main__":
    main()
