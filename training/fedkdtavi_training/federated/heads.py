"""Which head a weight belongs to: every head is averaged over the sites that have labels for it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch

from ..config import EXTRA_HEADS
from .config import HEADS

_PREFIXES = {
    **{f"heads.{head}.": head for head in (*HEADS, *EXTRA_HEADS)},
    "heads.calc_up.": "calc",
    "heads.calc_mix.": "calc",
    "calc.": "calc",  # of a calcium network, which has no other
}
BACKBONE = "backbone"


def part_of(name: str) -> str:
    """The head that owns the weight ``name``, or ``backbone`` when all heads share it."""
    return next((head for prefix, head in _PREFIXES.items() if name.startswith(prefix)), BACKBONE)


def floating(weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """What is learned and exchanged: SwinUNETR also carries integer buffers, which are no weights."""
    return {name: value for name, value in weights.items() if value.is_floating_point()}


def taught(weights: Mapping[str, torch.Tensor], heads: Iterable[str], *, heads_only: bool) -> dict[str, torch.Tensor]:
    """What a site sends that has trained ``heads``: these heads, and the backbone unless it is frozen."""
    parts = {*heads} | (set() if heads_only else {BACKBONE})
    return {name: value for name, value in floating(weights).items() if part_of(name) in parts}


def unchanged(heads: Iterable[str], before: Mapping[str, torch.Tensor], after: Mapping[str, torch.Tensor]) -> list[str]:
    """Those of ``heads`` whose own layers are what they were."""
    moved = {part_of(name) for name, value in floating(after).items() if not torch.equal(value, before[name])}
    return [head for head in heads if head not in moved]


def part_weight(part: str, head_weights: Mapping[str, float]) -> float:
    """How much a site counts for a head, or for the backbone: there, the sum over its heads.

    The heart's classes come from a network, for every CT: they do not decide whose backbone counts.
    """
    if part == BACKBONE:
        return sum(weight for head, weight in head_weights.items() if head != "heart")
    return head_weights.get(part, 0.0)
