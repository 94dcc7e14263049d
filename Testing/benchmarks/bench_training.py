"""What a training step waits for, and the memory of a training process: the student with 0, 1 and 2 loader processes.

    python Testing/benchmarks/bench_training.py [--steps 24] [--workers 0 1 2] [--note TEXT]

Aims: less than 5 % of the time spent waiting for samples, less than 4 GB. Every number of loaders is tried in a process
of its own, on the same rendered crops and samples, all in one run. The first step, in which loaders start, is not
counted. ``waiting_percent`` is of the wall clock: on a machine whose cores are busy it is too high with loaders, which
then wait for a core. ``cpu_percent`` is the share of making samples in the CPU time of samples and steps, which others
on the machine hardly change: that much a step waits without loaders, and with one it waits for none as long as the
share is below 50. Memory is summed over the process and its loaders; pages they share are counted once (PSS).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import common

BATCH = 2


def memory_mb(pid: int) -> float:
    """MB of a process and all below it, shared pages once."""
    total, todo = 0.0, [pid]
    while todo:
        one = todo.pop()
        try:
            for task in Path(f"/proc/{one}/task").iterdir():
                todo += [int(child) for child in (task / "children").read_text().split()]
            lines = Path(f"/proc/{one}/smaps_rollup").read_text().splitlines()
        except OSError:  # it has ended meanwhile
            continue
        total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024
    return total


def trial(cache: Path, workers: int, steps: int) -> dict[str, float]:
    """Train for 1 + ``steps`` steps in this process."""
    from fedkdtavi_training import cache as cases
    from fedkdtavi_training import data, train
    from fedkdtavi_training.config import TrainConfig

    train.prepare_torch()
    config = TrainConfig(
        task="student", cache=[cache], out=cache, held_out=0, seed=1, steps=steps + 1, batch=BATCH, workers=workers
    )
    dataset = data.dataset(config, cases.files(config.cache))
    run, peak, done = train.Run(config), [0.0], threading.Event()

    def watch() -> None:
        while not done.wait(0.25):
            peak[0] = max(peak[0], memory_mb(os.getpid()))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    waited = began = step_cpu = 0.0
    ready = time.monotonic()
    for batch in train.batches(config, dataset, 0, config.steps):
        came, cpu = time.monotonic(), time.thread_time()
        run.advance(batch)
        if run.step == 1:
            began = time.monotonic()
        else:
            waited += came - ready
            step_cpu += time.thread_time() - cpu
        ready = time.monotonic()
    wall = ready - began
    cpu = time.thread_time()
    for n in range(2 * BATCH):
        dataset[n]
    sample_cpu = (time.thread_time() - cpu) / (2 * BATCH)
    done.set()
    watcher.join()
    return {"wall": wall, "waited": waited, "step_cpu": step_cpu / steps, "sample_cpu": sample_cpu, "peak": peak[0]}


def apart(cache: Path, workers: int, steps: int) -> dict[str, float]:
    """:func:`trial` in a process of its own."""
    words = [sys.executable, __file__, "--cache", str(cache), "--steps", str(steps), "--one", str(workers)]
    rooms = os.pathsep.join([str(common.REPOSITORY / "FedKDTAVI"), str(common.REPOSITORY / "training")])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": rooms}
    return json.loads(subprocess.run(words, env=environment, check=True, stdout=subprocess.PIPE).stdout)


def row(workers: int, steps: int, found: dict[str, float]) -> dict[str, str]:
    """One line of the table."""
    made = BATCH * found["sample_cpu"]
    return {
        "what": "student, 64^3, batch 2",
        "workers": str(workers),
        "steps": str(steps),
        "s_per_step": f"{found['wall'] / steps:.2f}",
        "waiting_percent": f"{100 * found['waited'] / found['wall']:.1f}",
        "cpu_s_step": f"{found['step_cpu']:.3f}",
        "cpu_s_sample": f"{found['sample_cpu']:.4f}",
        "cpu_percent": f"{100 * made / (made + found['step_cpu']):.1f}",
        "peak_memory_mb": f"{found['peak']:.0f}",
    }


def main() -> None:
    """Try, print, and write results/bench_training.csv."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--steps", type=int, default=24, help="that are counted, for each number of loaders (24)")
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2], metavar="N", help="loaders (0 1 2)")
    parser.add_argument("--cache", type=Path, help="crops that are there already; eight are rendered otherwise")
    parser.add_argument("--note", default="", help="about the machine, for the table")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one is not None:
        print(json.dumps(trial(options.cache, options.one, options.steps)))
        return
    with tempfile.TemporaryDirectory() as folder:
        crops = options.cache
        if crops is None:
            from fedkdtavi_training import cache

            crops = Path(folder)
            cache.write(crops, "crop", 8, 1)
        rows = []
        for workers in options.workers:
            rows.append(row(workers, options.steps, apart(crops, workers, options.steps)))
            print(rows[-1], flush=True)
    common.write("bench_training.csv", rows, options.note)


if __name__ == "__main__":
    main()
