"""In which direction is a hinge point off, and would another look find it better?

    fedkdtavi phantom --test --sites 8 --cases 6 --seed 1191 --out data/test
    python Testing/benchmarks/bench_directions.py data/test

Errors of the hinge points taken apart in the true annulus plane, root mean square in mm per hinge point:

- ``height, shared``: along the normal, alike for all three: the plane lies too high or too low.
- ``height, own``: along the normal, what is left: it tilts the plane.
- ``along``: along the annulus, from one cusp towards the next. A cusp is flat at its lowest place: this costs little
  height.
- ``across``: towards the root's axis or away from it.

``turned``: the same CT turned about each axis by 12 degrees to either side and annotated again (six more answers,
turned back); how far they lie from their own mean, and how far that mean is off. Where answers agree and are off all
the same, no averaging over looks helps: what is missing is not in the picture, or not learned.

CTs with contrast only, hinge points over 8 mm off left out and counted. Synthetic phantoms; not for clinical use.
"""

from __future__ import annotations

import common
import numpy as np

FARTHEST_MM = 8.0
TURN_DEG = 12.0


def parts(errors: np.ndarray, truth: np.ndarray, normal: np.ndarray) -> dict[str, np.ndarray]:
    """Errors (3, 3) mm of three hinge points at ``truth`` (3, 3) RAS mm -> direction -> three components in mm."""
    out = truth - truth.mean(axis=0)
    out -= np.outer(out @ normal, normal)
    out /= np.linalg.norm(out, axis=1, keepdims=True)
    height = errors @ normal
    return {
        "height, shared": np.full(3, height.mean()),
        "height, own": height - height.mean(),
        "along": np.sum(errors * np.cross(normal, out), axis=1),
        "across": np.sum(errors * out, axis=1),
    }


def turns() -> list[np.ndarray]:
    """No turn, then six: rotation matrices in RAS."""
    from scipy.spatial.transform import Rotation

    turned = [Rotation.from_euler(axis, sign * TURN_DEG, degrees=True) for axis in "xyz" for sign in (1, -1)]
    return [np.eye(3), *(one.as_matrix() for one in turned)]


def hinges(volume, bundle, turn: np.ndarray) -> np.ndarray | None:
    """(3, 3) RAS mm of the hinge points found in the turned CT, turned back; None without all three."""
    from dataclasses import replace

    from fedkdtavi_core import pipeline, schema
    from fedkdtavi_core.errors import FedKDTAVIError

    middle = volume.grid.to_ras((np.array(volume.array.shape) - 1) / 2)
    whole = np.eye(4)
    whole[:3, :3], whole[:3, 3] = turn, middle - turn @ middle
    try:
        found = pipeline.annotate(replace(volume, affine=whole @ volume.affine), bundle)
    except FedKDTAVIError:
        return None
    points = [found.point(label) for label in schema.HINGE_IDS]
    return None if any(point is None for point in points) else (np.array(points) - middle) @ turn + middle


def main() -> None:
    """Run over all CTs with contrast and a root, and write results/directions.csv."""
    folders, bundle = common.cases_and_bundle(__doc__)

    from fedkdtavi_core import schema
    from fedkdtavi_core.measurements import annulus_plane
    from fedkdtavi_core.readers import read_volume
    from fedkdtavi_training import evaluate

    rows = []
    for folder in folders:
        collected: dict[str, list[float]] = {}
        cts = left_out = 0
        for key in evaluate.read_keys(folder):
            if not key.has_root or key.kind == "noncontrast":
                continue
            volume = read_volume(key.ct)
            answers = [hinges(volume, bundle, turn) for turn in turns()]
            truth, normal = np.array([key.points[i] for i in schema.HINGE_IDS]), annulus_plane(key.points).normal
            if answers[0] is None:
                left_out += 3
                continue
            errors = answers[0] - truth
            near = np.linalg.norm(errors, axis=1) <= FARTHEST_MM
            left_out += int(np.sum(~near))
            if not near.all():
                continue
            cts += 1
            given = np.array([answer for answer in answers if answer is not None])
            seen = parts(errors, truth, normal)
            seen["in all"] = np.linalg.norm(errors, axis=1)
            seen["turned, from their mean"] = np.linalg.norm(given - given.mean(axis=0), axis=2).ravel()
            seen["turned, their mean"] = np.linalg.norm(given.mean(axis=0) - truth, axis=1)
            for name, values in seen.items():
                collected.setdefault(name, []).extend(values)
        for name, values in collected.items():
            rms = float(np.sqrt(np.mean(np.square(values))))
            told = {"cases": folder.name, "cts": str(cts), "over_8mm": str(left_out), "error": name}
            rows.append({**told, "rms_mm": f"{rms:.2f}", "median_mm": f"{np.median(np.abs(values)):.2f}"})
            print("  ".join(rows[-1].values()), flush=True)
    print("written:", common.write("directions.csv", rows, f"bundle {bundle.metadata['version']}"))


if __name__ == "__main__":
    main()
