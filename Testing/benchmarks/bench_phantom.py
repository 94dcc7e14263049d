"""How long a phantom takes on one core: a dense 80^3 crop (at most 2 s), a whole chest at 1 mm (at most 30 s).

CPU seconds of the process, medians over a few seeds; run with OMP_NUM_THREADS=1 on a quiet machine.
"""

from __future__ import annotations

import time

import numpy as np
from common import write

from fedkdtavi_training.phantom.render import render_chest, render_crop
from fedkdtavi_training.phantom.scanner import ScannerStyle, degrade


def seconds(work, seeds: range) -> tuple[float, float]:
    """Median and largest CPU seconds of ``work(seed)``."""
    spent = []
    for seed in seeds:
        began = time.process_time()
        work(seed)
        spent.append(time.process_time() - began)
    return float(np.median(spent)), max(spent)


def main() -> None:
    """Time, print, and write results/bench_phantom.csv."""
    render_crop(0, size=32)  # imports and first calls
    style = ScannerStyle(motion_mm=2.0, motion_share=0.3, streaks=0.5)
    crop = render_crop(1, size=64).hu.astype(np.float32)
    jobs = {
        "dense crop 80^3 at 1.25 mm": (lambda seed: render_crop(seed, size=80), range(1, 9)),
        "whole chest at 4 mm": (lambda seed: render_chest(seed, 4.0), range(1, 5)),
        "whole chest at 1 mm": (lambda seed: render_chest(seed, 1.0), range(1, 4)),
        "scanner on 64^3": (
            lambda seed: degrade(crop, np.full(3, 1.25), style, np.random.default_rng(seed)),
            range(1, 9),
        ),
    }
    rows = []
    for name, (work, seeds) in jobs.items():
        median, worst = seconds(work, seeds)
        rows.append({"what": name, "median_cpu_s": f"{median:.2f}", "max_cpu_s": f"{worst:.2f}", "n": str(len(seeds))})
        print(f"{name:28s} median {median:6.2f} s, max {worst:6.2f} s")
    write("bench_phantom.csv", rows)


if __name__ == "__main__":
    main()
