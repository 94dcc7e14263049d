"""FLARE's privacy filters: what they cost in millimetres, and what they do to a membership inference.

    python Testing/benchmarks/bench_filters.py --work out/filters [--rounds 8]

One small federation of stand-ins (balls in noise, four sites), trained with each filter in the plain loop, by FLARE's
own classes on what a site has changed, as its executor applies them. Half of every site's cases are trained on, the
other half is not. Measured on the final model, without augmentation:

- mm: error of hinge points and ostia on the cases that were not trained on, and its difference to no filter, paired by
  case, with a 95 % interval (bootstrap over cases);
- AUC of the loss threshold (Yeom et al., CSF 2018): does a case's loss tell whether it was trained on? 0.5 is chance.

A control that is trained without augmentation shows what the attack finds where there is more to find. Of SVT the
privacy budget of one round is told as FLARE's own account of it has it. Another federation has other numbers.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import common
import numpy as np
import small_federation as small
import torch

sys.path.append(str(Path(__file__).resolve().parents[1] / "training"))
import standin

from fedkdtavi_core import schema
from fedkdtavi_training import cache, data, losses, networks, tally, train, validation
from fedkdtavi_training.config import AugmentConfig, TrainConfig
from fedkdtavi_training.federated import experiment as experiments
from fedkdtavi_training.federated.config import Experiment

SITES, CACHED = 4, 24
PLAIN_SIGHT = {
    name: 0.0 for name, value in AugmentConfig().model_dump().items() if isinstance(value, float)
}  # fmt: skip
ARMS: dict[str, tuple[dict[str, Any] | None, dict[str, Any]]] = {
    "none": (None, {}),
    "percentile 50, gamma 0.01": ({"filter": "percentile", "percentile": 50, "gamma": 0.01}, {}),
    "percentile 90, gamma 0.001": ({"filter": "percentile", "percentile": 90, "gamma": 0.001}, {}),
    "svt, fraction 0.5, noise_var 100": (
        {"filter": "svt", "fraction": 0.5, "epsilon": 0.1, "noise_var": 100, "gamma": 0.01}, {},
    ),
    "svt, fraction 0.1, noise_var 0.1": (
        {"filter": "svt", "fraction": 0.1, "epsilon": 0.1, "noise_var": 0.1, "gamma": 0.01}, {},
    ),
    "control: none, no augmentation": (None, {"augment": PLAIN_SIGHT}),
}  # fmt: skip


def write(folder: Path, cases: int) -> dict[str, Path]:
    """Site -> its stand-ins; no two share one."""
    folders = {}
    for number in range(SITES):
        folders[f"site-{number + 1}"] = own = folder / f"site-{number + 1}"
        own.mkdir(parents=True, exist_ok=True)
        for n in range(cases):
            path = own / f"case_{n:06d}.npz"
            if not path.exists():
                cache.save(path, standin.make(1000 * number + n, CACHED, small.SPACING_MM))
    return folders


def losses_of(network: torch.nn.Module, config: TrainConfig, paths: list[Path]) -> np.ndarray:
    """The loss of each case as it is."""
    samples = data.CropDataset(paths, config)
    found = []
    for n, path in enumerate(paths):
        case = cache.load(path)
        sample = samples.sample(n, case, data.Labels.of(case))
        batch = {name: torch.from_numpy(np.asarray(value))[None] for name, value in sample.items()}
        with torch.inference_mode():
            loss, _ = losses.total(config.task, network(batch["image"]), batch, config.loss)
        found.append(float(loss))
    return np.array(found)


def errors_of(network: torch.nn.Module, config: TrainConfig, paths: list[Path], table: Path) -> np.ndarray:
    """Mean error of each case's hinge points and ostia in mm."""
    validation.validate(network, config, paths, table)
    rows = {row["case"]: row for row in tally.read_rows(table)}
    labels = [f"{label}_mm" for label in schema.HEADS["hps"]]
    return np.array([np.mean([rows[path.stem][label] for label in labels]) for path in paths])


def interval(draws: np.ndarray) -> str:
    """95 % of the draws."""
    low, high = np.percentile(draws, [2.5, 97.5])
    return f"{low:.2f} to {high:.2f}"


def auc(members: np.ndarray, others: np.ndarray) -> float:
    """How often a member's loss is smaller than another's; ties count half."""
    less = (members[:, None] < others[None]).mean()
    return float(less + 0.5 * (members[:, None] == others[None]).mean())


def resampled(rng: np.random.Generator, size: int) -> np.ndarray:
    """(2000, size) indices for a bootstrap."""
    return rng.integers(0, size, (2000, size))


def budget(chosen: dict[str, Any] | None, network: torch.nn.Module) -> str:
    """Epsilon of one site's round, as the filter accounts for it; none for filters that account for nothing."""
    if chosen is None or chosen["filter"] != "svt":
        return ""
    from nvflare.apis.dxo import DXO, DataKind
    from nvflare.apis.fl_context import FLContext
    from nvflare.apis.shareable import Shareable

    from fedkdtavi_training.federation.flare import privacy
    from fedkdtavi_training.federation.settings import Privacy

    sent = {n: v.numpy() * 0 for n, v in network.state_dict().items() if not n.startswith(("heads.ms", "heads.calc"))}
    of_flare = privacy._filter(Privacy.model_validate(chosen))
    of_flare.process_dxo(DXO(DataKind.WEIGHT_DIFF, sent), Shareable(), FLContext())
    return f"{of_flare.get_privacy_spent():.0f}"


def arm(name: str, folders: dict[str, Path], out: Path, rounds: int, steps: int) -> dict[str, Any]:
    """Train one federation and look at its model: losses of members and others, errors of others."""
    chosen, changes = ARMS[name]
    shutil.rmtree(out, ignore_errors=True)
    settings = Experiment.model_validate(
        {
            "task": 1, "out": out, "seed": small.SEED, "test_ratio": 0.5,
            "sites": [{"name": site, "folder": folder} for site, folder in folders.items()],
            "teacher": small.training(rounds=rounds, local_steps=steps, **changes),
        }
    )  # fmt: skip
    experiments.run(settings, driver=small.driver(chosen), say=lambda text: None)
    network, _, _ = networks.load(out / "federated" / "teacher-hps.safetensors")
    config = TrainConfig(
        task="teacher", cache=list(folders.values()), out=out, steps=1, crop=settings.teacher.crop,
        loss=settings.teacher.loss.model_copy(update={"ms": 0.0, "calc": 0.0}), augment=AugmentConfig(**PLAIN_SIGHT),
        network=small.NETWORK,
    )  # fmt: skip
    members, others, errors = [], [], []
    for site, folder in folders.items():
        paths = cache.files([folder])
        half = len(paths) // 2
        members.append(losses_of(network, config, paths[:half]))
        others.append(losses_of(network, config, paths[half:]))
        errors.append(errors_of(network, config, paths[half:], out / f"{site}.csv"))
    return {
        "members": np.concatenate(members), "others": np.concatenate(others), "errors": np.concatenate(errors),
        "epsilon": budget(chosen, network),
    }  # fmt: skip


def row_of(name: str, found: dict[str, Any], plain: dict[str, Any]) -> dict[str, str]:
    """One line of the table."""
    rng = np.random.default_rng(small.SEED)
    members, others, errors = found["members"], found["others"], found["errors"]
    one, two = resampled(rng, len(members)), resampled(rng, len(others))
    aucs = np.array([auc(members[i], others[j]) for i, j in zip(one, two, strict=True)])
    more = errors - plain["errors"]
    return {
        "filter": name,
        "median_mm": f"{np.median(errors):.2f}",
        "mean_mm": f"{errors.mean():.2f}",
        "more_mm": f"{more.mean():.2f}",
        "more_mm_95": interval(more[resampled(rng, len(more))].mean(1)),
        "membership_auc": f"{auc(members, others):.2f}",
        "membership_auc_95": interval(aucs),
        "loss_trained_on": f"{members.mean():.3f}",
        "loss_not_trained_on": f"{others.mean():.3f}",
        "epsilon_a_round": found["epsilon"],
    }


def main() -> None:
    """Train every arm, and write results/filters.csv."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--cases", type=int, default=24, help="of a site; half of them are trained on")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--steps", type=int, default=15, help="of a site in a round, 2 cases each")
    parser.add_argument("--arm", choices=ARMS, nargs="*", help="these alone; no table is written")
    parser.add_argument("--note", default="", help="said of the machine, e.g. that others use it, too")
    options = parser.parse_args()
    train.prepare_torch()
    folders = write(options.work / "stand-ins", options.cases)
    found: dict[str, dict[str, Any]] = {}
    rows = []
    shape = {"sites": str(SITES), "cases_a_site": str(options.cases // 2)}
    shape |= {"rounds": str(options.rounds), "steps_a_round": str(options.steps)}
    for number, name in enumerate(options.arm or ARMS):
        began = time.process_time()
        found[name] = arm(name, folders, options.work / f"arm-{number}", options.rounds, options.steps)
        rows.append(row_of(name, found[name], found.get("none", found[name])) | shape)
        print(rows[-1], f"{time.process_time() - began:.0f} s of CPU", flush=True)
    if not options.arm:
        common.write("filters.csv", rows, options.note)


if __name__ == "__main__":
    main()
