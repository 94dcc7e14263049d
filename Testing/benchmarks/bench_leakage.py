"""What can be read from one site's update: the crop behind it, by gradient inversion (Geiping et al., NeurIPS 2020).

    python Testing/benchmarks/bench_leakage.py --work out/leakage [--crops 2] [--iterations 250]

The attacker is the server, or whoever reads there, and is given more than it would have: the weights before and after,
the network, the optimiser, the learning rate, and even where the case's landmarks lie. It looks for the image whose
gradient points where the update does (cosine distance and total variation, Adam on the image), from noise, and brings
what it finds to the mean and SD of crops that it has itself. Measured against the crop that was trained on, and against
crops of other patients: what is no more like the one than like the others was not read from the update.

Synthetic phantoms, crops of 16^3 at 2.5 mm (fewer unknowns than a real crop has), a small network. An attack that fails
here proves nothing about a better one.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import common
import numpy as np
import small_federation as small
import torch
from torch import nn

from fedkdtavi_core import bundle
from fedkdtavi_training import losses, networks, train
from fedkdtavi_training.federated.config import Stage
from fedkdtavi_training.federated.local_train import local_round
from fedkdtavi_training.federated.messages import Task, Update
from fedkdtavi_training.federated.samples import SiteSamples
from fedkdtavi_training.federated.site import Site, gather
from fedkdtavi_training.phantom.command import main as phantom
from fedkdtavi_training.sites import CoarseCentre, SiteDataset

Batch = dict[str, torch.Tensor]
Gradient = Callable[[torch.Tensor], list[torch.Tensor]]
SIGN_SOFTNESS, VARIATION, STEP = 0.1, 1e-2, 0.1
STEPS_MANY, CASES_MANY = 40, 4
CROP, CACHED = 16, 40
FILTERS: dict[str, dict[str, Any]] = {
    "percentile 50": {"filter": "percentile", "percentile": 50, "gamma": 0.01},
    "svt": {"filter": "svt", "fraction": 0.1, "epsilon": 0.1, "noise_var": 0.1, "gamma": 0.01},
}


def soft_sign(gradient: torch.Tensor) -> torch.Tensor:
    """What Adam makes of a first gradient is its sign; this can be differentiated."""
    return gradient / (gradient.abs() + SIGN_SOFTNESS * gradient.square().mean().sqrt().detach() + 1e-12)


def as_it_is(gradient: torch.Tensor) -> torch.Tensor:
    """For an attacker that has the gradient itself."""
    return gradient


def variation(image: torch.Tensor) -> torch.Tensor:
    """Mean absolute difference of neighbouring voxels."""
    return sum(image.diff(dim=axis).abs().mean() for axis in (2, 3, 4))


def invert(
    gradient: Gradient, target: list[torch.Tensor], seen_as: Callable[[torch.Tensor], torch.Tensor], side: int,
    iterations: int, seed: int,
) -> tuple[np.ndarray, float]:  # fmt: skip
    """The image (side^3) whose gradient is most like ``target``, and the cosine of the two."""
    draw = torch.Generator().manual_seed(seed)
    image = torch.randn((1, 1, side, side, side), generator=draw).requires_grad_()
    optimiser = torch.optim.Adam([image], lr=STEP)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, iterations, eta_min=STEP / 20)
    wanted = torch.cat([value.flatten() for value in target])
    wanted = wanted / wanted.norm()
    best = (-1.0, image.detach().clone())
    for _ in range(iterations):
        found = torch.cat([seen_as(value).flatten() for value in gradient(image)])
        cosine = (found @ wanted) / found.norm().clamp_min(1e-12)
        if float(cosine.detach()) > best[0]:
            best = (float(cosine.detach()), image.detach().clone())
        loss = 1 - cosine + VARIATION * variation(image)
        (image.grad,) = torch.autograd.grad(loss, image)
        image.grad = image.grad.sign()
        optimiser.step()
        schedule.step()
        with torch.no_grad():
            image.clamp_(-2.0, 6.0)
    return best[1][0, 0].numpy(), best[0]


def likeness(found: np.ndarray, true: np.ndarray, others: list[np.ndarray]) -> dict[str, float]:
    """Correlation and PSNR (dB, over the true crop's range) against the true crop, and in the mean against others'.

    ``guess`` is the correlation of the mean of the others' crops: what is known without any update.
    """
    usual = np.stack(others)
    moved = (found - found.mean()) / max(found.std(), 1e-9) * usual.std(axis=(1, 2, 3)).mean() + usual.mean()
    correlations = [_correlation(found, other) for other in others]
    return {
        "own": _correlation(found, true),
        "other": float(np.mean(correlations)),
        "other_most": float(np.max(correlations)),
        "guess": _correlation(usual.mean(0), true),
        "psnr": _psnr(moved, true),
        "psnr_other": float(np.mean([_psnr(moved, other) for other in others])),
        "psnr_guess": _psnr(usual.mean(0), true),
    }


def _correlation(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.corrcoef(one.ravel(), other.ravel())[0, 1])


def _psnr(one: np.ndarray, other: np.ndarray) -> float:
    return float(20 * np.log10(np.ptp(other)) - 10 * np.log10(np.square(one - other).mean()))


def batched(sample: dict[str, np.ndarray]) -> Batch:
    """One sample as a batch of one."""
    return {name: torch.from_numpy(np.asarray(value))[None] for name, value in sample.items()}


def of_teacher(network: nn.Module, labels: Batch, stage: Stage, parameters: list[nn.Parameter]) -> Gradient:
    """Image -> the gradient that training on it with these labels would have.

    Twice in a batch it is the same gradient, and many times faster (see :mod:`fedkdtavi_training.networks`).
    """
    loss_of = stage.for_site("", 1, Path()).loss
    twice = {name: torch.cat([value, value]) for name, value in labels.items()}

    def gradient(image: torch.Tensor) -> list[torch.Tensor]:
        both = torch.cat([image, image]).contiguous(memory_format=torch.channels_last_3d)
        loss, _ = losses.total(stage.training.model, network(both), twice | {"image": both}, loss_of)
        return list(torch.autograd.grad(loss, parameters, create_graph=True))

    return gradient


class Victim:
    """A site that trains one round, and what its server knows then."""

    def __init__(self, paths: list[Path], work: Path, steps: int, batch: int) -> None:
        settings = small.training(local_steps=steps, batch=batch)
        self.stage = Stage.model_validate(
            {"name": "attacked", "heads": ("hps",), "training": settings, "aggregation": {}, "seed": small.SEED}
        )
        folder = work / "victim"
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob("*.npz"):
            old.unlink()
        for path in paths:
            (folder / path.name).symlink_to(path.resolve())
        self.site = Site("victim", (folder,), work / "own")
        self.cases = gather(self.site, self.stage)
        self.config = self.stage.for_site("victim", len(self.cases.paths), folder)
        self.samples = SiteSamples(self.cases, self.config, None)
        self.network = networks.build("teacher", small.NETWORK, seed=small.SEED)
        self.start = {name: value.detach().clone() for name, value in self.network.state_dict().items()}
        # A bias before a normalisation has no gradient but rounding's, which Adam makes as large as any other.
        sent = {name for name in self.start if not name.startswith(("heads.ms", "heads.calc"))}
        self.names = [name for name, one in self.network.named_parameters() if name in sent and one.ndim > 1]
        own = dict(self.network.named_parameters())
        self.parameters = [own[name] for name in self.names]

    def update(self, chosen: dict[str, Any] | None) -> list[torch.Tensor]:
        """Minus the change of the weights, without weight decay's share: where Adam was told to go."""
        update: Update = local_round(self.stage, self.site, self.start, 0, cases=self.cases)
        update = small.Filter(chosen)(Task("train", self.stage, 0, self.start), update)
        decay = self.config.weight_decay * sum(
            train.learning_rate(self.config, step) for step in range(self.config.steps)
        )
        return [self.start[name] - update.weights[name] - decay * self.start[name] for name in self.names]

    def own_crops(self) -> list[np.ndarray]:
        """The images of the first pass through the cases, one of each."""
        shown = self.config.steps * self.config.batch
        return [self.samples[n]["image"][0] for n in range(min(shown, len(self.cases.paths)))]


def phantoms(work: Path, cases: int) -> list[Path]:
    """Crops of 100 mm of two virtual hospitals' CTs, one folder each; made once in ``work``."""
    made = work / "phantoms"
    asked = ["--sites", "2", "--cases", str(cases), "--seed", str(small.SEED)]
    if phantom(["--out", str(made), *asked, "--fast", "--kind", "heart", "--labels", "all", "--quiet"]):
        raise SystemExit(1)
    folders = []
    for site in sorted(path.parent for path in made.glob("*/site.json")):
        folders.append(work / "crops" / site.name)
        centre = CoarseCentre(bundle.resolve(None))
        SiteDataset(site, centre, size=CACHED, spacing=small.SPACING_MM).write_cache(folders[-1])
    return folders


def attack(name: str, paths: list[Path], others: list[np.ndarray], work: Path, iterations: int) -> dict[str, float]:
    """One attack on the first of ``paths`` (many steps: on all); its likeness to what was trained on."""
    many = name.startswith("many")
    victim = Victim(paths if many else paths[:1], work, STEPS_MANY if many else 1, 2 if many else 1)
    sample = batched(victim.samples[0])
    gradient = of_teacher(victim.network, sample, victim.stage, victim.parameters)
    chosen = next((one for label, one in FILTERS.items() if name.endswith(label)), None)
    if name == "gradient":
        target, seen_as = [value.detach() for value in gradient(sample["image"])], as_it_is
    else:
        target, seen_as = victim.update(chosen), soft_sign
    found, cosine = invert(gradient, target, seen_as, CROP, iterations, seed=1)
    best = max(victim.own_crops(), key=lambda crop: _correlation(found, crop))  # the attacker does not know which
    return likeness(found, best, others) | {"cosine": cosine}


def control(image: np.ndarray, others: list[np.ndarray], iterations: int) -> dict[str, float]:
    """The same attack where it is known to work: the raw gradient of a shallow network without normalisation."""
    side = image.shape[0]
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv3d(1, 8, 3, 2, 1), nn.LeakyReLU(0.2), nn.Conv3d(8, 16, 3, 1, 1), nn.LeakyReLU(0.2), nn.Flatten(),
        nn.Linear(16 * (side // 2) ** 3, 4),
    )  # fmt: skip
    parameters = list(network.parameters())
    wanted = torch.tensor([1])

    def gradient(image: torch.Tensor) -> list[torch.Tensor]:
        loss = nn.functional.cross_entropy(network(image), wanted)
        return list(torch.autograd.grad(loss, parameters, create_graph=True))

    target = [value.detach() for value in gradient(torch.from_numpy(image)[None, None])]
    found, cosine = invert(gradient, target, as_it_is, side, iterations, seed=1)
    return likeness(found, image, others) | {"cosine": cosine}


ATTACKS = {
    "control": "raw gradient of another network: two convolutions, no normalisation",
    "gradient": "raw gradient of one crop (never sent)",
    "one step": "update after 1 step on 1 crop",
    **{f"one step, {name}": f"the same through the filter {name}" for name in FILTERS},
    "many steps": f"update after {STEPS_MANY} steps on {CASES_MANY} crops, 2 a step",
}


def main() -> None:
    """Try every attack, and write results/leakage.csv."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder for synthetic hospitals, kept")
    parser.add_argument("--crops", type=int, default=2, help="crops that are attacked, one after another")
    parser.add_argument("--iterations", type=int, default=250)
    parser.add_argument("--cases", type=int, default=10, help="of a hospital, in the mean")
    parser.add_argument("--note", default="", help="said of the machine, e.g. that others use it, too")
    options = parser.parse_args()
    train.prepare_torch()
    folders = phantoms(options.work, options.cases)
    own, foreign = (sorted(folder.glob("*.npz")) for folder in (folders[0], folders[1]))
    others = Victim(foreign[:CASES_MANY], options.work / "others", CASES_MANY, 1).own_crops()
    rows = []
    for name, what in ATTACKS.items():
        began, found = time.monotonic(), []
        for number in range(1 if name.startswith("many") else options.crops):
            if name == "control":
                crop = Victim(own[number : number + 1], options.work, 1, 1).own_crops()[0]
                found.append(control(crop, others, options.iterations))
            else:
                some = own[number : number + CASES_MANY]
                found.append(attack(name, some, others, options.work, options.iterations))
        row = {"attack": name, "what": what, "crops": str(len(found)), "iterations": str(options.iterations)}
        for key in found[0]:
            values = [one[key] for one in found]
            row[key] = f"{np.mean(values):.2f}"
        row["own_least"], row["own_most"] = (f"{end([one['own'] for one in found]):.2f}" for end in (min, max))
        row["seconds"] = f"{(time.monotonic() - began) / len(found):.0f}"
        rows.append(row)
        print(row, flush=True)
    common.write("leakage.csv", rows, options.note)


if __name__ == "__main__":
    main()
