"""Coordinate-wise median of the sites' weights (Yin et al., ICML 2018): one wrong site of three cannot move it."""

from __future__ import annotations

from collections.abc import Sequence

import torch


def combine(values: Sequence[torch.Tensor], weights: Sequence[float]) -> torch.Tensor:
    """Median of every entry, the mean of the middle two for an even number; label counts play no part."""
    ordered = torch.stack([value.double() for value in values]).sort(dim=0).values
    middle = len(values) // 2
    return ordered[middle] if len(values) % 2 else (ordered[middle - 1] + ordered[middle]) / 2
