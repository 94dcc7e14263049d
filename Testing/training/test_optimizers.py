"""Muon beside AdamW: who is whose, the size of a step, and a state that goes into a checkpoint and out of it."""

from __future__ import annotations

import pytest
import torch

from fedkdtavi_training import networks, optimizers

pytestmark = pytest.mark.torch


@pytest.fixture
def network():
    """The student with random gradients."""
    torch.manual_seed(0)
    net = networks.build("student", {"feature_size": 12}, seed=0)
    for parameter in net.parameters():
        parameter.grad = torch.randn_like(parameter)
    return net


def moved(network, optimizer) -> dict[str, torch.Tensor]:
    before = {name: value.detach().clone() for name, value in network.named_parameters()}
    optimizer.step()
    return {name: value.detach() - before[name] for name, value in network.named_parameters()}


def build(network, **changes):
    return optimizers.build("muon", network, **({"lr": 1e-2, "weight_decay": 0.0} | changes))


def test_hidden_weights_take_orthogonal_steps_of_adamws_size(network) -> None:
    steps = moved(network, build(network))
    for name in ("backbone.encoder10.layer.conv1.conv.weight", "backbone.swinViT.layers3.0.blocks.0.attn.qkv.weight"):
        step = steps[name].movedim(1, -1).flatten(1)
        values = torch.linalg.svdvals(step)
        assert values.min() > 0.4 * values.max(), name  # a random matrix of 192 x 192 has values down to nearly none
        size = float(step.square().mean().sqrt())
        assert 0.1e-2 < size < 0.3e-2, name  # 0.2 of the learning rate, as AdamW's is


@pytest.mark.parametrize("name", ["heads.hps.weight", "backbone.swinViT.patch_embed.proj.weight", "heads.ms.bias"])
def test_first_and_last_layers_and_biases_are_adamws(network, name) -> None:
    gradient = dict(network.named_parameters())[name].grad
    step = moved(network, build(network))[name]
    assert torch.allclose(step, -1e-2 * gradient.sign(), atol=1e-4)  # AdamW's first step


def test_every_parameter_moves_and_only_its_own_way(network) -> None:
    assert all(bool(step.abs().max() > 0) for step in moved(network, build(network)).values())
    network.zero_grad(set_to_none=True)
    optimizer = build(network)
    assert not any(bool(step.abs().max() > 0) for step in moved(network, optimizer).values())


def test_the_learning_rate_of_the_groups_counts_for_both(network) -> None:
    optimizer = build(network)
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    assert not any(bool(step.abs().max() > 0) for step in moved(network, optimizer).values())


def test_weights_that_were_loaded_are_the_ones_that_move(network) -> None:
    """Loading copies into the same memory; a parameter that was given other memory is followed."""
    optimizer = build(network)
    weight = network.backbone.encoder10.layer.conv1.conv.weight
    weight.data = torch.ones_like(weight)
    optimizer.step()
    assert 0 < float((weight.detach() - 1).abs().max()) < 0.1
