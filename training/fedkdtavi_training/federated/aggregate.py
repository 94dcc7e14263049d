"""The sites' weights become one, head by head.

A head is averaged over the sites that have labels for it, each by its number of labels (pseudo-labels by their
certainty); the backbone over all, each by the sum over its heads. What fewer than k sites have trained stays as it was:
an "average" of one would show that site's update to all others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from . import files, median, trimmed_mean
from .config import Aggregation, Stage
from .heads import BACKBONE, part_of, part_weight
from .messages import Weights

Rule = Callable[[Sequence[torch.Tensor], Sequence[float]], torch.Tensor]


@dataclass(frozen=True)
class Spilt:
    """One site's update on disk, so that the server's memory does not grow with the number of sites."""

    site: str
    path: Path
    head_weights: dict[str, float]


class OnDisk(Sequence[torch.Tensor]):
    """The tensor ``name`` of many sites, each read when it is asked for: a sum over 500 sites holds one of them."""

    def __init__(self, paths: Sequence[Path], name: str) -> None:
        self.paths, self.name = paths, name

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, number: int) -> torch.Tensor:
        return files.read_tensor(self.paths[number], self.name)


def aggregate(stage: Stage, current: Weights, updates: Sequence[Spilt]) -> tuple[Weights, dict[str, str]]:
    """New weights of the whole network, tensor by tensor in the order of ``updates``.

    Returns:
        The weights, and part ("hps", "backbone" ...) -> why it stays as it was.
    """
    parts = (*stage.averaged,) if stage.heads_only else (*stage.averaged, BACKBONE)
    voices = {part: [(one, part_weight(part, one.head_weights)) for one in updates] for part in parts}
    voices = {part: [(one, weight) for one, weight in found if weight > 0] for part, found in voices.items()}
    k = stage.aggregation.k
    frozen = {
        part: f"{part} stays as it is: {len(found)} of at least {k} sites taught it"
        for part, found in voices.items()
        if len(found) < k or not found
    }
    rule = rule_of(stage.aggregation)
    averaged = {}
    for name, value in current.items():
        found = voices.get(part_of(name), [])
        if not found or part_of(name) in frozen or not value.is_floating_point():
            averaged[name] = value
            continue
        tensors = OnDisk([one.path for one, _ in found], name)
        averaged[name] = rule(tensors, [weight for _, weight in found]).to(value.dtype)
    return averaged, frozen


def rule_of(settings: Aggregation) -> Rule:
    """The function that makes one tensor of many."""
    if settings.rule == "median":
        return median.combine
    if settings.rule == "trimmed_mean":
        return lambda values, weights: trimmed_mean.combine(values, weights, settings.trim)
    return weighted_mean


def weighted_mean(values: Sequence[torch.Tensor], weights: Sequence[float]) -> torch.Tensor:
    """FedAvg (McMahan et al., AISTATS 2017), summed in float64 in the order given."""
    total = torch.zeros(values[0].shape, dtype=torch.float64)
    for value, weight in zip(values, weights, strict=True):
        total += value.double() * (weight / sum(weights))
    return total
