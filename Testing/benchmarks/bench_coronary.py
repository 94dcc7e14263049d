"""Last-layer coronaries of the transformer against a UNet: only a 1x1x1 convolution learns, on features learned before.

    fedkdtavi phantom --cache crop --cases 900 --seed 801 --out data/crop
    python Testing/benchmarks/bench_coronary.py --unet-cache data/crop --out runs/coronary [--unet-steps 1200]

Both backbones learned hinge points, ostia, septum and calcium of phantoms, and nothing of the arteries: the transformer
is the shipped student, the UNet is trained here. As a floor the same UNet with the weights it starts from. The last
layer of each then learns from the same crops with the arteries' mask (`fedkdtavi finetune` with `coronary`), for the
same steps, seeds and samples; Dice is of the proximal arteries in held-out crops, shifted and degraded as in training.
A run that was cut off goes on; give another --out for other numbers of steps or cases. The backbones are not equally
trained: the table says how long each was. Synthetic phantoms; not for clinical use.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import common

STUDENT = common.REPOSITORY / "Resources" / "Models" / "fedkdtavi" / "models" / "student.safetensors"
HELD_OUT = 0.3  # of the crops with arteries
ARMS = ("transformer", "unet", "unet-untrained")


def unet(cache: Path, out: Path, steps: int, seed: int) -> tuple[Path, Path]:
    """Weights of the UNet after its training, and of the same before it."""
    from fedkdtavi_training import networks, train
    from fedkdtavi_training.config import TrainConfig

    config = TrainConfig(
        task="teacher", cache=[cache], out=out / "unet", held_out=32, seed=seed, steps=steps, batch=2, lr=2e-3,
        warmup=60, ema=0.99,
    )  # fmt: skip
    before = out / "unet-untrained.safetensors"
    networks.save(networks.build("teacher", seed=seed), "teacher", before)
    if not (config.out / train.WEIGHTS).exists():
        train.train(config)
    return config.out / train.WEIGHTS, before


def last_layer(weights: Path, crops: Path, out: Path, steps: int, seed: int) -> dict[str, float | None]:
    """Train the last layer on ``weights``; case -> Dice of the held-out crops, None where there is nothing to see."""
    from fedkdtavi_training import networks
    from fedkdtavi_training.federated import experiment
    from fedkdtavi_training.federated.config import Experiment

    table = out / "pooled" / "test-phantoms.csv"
    network, kind, _ = networks.load(weights)
    rounds = 10
    student = {
        "model": kind, "network": network.arguments | {"coronary": True}, "rounds": rounds, "batch": 2,
        "local_steps": steps // rounds, "lr": 0.1, "warmup": 5, "weight_decay": 0.0,
    }  # fmt: skip
    site = {"name": "phantoms", "folder": crops}
    entries = {"sites": [site], "arms": ["pooled"], "seed": seed, "test_ratio": HELD_OUT, "out": out, "init": weights}
    if not table.exists():
        experiment.run(Experiment.model_validate(entries | {"student": student}), finetune=True)
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return {row["case"]: float(row["coronary_dice"]) if row["coronary_dice"] else None for row in rows}


def main() -> None:
    """Train what is not there yet; compare; write results/bench_coronary.csv and, by case, bench_coronary_cases.csv."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--unet-cache", type=Path, required=True, help="crops that the UNet learns from; only read")
    parser.add_argument("--out", type=Path, required=True, help="folder to work in")
    parser.add_argument("--unet-steps", type=int, default=1200, help="steps of two crops (1200)")
    parser.add_argument("--steps", type=int, default=300, help="of a last layer, of two crops (300)")
    parser.add_argument("--cases", type=int, default=120, help="crops with arteries (120)")
    parser.add_argument("--seed", type=int, default=951, help="of those crops; none that a backbone learned from")
    parser.add_argument("--note", default="", help="about the machine, for the table")
    options = parser.parse_args()
    import numpy as np

    from fedkdtavi_core.bundle.paired import paired
    from fedkdtavi_training import cache, networks

    crops = options.out / "crops"
    cache.write(crops, "crop", options.cases, options.seed, coronary=True)
    trained, untrained = unet(options.unet_cache, options.out, options.unet_steps, seed=1)
    weights = dict(zip(ARMS, (STUDENT, trained, untrained), strict=True))
    dice = {arm: last_layer(path, crops, options.out / arm, options.steps, 1) for arm, path in weights.items()}
    rows = []
    for arm, path in weights.items():
        found = np.array([value for value in dice[arm].values() if value is not None])
        both = {
            case: [value - dice["transformer"][case]]
            for case, value in dice[arm].items()
            if value is not None and dice["transformer"][case] is not None
        }
        gain = paired(both)
        network, _, told = networks.load(path)
        rows.append(
            {
                "backbone": arm,
                "features": str(network.heads.hps.in_channels),
                "backbone_steps": str(told.get("steps", 0)),  # the released one's last training alone
                "backbone_crops": str(told.get("cases", 0)),
                "last_layer_steps": str(options.steps),
                "crops": str(options.cases),
                "held_out": str(len(found)),
                "dice_median": f"{np.median(found):.3f}",
                "dice_mean": f"{found.mean():.3f}",
                "minus_transformer": "" if arm == "transformer" else f"{gain.mean:+.3f}",
                "low": "" if arm == "transformer" else f"{gain.low:+.3f}",
                "high": "" if arm == "transformer" else f"{gain.high:+.3f}",
                "verdict": "" if arm == "transformer" else gain.verdict,
            }
        )
        print(rows[-1])
    common.write("bench_coronary.csv", rows, options.note)
    cases = [{"case": case, **{arm: dice[arm][case] for arm in ARMS}} for case in dice["transformer"]]
    common.write("bench_coronary_cases.csv", cases, options.note)


if __name__ == "__main__":
    main()
