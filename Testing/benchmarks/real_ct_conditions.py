"""Real CTs, seen otherwise: how far the same points move when a CT is cropped, noisier, coarser or of other contrast.

    python Testing/benchmarks/real_ct_conditions.py [--bundle BUNDLE --out conditions.csv]

No reading is needed: each CT is compared with itself as it is. What a scanner would do is done to its voxels: a
smaller field of view, as gated scans have it, thicker slices, more noise, less or more contrast, larger pixels,
a border of air.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
from real_ct import READINGS, SHARED

from fedkdtavi_core import bundle, pipeline, schema
from fedkdtavi_core.errors import FedKDTAVIError
from fedkdtavi_core.readers import read_volume
from fedkdtavi_core.volume import Volume

FIELDS = ("bundle", "ct", "condition", "landmark", "moved_mm", "outcome")
_MUSCLE_HU = 80.0  # contrast is what is above it


def cropped(volume: Volume, centre: np.ndarray, size_mm: tuple[float, float, float]) -> Volume:
    """The box of ``size_mm`` around ``centre`` (RAS mm), along the voxels' axes."""
    middle, reach = volume.grid.to_ijk(centre), np.array(size_mm) / 2 / volume.grid.spacing
    low = np.maximum(np.floor(middle - reach), 0).astype(int)
    high = np.minimum(np.ceil(middle + reach) + 1, volume.array.shape).astype(int)
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    return Volume(np.ascontiguousarray(volume.array[box]), _moved(volume.affine, low), volume.info)


def merged(volume: Volume, factors: tuple[int, int, int]) -> Volume:
    """Blocks of ``factors`` voxels averaged into one."""
    shape = tuple(n // f for n, f in zip(volume.array.shape, factors, strict=True))
    whole = volume.array[tuple(slice(0, n * f) for n, f in zip(shape, factors, strict=True))].astype(np.float32)
    blocks = whole.reshape([size for n, f in zip(shape, factors, strict=True) for size in (n, f)])
    affine = _moved(volume.affine, (np.array(factors) - 1) / 2)
    affine[:3, :3] *= factors
    return Volume(np.rint(blocks.mean(axis=(1, 3, 5))).astype(np.int16), affine, volume.info)


def thicker(volume: Volume, slice_mm: float) -> Volume:
    """Slices averaged until they are ``slice_mm`` thick."""
    along = int(np.argmax(np.abs(volume.affine[2, :3])))
    factors = [1, 1, 1]
    factors[along] = max(round(slice_mm / float(volume.grid.spacing[along])), 1)
    return merged(volume, tuple(factors))


def noisier(volume: Volume, sd_hu: float) -> Volume:
    """White noise on top of the CT's own."""
    noise = np.random.default_rng(0).normal(0, sd_hu, volume.array.shape)
    return Volume(np.clip(volume.array + noise, -1024, 3071).astype(np.int16), volume.affine, volume.info)


def contrast(volume: Volume, factor: float) -> Volume:
    """What is brighter than muscle by so much more or less so; bone too."""
    hu = volume.array.astype(np.float32)
    changed = np.where(hu > _MUSCLE_HU, _MUSCLE_HU + (hu - _MUSCLE_HU) * factor, hu)
    return Volume(np.clip(changed, -1024, 3071).astype(np.int16), volume.affine, volume.info)


def bordered(volume: Volume) -> Volume:
    """Air on two sides, so that the heart is far from the middle."""
    padded = np.pad(volume.array, ((60, 0), (0, 40), (0, 0)), constant_values=-1024)
    return Volume(padded, _moved(volume.affine, np.array([-60, 0, 0])), volume.info)


CONDITIONS: dict[str, Callable[[Volume, np.ndarray], Volume]] = {
    "field of view 180 x 180 x 160 mm": lambda ct, centre: cropped(ct, centre, (180, 180, 160)),
    "field of view 130 x 130 x 120 mm": lambda ct, centre: cropped(ct, centre, (130, 130, 120)),
    "90 mm of height": lambda ct, centre: cropped(ct, centre, (180, 180, 90)),
    "noise of 40 HU on top": lambda ct, centre: noisier(ct, 40),
    "0.6 of the contrast": lambda ct, centre: contrast(ct, 0.6),
    "1.8 of the contrast": lambda ct, centre: contrast(ct, 1.8),
    "a border of air": lambda ct, centre: bordered(ct),
    "pixels twice as large": lambda ct, centre: merged(ct, (2, 2, 1)),
    "slices of about 5 mm": lambda ct, centre: thicker(ct, 5),
}


def points(volume: Volume, model: bundle.Bundle) -> dict[str, np.ndarray]:
    """Landmark id -> (3,) RAS mm, without the missing. Raises FedKDTAVIError when the CT is refused."""
    found = pipeline.annotate(volume, model)
    return {i: mark.position for i, mark in found.landmarks.items() if mark.position is not None}


def main() -> None:
    """All CTs in all conditions: rows, and a line for each condition."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bundle", type=Path)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "real_ct_conditions.csv")
    options = parser.parse_args()
    model, rows = bundle.resolve(options.bundle), []
    for name in READINGS:
        volume = read_volume(next((SHARED / name).glob("*ct.nii.gz")))
        usual = points(volume, model)
        centre = np.mean([usual[i] for i in schema.HINGE_IDS], axis=0)
        for condition, change in CONDITIONS.items():
            try:
                seen, outcome = points(change(volume, centre), model), "missing"
            except FedKDTAVIError as error:
                seen, outcome = {}, f"{error.code}: {error}"
            for label, place in usual.items():
                moved = round(float(np.linalg.norm(seen[label] - place)), 2) if label in seen else ""
                rows.append((model.digest[:16], name, condition, label, moved, "" if label in seen else outcome))
    with options.out.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([FIELDS, *rows])
    print(f"{'':34s} {'median':>7s} {'P90':>5s} {'largest':>8s} {'missing':>8s}   (mm, {len(READINGS)} CTs)")
    for condition in CONDITIONS:
        here = [row for row in rows if row[2] == condition]
        moved = np.array([row[4] for row in here if row[4] != ""], float)
        missing = len(here) - moved.size
        told = [np.median(moved), np.percentile(moved, 90), moved.max()] if moved.size else [np.nan] * 3
        print(f"{condition:34s} {told[0]:7.1f} {told[1]:5.1f} {told[2]:8.1f} {missing:8d}")


def _moved(affine: np.ndarray, voxels: np.ndarray) -> np.ndarray:
    """The affine of a grid that begins ``voxels`` farther on."""
    moved = affine.copy()
    moved[:3, 3] += affine[:3, :3] @ voxels
    return moved


if __name__ == "__main__":
    main()
