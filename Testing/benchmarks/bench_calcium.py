"""How good can a segmentation of the valve's calcium be? The product beside what any rule of HU could reach.

    fedkdtavi phantom --test --sites 8 --cases 4 --seed 1178 --out data/test
    python Testing/benchmarks/bench_calcium.py data/test

Dice against the truth on the CT's own voxels, over CTs that have calcium or were given some:

- ``product``: `fedkdtavi annotate` as it is; a refused assessment counts as empty.
- ``true region``: the rule of HU alone (a share of each deposit's peak) within 2 mm of the true deposits.
- ``best threshold``: the one threshold of HU, chosen with the truth at hand, within 4 mm of the true deposits.
  No rule of one threshold can do better on this CT: what is lost here was lost in the scanner (slices, kernel, voxels).

Synthetic phantoms; not for clinical use.
"""

from __future__ import annotations

import common
import numpy as np

WAYS = ("product", "true region", "best threshold")


def best_threshold(hu: np.ndarray, truth: np.ndarray, near: np.ndarray) -> float | None:
    """Largest Dice over the thresholds of HU that part the voxels ``near`` the truth."""
    if not truth.any():
        return None
    order = np.argsort(-hu[near], kind="stable")
    hits = np.cumsum(truth[near][order])
    return float((2 * hits / (np.arange(1, len(hits) + 1) + truth.sum())).max())


def look(key, bundle) -> dict[str, float | None]:
    """One CT: way -> Dice."""
    from scipy import ndimage

    from fedkdtavi_core import calcium, pipeline
    from fedkdtavi_core.errors import FedKDTAVIError
    from fedkdtavi_core.readers import read_volume
    from fedkdtavi_training.evaluate import true_calcium
    from fedkdtavi_training.phantom.observers import dice

    volume = read_volume(key.ct)
    truth = true_calcium(key, volume)
    empty = np.zeros(truth.shape, bool)
    try:
        annotation = pipeline.annotate(volume, bundle)
    except FedKDTAVIError:
        return {way: dice(empty, truth) for way in WAYS}
    given = annotation.calcification
    found = {"product": dice(empty if given is None else given > 0, truth), "true region": None, "best threshold": None}
    if truth.any():
        result = calcium.decide(
            volume, truth.astype(np.uint8), volume.affine, annotation.landmarks, rule=calcium.PEAK_SHARE
        )
        found["true region"] = dice(empty if result.mask is None else result.mask > 0, truth)
        near = ndimage.distance_transform_edt(~truth, sampling=volume.spacing) <= 4.0
        found["best threshold"] = best_threshold(volume.array, truth, near)
    return found


def main() -> None:
    """Run over all CTs with a root and write results/calcium.csv."""
    folders, bundle = common.cases_and_bundle(__doc__)

    from fedkdtavi_training import evaluate

    rows = []
    for folder in folders:
        keys = [key for key in evaluate.read_keys(folder) if key.has_root]
        seen = {key.case: look(key, bundle) for key in keys}
        for styles, inside in (("in range", True), ("out of range", False)):
            for way in WAYS:
                values = [seen[k.case][way] for k in keys if k.in_range == inside and seen[k.case][way] is not None]
                rows.append(
                    {
                        "cases": folder.name,
                        "styles": styles,
                        "way": way,
                        "n": str(len(values)),
                        "median": f"{np.median(values):.3f}",
                        "mean": f"{np.mean(values):.3f}",
                    }
                )
                print("  ".join(rows[-1].values()), flush=True)
    print("written:", common.write("calcium.csv", rows, f"bundle {bundle.metadata['version']}"))


if __name__ == "__main__":
    main()
