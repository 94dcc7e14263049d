"""Coordinate-wise trimmed mean of the sites' weights (Yin et al., ICML 2018)."""

from __future__ import annotations

from collections.abc import Sequence

import torch


def combine(values: Sequence[torch.Tensor], weights: Sequence[float], trim: float) -> torch.Tensor:
    """Mean of every entry without the ``trim`` share of sites at each end; label counts play no part.

    At least one site is left out at each end where there are three or more.
    """
    ordered = torch.stack([value.double() for value in values]).sort(dim=0).values
    cut = int(trim * len(values))
    if trim > 0 and len(values) >= 3:
        cut = max(cut, 1)
    return ordered[cut : len(values) - cut].mean(dim=0)
