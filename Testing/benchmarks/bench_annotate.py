"""Wall time, shares and peak memory of `fedkdtavi annotate` on a 512 x 512 x 300 int16 .nii.gz.

    python Testing/benchmarks/bench_annotate.py [--ct FILE] [--runs 3] [--original]

The command runs as a process of its own, as a person starts it: interpreter start, reading, both networks, measuring
and writing, without the picture (the limits are 6 s and 1.5 GB peak); then once more with it. With ``--original``,
the original's way follows on the same CT (needs the extra ``train``; takes many minutes).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import common

NETWORKS_AND_READING = ("reading", "coarse", "fine")


def annotate(ct: Path, *options: str) -> tuple[float, float, dict[str, float]]:
    """One run: wall seconds, peak resident memory in MB, seconds by part."""
    environment = {**os.environ, "PYTHONPATH": str(common.REPOSITORY / "FedKDTAVI")}
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile("w+") as output:
        command = [sys.executable, "-m", "fedkdtavi_core", "annotate", str(ct), "--out", folder, "--json", *options]
        start = time.perf_counter()
        process = subprocess.Popen(command, env=environment, stdout=output)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        result = json.loads(output.read())
    if process.returncode:
        raise SystemExit(f"annotate ended with exit code {process.returncode}: {result['error']['message']}")
    unit = 1024**2 if sys.platform == "darwin" else 1024  # macOS counts bytes, Linux kilobytes
    return wall, usage.ru_maxrss / unit, result["cts"][0]["seconds"]


def main() -> None:
    """Run it and write results/annotate.csv."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ct", type=Path, help="default: the sample CT on a 512 x 512 x 300 grid, made once")
    parser.add_argument("--runs", type=int, default=3, help="the fastest counts; all are written")
    parser.add_argument("--original", action="store_true", help="time the original's way on the same CT afterwards")
    parser.add_argument("--bundle", help="default: the one in use")
    arguments = parser.parse_args()
    options = ["--bundle", arguments.bundle] if arguments.bundle else []
    ct = arguments.ct or common.big_ct(common.REPOSITORY / "out" / "bench" / "ct.nii.gz")
    rows = []

    def record(part: str, seconds: float, note: str = "") -> None:
        rows.append({"part": part, "seconds": f"{seconds:.2f}", "note": note})
        print(f"{part:34s} {seconds:7.2f} s   {note}", flush=True)

    runs = []
    for number in range(arguments.runs):
        runs.append(annotate(ct, "--no-report", *options))
        record(f"run {number + 1}", runs[-1][0], f"peak {runs[-1][1]:.0f} MB")
    wall, _, seconds = min(runs, key=lambda run: run[0])
    for part, value in seconds.items():
        record(part, value, f"{value / wall:.0%}")
    started = wall - sum(seconds.values())
    record("interpreter, imports, bundle", started, f"{started / wall:.0%}")
    rest = sum(value for part, value in seconds.items() if part not in NETWORKS_AND_READING)
    record("all but reading and networks", rest, "of the parts above; limit 1 s")
    record("whole command", wall, f"peak {max(run[1] for run in runs):.0f} MB; limits 6 s, 1536 MB")
    record("picture", annotate(ct, *options)[2]["picture"], "report.png, apart from the above")
    print("written:", common.write("annotate.csv", rows, f"{ct.stat().st_size / 1e6:.0f} MB .nii.gz"))
    if arguments.original:
        script = Path(__file__).with_name("bench_original.py")
        subprocess.run([sys.executable, str(script), "--ct", str(ct), "--annotate-seconds", f"{wall:.3f}"], check=True)


if __name__ == "__main__":
    main()
