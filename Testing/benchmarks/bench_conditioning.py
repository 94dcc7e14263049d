"""How true are the heart's classes that a network is conditioned on at a site? Coarse network against phantom.

    python Testing/benchmarks/bench_conditioning.py [--cases 20] [--seed 977] [--bundle B] [--note TEXT]

A network with `in_channels: 2` (`--condition_on_seg`) sees the phantom's own classes where it learns on rendered crops
(`fedkdtavi phantom --cache crop`), and the coarse network's where crops were cut from CTs (site datasets; use). Virtual
hospitals as of `fedkdtavi phantom --fast`; per case one crop as the student sees it (64^3, 1.25 mm) around the root
that the coarse network found, Dice per class of what it drew there. Beside it the Dice that true classes keep on the
coarse network's 4 mm grid: no network on that grid can be much better. A case without a root found is counted, and has
no crop. Synthetic phantoms; not for clinical use.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import common
import numpy as np

SPACING_MM = 2.0  # of the canvas, as with --fast


def dice(one: np.ndarray, other: np.ndarray) -> float | None:
    """Dice of two masks, None where both are empty."""
    size = int(one.sum() + other.sum())
    return float(2 * (one & other).sum() / size) if size else None


def looked_at(seed: int, cases: int, bundle: Path | None) -> Iterator[dict[str, object]]:
    """A row a case: its kind, and class -> (Dice of the coarse network, Dice of the truth at 4 mm)."""
    from fedkdtavi_core import coarse, geometry, schema
    from fedkdtavi_core.bundle import resolve
    from fedkdtavi_core.volume import Volume
    from fedkdtavi_training.phantom.plan import fitted, plan
    from fedkdtavi_training.phantom.render import render_chest

    used = resolve(bundle)
    spacing = used.metadata["preprocessing"]["coarse_spacing_mm"]
    sites = plan(seed, 8, max(cases // 8, 1) + 2)
    # One of each hospital, then the next of each: few cases, but many scanners.
    turns = range(max(len(site.cases) for site in sites))
    planned = [site.cases[turn] for turn in turns for site in sites if turn < len(site.cases)]
    shown = [case for case in planned if case.kind not in ("noheart", "truncated")][:cases]
    for case in shown:
        chest = render_chest(case.anatomy_seed, SPACING_MM, fitted(case.style, SPACING_MM), kind=case.kind)
        volume = Volume(chest.hu, chest.affine)
        seen = coarse.examine(volume, used, "cpu", labels=True)
        row: dict[str, object] = {"case": case.case, "kind": case.kind, "found": seen.reason is None}
        if row["found"]:
            grid = geometry.crop_grid(seen.center_ras)
            truth = geometry.resample_labels(chest.heart, chest.affine, grid)
            drawn = geometry.resample_labels(seen.labels, seen.labels_affine, grid)
            at_coarse = geometry.coarse_grid(volume, spacing=spacing)
            kept = geometry.resample_labels(chest.heart, chest.affine, at_coarse)
            kept = geometry.resample_labels(kept, at_coarse.affine, grid)
            for number, name in enumerate(schema.HEART_CLASSES):
                row[name] = (dice(drawn == number, truth == number), dice(kept == number, truth == number))
            row["agreement"] = (float((drawn == truth).mean()), float((kept == truth).mean()))
        yield row


def main() -> None:
    """Measure, print, and write results/bench_conditioning.csv."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--cases", type=int, default=20, help="CTs with a root (20)")
    parser.add_argument("--seed", type=int, default=977, help="of the virtual hospitals; none that was trained on")
    parser.add_argument("--bundle", type=Path, help="whose coarse network is asked (default: the one in use)")
    parser.add_argument("--note", default="", help="about the machine, for the table")
    options = parser.parse_args()
    found = []
    for row in looked_at(options.seed, options.cases, options.bundle):
        found.append(row)
        print(row["case"], row["kind"], row.get("agreement"), flush=True)
    crops = [row for row in found if row["found"]]
    rows = []
    for name in [key for key in crops[0] if key not in ("case", "kind", "found")]:
        pairs = [row[name] for row in crops]
        drawn, kept = ([pair[n] for pair in pairs if pair[n] is not None] for n in range(2))
        rows.append(
            {
                "class": name,
                "measure": "share of equal voxels" if name == "agreement" else "Dice",
                "cts": str(len(found)),
                "root_found": str(len(crops)),
                "crops_with_class": str(len(drawn)),
                "coarse_median": f"{np.median(drawn):.3f}",
                "coarse_p10": f"{np.percentile(drawn, 10):.3f}",
                "coarse_least": f"{min(drawn):.3f}",
                "truth_at_4mm_median": f"{np.median(kept):.3f}",
            }
        )
        print(rows[-1])
    common.write("bench_conditioning.csv", rows, options.note)


if __name__ == "__main__":
    main()
