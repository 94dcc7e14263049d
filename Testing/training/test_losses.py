"""The loss counts only what is labelled."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fedkdtavi_core import heatmap
from fedkdtavi_training import losses
from fedkdtavi_training.config import LossConfig

pytestmark = pytest.mark.torch


def landmarks(mask):
    points = np.array([[[4.0, 5.0, 6.0], [9.0, 8.0, 7.0]]], np.float32)
    target = torch.from_numpy(heatmap.target(points[0], (16, 16, 16), 0.9, normalised=True))[None]
    return target, torch.from_numpy(points), torch.tensor([mask], dtype=torch.float32)


def test_an_unlabelled_landmark_has_no_gradient():
    target, points, mask = landmarks([1, 0])
    logits = torch.randn(1, 2, 16, 16, 16, generator=torch.Generator().manual_seed(0), requires_grad=True)
    cross, distance = losses.landmark_loss(logits, target, points, mask, 2.5)
    (cross + distance).backward()
    assert logits.grad[0, 0].abs().max() > 0
    assert logits.grad[0, 1].abs().max() == 0


def test_without_any_label_the_loss_is_zero_and_finite():
    target, points, mask = landmarks([0, 0])
    points[:] = float("nan")
    logits = torch.zeros(1, 2, 16, 16, 16, requires_grad=True)
    cross, distance = losses.landmark_loss(logits, target, points, mask, 2.5)
    (cross + distance).backward()
    assert cross == 0
    assert distance == 0
    assert torch.isfinite(logits.grad).all()


def test_the_target_itself_is_the_minimum():
    target, points, mask = landmarks([1, 1])
    perfect = (target + 1e-12).log()
    cross, distance = losses.landmark_loss(perfect, target, points, mask, 2.5)
    assert cross.item() == pytest.approx(0, abs=1e-3)
    assert distance.item() == pytest.approx(0, abs=1e-3)


def test_the_distance_term_is_in_mm():
    target, points, mask = landmarks([1, 1])
    moved = torch.roll(target, 2, dims=2)
    _, distance = losses.landmark_loss((moved + 1e-12).log(), target, points, mask, 2.5)
    assert distance.item() == pytest.approx(np.sqrt(5.0**2 + 1) - 1, abs=0.02)


def test_calcium_counts_only_labelled_samples():
    generator = torch.Generator().manual_seed(0)
    logit = torch.randn(2, 1, 8, 8, 8, generator=generator, requires_grad=True)
    target = (torch.rand(2, 1, 8, 8, 8, generator=generator) > 0.9).float()
    losses.calcium_loss(logit, target, torch.tensor([1.0, 0.0])).backward()
    assert logit.grad[0].abs().max() > 0
    assert logit.grad[1].abs().max() == 0
    logit.grad = None
    loss = losses.calcium_loss(logit, target, torch.zeros(2))
    loss.backward()
    assert loss == 0
    assert logit.grad.abs().max() == 0


def test_the_root_heatmap_is_learned_as_it_is():
    """Gradient descent on the logits alone ends at the Gaussian, whose height tells presence."""
    target = torch.from_numpy(heatmap.target([np.array([6.0, 6.0, 6.0])], (12, 12, 12), 2.0))[None]
    logit = torch.full_like(target, -4.6).requires_grad_()
    optimizer = torch.optim.Adam([logit], lr=0.2)
    for _ in range(300):
        optimizer.zero_grad()
        losses.root_loss(logit, target).backward()
        optimizer.step()
    assert (logit.sigmoid() - target).abs().max() < 0.05


def test_total_takes_each_head_at_its_own_channels():
    batch = {
        "image": torch.zeros(1, 1, 32, 32, 32),
        "target": torch.zeros(1, 7, 16, 16, 16),
        "points": torch.full((1, 7, 3), float("nan")),
        "mask": torch.zeros(1, 7),
        "calc": torch.zeros(1, 1, 32, 32, 32),
        "calc_mask": torch.zeros(1),
    }
    batch["target"][0, 5, 3, 3, 3] = 1
    batch["points"][0, 5] = 3
    batch["mask"][0, 5] = 1  # ms_upper alone is labelled
    outputs = {
        "hps": torch.zeros(1, 5, 16, 16, 16),
        "ms": torch.zeros(1, 2, 16, 16, 16),
        "calc": torch.zeros(1, 1, 32, 32, 32),
    }
    outputs = {name: value.requires_grad_() for name, value in outputs.items()}
    loss, parts = losses.total("student", outputs, batch, LossConfig())
    loss.backward()
    assert parts["hps"] == 0
    assert parts["ms"] > 0
    assert outputs["hps"].grad.abs().max() == 0
    assert outputs["ms"].grad[0, 0].abs().max() > 0
    assert outputs["ms"].grad[0, 1].abs().max() == 0
