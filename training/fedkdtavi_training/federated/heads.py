"""Which head a weight belongs to: every head is averaged over the sites that have labels for it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeVar

from .config import HEADS

_PREFIXES = {
    **{f"heads.{head}.": head for head in HEADS},
    "heads.calc_up.": "calc",
    "heads.calc_mix.": "calc",
}
BACKBONE = "backbone"
_Value = TypeVar("_Value")


def part_of(name: str) -> str:
    """The head that owns the weight ``name``, or ``backbone`` when all heads share it."""
    return next((head for prefix, head in _PREFIXES.items() if name.startswith(prefix)), BACKBONE)


def taught(
    weights: Mapping[str, _Value], heads: Iterable[str], *, heads_only: bool, names: Iterable[str] | None = None
) -> dict[str, _Value]:
    """What a site sends that has trained ``heads``: these heads, and the backbone unless it is frozen."""
    parts = {*heads} | (set() if heads_only else {BACKBONE})
    return {name: weights[name] for name in (weights if names is None else names) if part_of(name) in parts}


def part_weight(part: str, head_weights: Mapping[str, float]) -> float:
    """How much a site counts for a head, or for the backbone: there, the sum over its heads."""
    return sum(head_weights.values()) if part == BACKBONE else head_weights.get(part, 0.0)
