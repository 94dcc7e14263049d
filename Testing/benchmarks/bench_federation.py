"""What NVIDIA FLARE costs a round: seconds, bytes and the server's memory, against the same rounds in one process.

    python Testing/benchmarks/bench_federation.py --sites 2 8 [--rounds 20]

A teacher of 59.4 MB; the sites train nothing and hand the weights back, so that what is measured is the way there, the
average, the checkpoint and the way back. Every site is a process of its own over mutual TLS on this machine, so the
wire is fast and the processors are shared by all. The first round, in which all start, is not counted in the means.
Beside the means in federation_N.csv, federation_N_rounds.csv has every round: its seconds and the memory after it. Of
the job's process at the server also what the allocator has handed out after tidying, and what it holds beside: memory
that is lost makes the first grow from round to round, fragments make the second.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import threading
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import common

HERE = Path(__file__).resolve().parent
IDLE = HERE / "idle_sites"
sys.path += [str(HERE.parent / "training"), str(IDLE)]
CHANNELS = [16, 32, 64, 128, 256, 384]
PLAIN_ROUNDS = 6  # all alike
_COME_S = 900.0


def plan(names: list[str], rounds: int) -> dict[str, Any]:
    """The project file's entries."""
    import hospitals

    return {
        "name": "cost",
        "sites": [{"name": name, "org": "hospital", "labels": ["hps"]} for name in names],
        "k": 1,
        "jobs": [1],
        "deadline_s": 900,
        "teacher": hospitals.training(rounds=rounds, local_steps=1, network={"channels": CHANNELS}),
    }


def plain(entries: dict[str, Any], data: dict[str, Path], out: Path) -> float:
    """Seconds a round of the plain loop."""
    import idle

    from fedkdtavi_training.federated import experiment as experiments
    from fedkdtavi_training.federated.pace import Pace
    from fedkdtavi_training.federated.plain import PlainDriver
    from fedkdtavi_training.federated.site import Site
    from fedkdtavi_training.federation.project import Project

    idle.install()
    project = Project.model_validate(entries | {"server": {"host": "localhost", "port": 1}})
    at: list[float] = []
    sites = [Site(name, (folder,), out / "sites" / name) for name, folder in data.items()]
    experiments.federate(
        project.experiment(1, out, data, {}), "federated", PlainDriver(sites), out / "federated",
        pace=Pace(lambda text: None), say=lambda text: None, watch=lambda *told: at.append(time.monotonic()),
    )  # fmt: skip
    return (at[-1] - at[0]) / (len(at) - 1)


def flare(
    entries: dict[str, Any], data: dict[str, Path], folder: Path
) -> tuple[dict[str, float], list[dict[str, str]]]:
    """Means of a round over FLARE (seconds, MB, memory of the job at the server), and a row for every round."""
    from fedkdtavi_training.federation import progress
    from fedkdtavi_training.federation.loopback import Loopback

    counts = folder / "bytes"
    counts.mkdir(parents=True)
    path = os.pathsep.join([str(IDLE), *sys.path[:4], *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {"PYTHONPATH": path, "FEDKDTAVI_IDLE": str(counts)}
    memory: dict[int, dict[str, float]] = {}
    ended = threading.Event()
    with Loopback(folder / "federation", data, entries, lambda text: None) as loop:
        loop.enrol()
        loop.start("server", **environment)
        loop.wait_until_open(_COME_S)
        for name in data:
            loop.start(name, **environment)
        loop.wait_for_sites(list(data), _COME_S)
        status = loop.server / "out" / progress.STATUS
        watcher = threading.Thread(target=_watch, args=(loop, status, memory, ended))
        watcher.start()
        try:
            loop.run()
        finally:
            ended.set()
            watcher.join()
    (stage,) = progress.read(status)["stages"].values()
    times = [datetime.fromisoformat(entry["at"]).timestamp() for entry in stage["history"]]
    rounds = len(times) - 1
    sent = 0.0
    for file in counts.glob("*.bytes"):
        for line in file.read_text(encoding="ascii").splitlines():
            at, size = line.split()
            sent += float(size) * (times[0] < float(at) <= times[-1])
    for file in counts.glob("*.memory"):  # the job's process alone tidies
        for number, line in enumerate(file.read_text(encoding="ascii").splitlines(), 1):
            used, free = line.split()
            memory.setdefault(number, {}).update(job_in_use_mb=float(used), job_kept_free_mb=float(free))
    numbers = sorted(number for number, found in memory.items() if "job_mb" in found)
    rows = []
    for number, entry in enumerate(stage["history"], 1):
        seconds = "" if number == 1 else f"{times[number - 1] - times[number - 2]:.0f}"
        found = {key: f"{value:.0f}" for key, value in memory.get(number, {}).items()}
        columns = ("job_mb", "job_mb_at_most", "job_in_use_mb", "job_kept_free_mb", "server_mb", "sites_mb_each")
        rows.append({"round": str(number), "seconds": seconds, "averaged": str(len(entry["averaged"]))})
        rows[-1] |= {column: found.get(column, "") for column in columns}
    return {
        "seconds": (times[-1] - times[0]) / rounds,
        "mb": sent / rounds / 1e6,
        "early": memory[next(n for n in numbers if n >= 2)]["job_mb"],
        "late": memory[numbers[-1]]["job_mb"],
        "most": max(memory[number]["job_mb_at_most"] for number in numbers),
    }, rows


def _watch(loop: Any, status: Path, memory: dict[int, dict[str, float]], ended: threading.Event) -> None:
    """Round -> memory of the job's process at the server, of the server's other processes, of a site (in the mean)."""
    import idle

    from fedkdtavi_training.federation import progress
    from fedkdtavi_training.federation.loopback import family

    while not ended.wait(0.5):
        stages = progress.read(status)["stages"]
        number = max((len(stage["history"]) for stage in stages.values()), default=0)
        if number == 0 or number in memory:
            continue
        found = memory.setdefault(number, {"server_mb": 0.0})
        processes = dict(loop._processes)
        for pid in family(processes.pop("server").pid):
            try:
                if b"nvflare.private.fed.app.server.runner_process" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    found["job_mb"], found["job_mb_at_most"] = idle.memory_mb(pid)
                else:
                    found["server_mb"] += idle.memory_mb(pid)[0]
            except (OSError, KeyError):
                continue
        sizes = [idle.share_mb(pid) for site in processes.values() for pid in family(site.pid)]
        found["sites_mb_each"] = sum(sizes) / max(len(processes), 1)


def main() -> None:
    """Measure, and write results/federation_N.csv for N sites."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sites", type=int, nargs="+", default=[2, 8])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--note", default="", help="said of the machine, e.g. that others use it, too")
    options = parser.parse_args()
    import hospitals

    from fedkdtavi_core.errors import FedKDTAVIError

    rows = []
    for number in options.sites:
        folder = Path(tempfile.mkdtemp(prefix="federation-"))
        try:
            names = [f"site-{n}" for n in range(1, number + 1)]
            data = hospitals.write(folder / "data", dict.fromkeys(names, ("hps",)))
            entries = plan(names, options.rounds)
            alone = plain(plan(names, min(options.rounds, PLAIN_ROUNDS)), data, folder / "plain")
            print(f"{number} sites, plain loop: {alone:.2f} s a round", flush=True)
            over, each = flare(entries, data, folder)
            print(f"{number} sites, FLARE: {over}", flush=True)
        except FedKDTAVIError:
            print(f"{number} sites: see {folder}", file=sys.stderr)
            raise
        shutil.rmtree(folder, ignore_errors=True)
        rows.append({
            "sites": str(number), "rounds": str(options.rounds), "model_mb": "59.4",
            "plain_s_a_round": f"{alone:.2f}", "flare_s_a_round": f"{over['seconds']:.2f}",
            "flare_mb_a_round": f"{over['mb']:.1f}", "server_mb_after_round_2": f"{over['early']:.0f}",
            "server_mb_after_last_round": f"{over['late']:.0f}", "server_mb_at_most": f"{over['most']:.0f}",
        })  # fmt: skip
        common.write(f"federation_{number}.csv", rows[-1:], options.note)
        common.write(f"federation_{number}_rounds.csv", each, options.note)


if __name__ == "__main__":
    main()
