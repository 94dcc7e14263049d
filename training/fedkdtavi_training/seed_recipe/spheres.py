"""Landmarks as spheres of 4 mm, one class each, and the loss that learns them (Toelle et al., 2025).

A head has a channel for each landmark and none for the background, whose logit is held at 0: the softmax is the same,
and weights have the shapes of the other arms.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

RADIUS_MM = 4.0
_SMOOTH = 1e-5


def classes(points: torch.Tensor, known: torch.Tensor, shape: tuple[int, ...], spacing_mm: float) -> torch.Tensor:
    """(B, D, H, W) int64: 0 background, c + 1 where landmark c is the nearest one and within 4 mm.

    Args:
        points: (B, C, 3) in voxel indices; NaN: none.
        known: (B, C) bool, which of them are drawn.
        shape: (D, H, W).
        spacing_mm: voxel size.
    """
    axes = [torch.arange(n, dtype=torch.float32, device=points.device) for n in shape]
    x, y, z = torch.nan_to_num(points.float(), nan=-1e4)[..., None].unbind(2)
    squares = (
        (axes[0] - x).square()[:, :, :, None, None]
        + (axes[1] - y).square()[:, :, None, :, None]
        + (axes[2] - z).square()[:, :, None, None, :]
    )
    squares = torch.where(known[:, :, None, None, None], squares, torch.inf)
    nearest, which = squares.min(dim=1)
    return torch.where(nearest * spacing_mm**2 <= RADIUS_MM**2, which + 1, 0)


def with_background(logits: torch.Tensor) -> torch.Tensor:
    """(B, C, ...) -> (B, C + 1, ...): the background's logit, 0, in front."""
    return torch.cat([torch.zeros_like(logits[:, :1]), logits], dim=1)


def sphere_loss(logits: torch.Tensor, points: torch.Tensor, mask: torch.Tensor, spacing_mm: float) -> torch.Tensor:
    """Dice + cross-entropy of one head, mean over the samples that have a label for it.

    As published, a head is labelled or not: a landmark that is missing in a labelled sample is background there.

    Args:
        logits: (B, C, D, H, W).
        points: (B, C, 3) in voxel indices of the logits.
        mask: (B, C), above 0 where the landmark is labelled and inside. All zeros give an exact zero.
        spacing_mm: voxel size of the logits.
    """
    labelled = (mask > 0).any(dim=1)
    full = with_background(logits)
    wanted = classes(points, mask > 0, tuple(logits.shape[2:]), spacing_mm)
    cross = F.cross_entropy(full, wanted, reduction="none").flatten(1).mean(1)
    per_sample = cross + _dice(full.softmax(1), F.one_hot(wanted, full.shape[1]).movedim(-1, 1))
    return (per_sample * labelled).sum() / labelled.sum().clamp_min(1)


def mask_loss(logit: torch.Tensor, target: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Dice + cross-entropy of a binary class: (B, 1, D, H, W) twice, and which samples (B,) are labelled."""
    labelled = mask > 0
    hard = (target > 0.5).to(logit.dtype)
    cross = F.binary_cross_entropy_with_logits(logit, hard, reduction="none").flatten(1).mean(1)
    per_sample = cross + _dice(logit.sigmoid(), hard)
    return (per_sample * labelled).sum() / labelled.sum().clamp_min(1)


def _dice(p: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """(B,) one minus the mean soft Dice of the classes."""
    overlap, size = (p * truth).flatten(2).sum(2), (p + truth).flatten(2).sum(2)
    return 1 - ((2 * overlap + _SMOOTH) / (size + _SMOOTH)).mean(1)
