"""Updates that must not be averaged: stale, of another shape, not finite, absurdly far away. Each with its reason.

What a site only tells of its training (losses, certainty) moves no weight: where that is not finite, it alone is left
out, by name, and the update counts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch

from .heads import part_of, taught
from .messages import Task, Update, Weights

_MOST_CASES = 1e6


def reason_against(update: Update, task: Task, base: str) -> str | None:
    """Why ``update`` is refused as an answer to ``task`` whose weights have the digest ``base``; None: it is sound."""
    if update.round_number != task.round_number:
        return f"it answers round {update.round_number + 1}, not {task.round_number + 1}"
    if update.base != base:
        return "it started from other weights than this round's"
    if not update.head_weights:
        return "it holds weights, but counts no labels"
    for head, weight in update.head_weights.items():
        if head not in task.stage.averaged:
            return f"it counts labels for {head}, which is not trained here"
        if not (math.isfinite(weight) and 0 < weight <= _MOST_CASES):
            return f"it counts {weight} labels for {head}"
    return _unfit(update, task) or _absurd(update.weights, task)


def sound(metrics: Mapping[str, float]) -> tuple[dict[str, float], str]:
    """The metrics that can be shown and averaged, and a phrase on those that cannot ("" when all can)."""
    kept = {name: value for name, value in metrics.items() if math.isfinite(value)}
    dropped = sorted(metrics.keys() - kept.keys())
    told = f"its {', '.join(dropped)} {'is' if len(dropped) == 1 else 'are'} not finite and not told further"
    return kept, told if dropped else ""


def change(weights: Weights, start: Weights) -> float:
    """How far the weights went: the norm of the change in norms of where they started."""
    moved = sum(float((value.double() - start[name].double()).square().sum()) for name, value in weights.items())
    before = sum(float(start[name].double().square().sum()) for name in weights)
    return math.sqrt(moved) / max(math.sqrt(before), 1e-12)


def _unfit(update: Update, task: Task) -> str | None:
    expected = taught(task.weights, update.head_weights, heads_only=task.stage.heads_only)
    if update.weights.keys() != expected.keys():
        name = sorted(update.weights.keys() ^ expected.keys())[0]
        verb = "misses" if name in expected else "holds"
        return f"it {verb} {name} ({part_of(name)}), unlike its label counts say"
    for name, value in update.weights.items():
        wanted = expected[name]
        if value.shape != wanted.shape or value.dtype != wanted.dtype:
            return f"{name} is {tuple(value.shape)} {value.dtype}, not {tuple(wanted.shape)} {wanted.dtype}"
        if not bool(torch.isfinite(value).all()):
            return f"{name} is not finite"
    return None


def _absurd(weights: Weights, task: Task) -> str | None:
    moved, limit = change(weights, task.weights), task.stage.aggregation.absurd
    return f"its weights moved by {moved:.3g} times their norm, over {limit:g}" if moved > limit else None
