"""Real CTs, whole CT in: error against careful readings, also turned, scaled and shifted; and CTs that must be refused.

    python Testing/benchmarks/real_ct.py --bundle Resources/Models/... [--poses 4] [--out results/real_ct.csv]

The readings are no clinic's labels (two readers differ by 3.0 mm), so an error of 2 to 4 mm
is within what reading such CTs allows. Every CT was read once more, later (Testing/readings/later), without a look at
the first reading or a model's answer: ``later_mm`` is the distance from that, and the two readings are compared, too.
``readers_mm`` is the distance from the mean of all readers of a point, each counted once: of the first reading, which
is the mean of two (one of ts-pulm-cta), and of the later one.

A pose turns, scales and shifts the CT's affine, never its voxels: the product has to follow it, and a mean root laid on
the heart would not.
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from fedkdtavi_core import bundle, pipeline, schema
from fedkdtavi_core.errors import FedKDTAVIError
from fedkdtavi_core.readers import read_volume
from fedkdtavi_core.volume import Volume

REPOSITORY = Path(__file__).resolve().parents[2]
SHARED = REPOSITORY.parent / "shared" / "ct"
READINGS = {
    "lidc-0001": SHARED / "lidc-0001" / "reading.json",
    "qin-lsc-0003": SHARED / "qin-lsc-0003" / "reading.json",
    "qin-lsc-0064": SHARED / "qin-lsc-0064" / "reading.json",
    "ts-pulm-cta": REPOSITORY / "Testing" / "readings" / "ts-pulm-cta.json",
}
READERS = {name: 1 if name == "ts-pulm-cta" else 2 for name in READINGS}  # whose mean the first reading is
LATER = {name: REPOSITORY / "Testing" / "readings" / "later" / f"{name}.json" for name in READINGS}
WITHOUT_READING = {
    "lidc-0001-dicom": "root expected",
    "lidc-0002-noncontrast": "root may be found, nothing to measure",
    "rider-truncated": "root not covered",
    "ts-abdomen-noheart": "no root",
}
_COLUMNS = (
    ("error_mm", "first reading"),
    ("later_mm", "later reading"),
    ("readers_mm", "mean of all readers"),
)
FIELDS = ("bundle", "ct", "pose", "landmark", *(column for column, _ in _COLUMNS), "confidence", "outcome")


def pose_of(number: int, volume: Volume, about: np.ndarray) -> np.ndarray:
    """(4, 4) similarity about a point: pose 0 is the identity, the others are drawn (15 degrees, 8 %, 40 mm)."""
    if number == 0:
        return np.eye(4)
    rng = np.random.default_rng([5, number])
    linear = Rotation.from_rotvec(np.radians(rng.normal(0, 15, 3))).as_matrix() * np.exp(rng.normal(0, 0.08))
    out = np.eye(4)
    out[:3, :3] = linear
    out[:3, 3] = about - linear @ about + rng.uniform(-40, 40, 3)
    return out


def points_of(readings: dict[str, Path], name: str) -> dict[str, list[float]]:
    """Landmark id -> RAS mm of one CT's reading; nothing without one."""
    return json.loads(readings[name].read_text())["points"] if name in readings else {}


def rows_of(name: str, model: bundle.Bundle, poses: int) -> list[dict[str, object]]:
    """One row per landmark of every pose of one CT."""
    folder = SHARED / name
    source = folder if name.endswith("-dicom") else next(folder.glob("*ct.nii.gz"))
    volume = read_volume(source)
    truth, later = points_of(READINGS, name), points_of(LATER, name)
    together = {
        label: (READERS[name] * np.array(truth[label]) + np.array(later[label])) / (READERS[name] + 1)
        for label in truth.keys() & later.keys()
    }
    made, rows = model.digest[:16], []
    for number in range(poses if truth else 1):
        move = pose_of(number, volume, volume.grid.to_ras((np.array(volume.array.shape) - 1) / 2))
        scale = float(np.cbrt(np.linalg.det(move[:3, :3])))
        try:
            found = pipeline.annotate(Volume(volume.array, move @ volume.affine, volume.info), model)
        except FedKDTAVIError as error:
            told = f"{error.code}: {error}".replace(str(source), name)
            rows.append(dict(zip(FIELDS, (made, name, number, "", "", "", "", "", told), strict=True)))
            continue
        for label in schema.LANDMARK_IDS:
            mark = found.landmarks[label]
            errors: list[float | str] = []
            for reading in (truth, later, together):
                if label not in reading or mark.position is None:
                    errors.append("")
                    continue
                there = move[:3, :3] @ np.array(reading[label]) + move[:3, 3]
                errors.append(round(float(np.linalg.norm(mark.position - there)) / scale, 2))
            confidence = "" if mark.confidence is None else round(mark.confidence, 3)
            outcome = "missing" if mark.position is None else "; ".join(mark.flags)
            rows.append(dict(zip(FIELDS, (made, name, number, label, *errors, confidence, outcome), strict=True)))
    return rows


def main() -> None:
    """Run all CTs, write the rows, print what a person wants to know."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bundle", type=Path)
    parser.add_argument("--poses", type=int, default=4)
    parser.add_argument("--out", type=Path, help="default: results/real_ct.csv, of the bundle in use only")
    options = parser.parse_args()
    if options.bundle and not options.out:
        parser.error("--bundle needs --out, so that the shipped bundle's results are not overwritten")
    model = bundle.resolve(options.bundle)
    rows: list[dict[str, object]] = []
    for name in [*READINGS, *WITHOUT_READING]:
        mine = rows_of(name, model, options.poses)
        rows += mine
        for number in sorted({int(row["pose"]) for row in mine}):
            here = [row for row in mine if row["pose"] == number]
            told = " ".join(f"{row['landmark']}={row['error_mm']}" for row in here if row["error_mm"] != "")
            print(f"{name:22s} pose {number}: {told or here[0]['outcome'] or 'annotated'}", flush=True)
    out = options.out or Path(__file__).parent / "results" / "real_ct.csv"
    out.parent.mkdir(parents=True, exist_ok=True)
    with out.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, FIELDS)
        writer.writeheader()
        writer.writerows(rows)
    for title, keep in (("as they are", lambda p: p == 0), ("all poses", lambda p: True)):
        missing = sum(row["outcome"] == "missing" for row in rows if row["ct"] in READINGS and keep(row["pose"]))
        for column, what in _COLUMNS:
            errors = np.array([row[column] for row in rows if row[column] != "" and keep(row["pose"])], float)
            if errors.size:
                print(f"{title}, from the {what}: {summary(errors)}, missing {missing}")
    pairs = [(points_of(READINGS, name), points_of(LATER, name)) for name in READINGS]
    between = [
        np.linalg.norm(np.subtract(first[label], later[label]))
        for first, later in pairs
        for label in first.keys() & later
    ]
    print(f"between the two readings: {summary(np.array(between))}")


def summary(errors: np.ndarray) -> str:
    """Distances in mm in words."""
    return (
        f"{errors.size} points, median {np.median(errors):.1f} mm, P90 {np.percentile(errors, 90):.1f}, "
        f"max {errors.max():.1f}, over 10 mm {(errors > 10).sum()}"
    )


if __name__ == "__main__":
    main()
