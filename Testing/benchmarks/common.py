"""What the benchmarks share: the CT they run on, the machine's description, and small CSV files of results."""

from __future__ import annotations

import argparse
import csv
import os
import platform
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fedkdtavi_core.bundle import Bundle

REPOSITORY = Path(__file__).resolve().parents[2]
RESULTS = Path(__file__).resolve().parent / "results"
SHAPE = (512, 512, 300)
SPACING = (0.75, 0.75, 1.0)

for room in ("FedKDTAVI", "training"):  # the checkout's own copy, installed or not
    sys.path.insert(0, str(REPOSITORY / room))


def cases_and_bundle(about: str) -> tuple[list[Path], Bundle]:
    """What a benchmark on virtual hospitals is given: their folders, and the bundle, the one in use if not named.

    Args:
        about: the benchmark's docstring, whose first line ``--help`` shows.
    """
    parser = argparse.ArgumentParser(description=about.splitlines()[0])
    parser.add_argument("cases", type=Path, nargs="+", help="folders written by `fedkdtavi phantom --test`")
    parser.add_argument("--bundle", type=Path)
    arguments = parser.parse_args()
    from fedkdtavi_core.bundle import resolver

    return arguments.cases, resolver.resolve(arguments.bundle)


def machine() -> str:
    """CPU, cores and Python in one line."""
    cpu = platform.processor() or platform.machine()
    listing = Path("/proc/cpuinfo")
    if listing.exists():
        lines = listing.read_text(encoding="utf-8").splitlines()
        cpu = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), cpu)
    return f"{cpu}, {os.cpu_count()} cores, Python {platform.python_version()}"


def write(name: str, rows: list[dict[str, str]], note: str = "") -> Path:
    """Write rows to results/``name``, with the machine in a column of its own."""
    RESULTS.mkdir(exist_ok=True)
    described = "; ".join(part for part in (machine(), note) if part)
    path = RESULTS / name
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [*rows[0], "machine"], lineterminator="\n")
        writer.writeheader()
        writer.writerows({**row, "machine": described} for row in rows)
    return path


def big_ct(path: Path, seed: int = 1) -> Path:
    """A 512 x 512 x 300 int16 .nii.gz: the shipped sample CT on that grid, with fresh noise of 20 HU; made once.

    The sample's anatomy keeps the whole way going (a CT without a heart ends early); the noise keeps the gzip stream as
    hard to read as a scanner's.
    """
    if path.exists():
        return path
    import nibabel
    import numpy as np

    from fedkdtavi_core.geometry import resample
    from fedkdtavi_core.readers import read_volume
    from fedkdtavi_core.volume import Grid

    sample = read_volume(sorted((REPOSITORY / "Resources" / "SampleData").glob("*.nii.gz"))[0])
    middle = sample.grid.to_ras((np.array(sample.array.shape) - 1) / 2)
    affine = np.diag([*SPACING, 1.0])
    affine[:3, 3] = middle - affine[:3, :3] @ ((np.array(SHAPE) - 1) / 2)
    values = resample(sample, Grid(SHAPE, affine))
    noise = np.random.default_rng(seed)
    for k in range(SHAPE[2]):  # slice by slice: no second copy of the CT
        values[:, :, k] += noise.normal(0, 20, SHAPE[:2]).astype(np.float32)
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(values.round().clip(-1024, 3071).astype(np.int16), affine), path)
    return path
