"""AdamW, or Muon for the hidden layers beside it: both seen by a run as one optimiser with a state per parameter.

Muon (Jordan 2024, https://kellerjordan.github.io/posts/muon) steps along the momentum of a weight matrix with all its
singular values made alike. Its steps are scaled to the size of AdamW (Liu et al. 2025, arXiv 2502.16982), so that
one learning rate serves both. Convolutions are matrices of outputs by everything else.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import torch

from .config import Optimizer

# First and last layers and tables of biases stay with AdamW, as Muon's author advises.
_NOT_HIDDEN = ("heads.", "patch_embed", "relative_position_bias_table")


def build(
    kind: Optimizer, network: torch.nn.Module, *, lr: float, weight_decay: float
) -> torch.optim.Optimizer | MuonAndAdamW:
    """The optimiser of a network's parameters; biases and norms are not decayed."""
    named = dict(network.named_parameters())
    if kind == "muon":
        hidden = [p for name, p in named.items() if p.ndim > 1 and not any(part in name for part in _NOT_HIDDEN)]
        taken = {id(p) for p in hidden}
        return MuonAndAdamW(hidden, [p for p in named.values() if id(p) not in taken], lr, weight_decay)
    return _adamw(list(named.values()), lr, weight_decay)


def _adamw(parameters: list[torch.nn.Parameter], lr: float, weight_decay: float) -> torch.optim.AdamW:
    decay = [p for p in parameters if p.ndim > 1]
    plain = [p for p in parameters if p.ndim <= 1]
    groups = [{"params": decay, "weight_decay": weight_decay}, {"params": plain, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=lr)


class MuonAndAdamW:
    """Muon for ``hidden``, AdamW for ``rest``; what a run and a GradScaler ask of an optimiser, and no more."""

    def __init__(
        self, hidden: list[torch.nn.Parameter], rest: list[torch.nn.Parameter], lr: float, weight_decay: float
    ) -> None:
        self._matrices = {parameter: torch.nn.Parameter(_matrix(parameter.detach())) for parameter in hidden}
        self._muon = torch.optim.Muon(
            self._matrices.values(), lr=lr, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw"
        )
        self._adamw = _adamw(rest, lr, weight_decay)
        self._own = {"params": hidden, "lr": lr}
        self.param_groups: list[dict[str, Any]] = [self._own, *self._adamw.param_groups]
        # The inner optimisers keep their moments in these very dictionaries.
        self.state: defaultdict[torch.nn.Parameter, dict[str, Any]] = defaultdict(dict)
        for parameter, matrix in self._matrices.items():
            self._muon.state[matrix] = self.state[parameter]
        for parameter in rest:
            self._adamw.state[parameter] = self.state[parameter]

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Move every parameter that has a gradient."""
        for group in self._muon.param_groups:
            group["lr"] = self._own["lr"]
        for parameter, matrix in self._matrices.items():
            if matrix.data_ptr() != parameter.data_ptr():  # the parameter was given other memory, by another device
                matrix.data = _matrix(parameter.detach())
            matrix.grad = None if parameter.grad is None else _matrix(parameter.grad)
        self._muon.step()
        self._adamw.step()


def _matrix(value: torch.Tensor) -> torch.Tensor:
    """(outputs, rest) of a weight, on the same memory where it is contiguous in either of the two usual layouts.

    Channels last only changes the order of the columns, which Muon does not mind.
    """
    if not value.is_contiguous():
        value = value.movedim(1, -1)
    return value.flatten(1)
