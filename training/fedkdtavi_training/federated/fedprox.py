"""FedProx (Li et al., MLSys 2020): a site's weights are held near those it was handed."""

from __future__ import annotations

from collections.abc import Callable

import torch


def penalty(network: torch.nn.Module, mu: float) -> Callable[[], torch.Tensor]:
    """mu / 2 times the squared distance of the trained parameters from where they are now."""
    held = [(p, p.detach().clone()) for p in network.parameters() if p.requires_grad]
    return lambda: 0.5 * mu * sum((p - start).square().sum() for p, start in held)
