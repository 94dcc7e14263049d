"""Local norms (FedBN: Li et al., ICLR 2021): each site goes on with the affine norms that it has learned itself.

They are averaged all the same, so that a hospital without norms of its own has some. MONAI's instance norm has no
parameters: a network that uses it has nothing to keep.
"""

from __future__ import annotations

import torch
from torch import nn

_NORMS = (nn.LayerNorm, nn.GroupNorm, nn.modules.instancenorm._InstanceNorm, nn.modules.batchnorm._BatchNorm)


def names(network: nn.Module) -> set[str]:
    """Names of the weights that belong to norms."""
    return {
        f"{place}.{name}"
        for place, module in network.named_modules()
        if isinstance(module, _NORMS)
        for name, value in module.state_dict().items()
        if value.is_floating_point()
    }


def own(network: nn.Module) -> dict[str, torch.Tensor]:
    """The network's norms, as the site keeps them."""
    state = network.state_dict()
    return {name: state[name].detach().clone() for name in sorted(names(network))}
