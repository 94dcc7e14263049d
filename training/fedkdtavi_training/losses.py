"""What the networks are asked to do. A loss counts only what is labelled: per landmark, per mask, per class map.

Masks are weights: 1 for a true label, 0 for none, between them for a pseudo-label as sure as its teacher was.

Landmarks: spatial softmax cross-entropy against a Gaussian, plus the distance of the soft-argmax in mm (the pair that
learned in 100 steps what a binary cross-entropy had not in 1,400). Calcium: binary cross-entropy and soft Dice.
Coarse: cross-entropy and soft Dice over heart classes; the root's heatmap with the quality focal loss.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from .config import LossConfig
from .networks import LANDMARK_HEADS
from .seed_recipe import spheres

Batch = dict[str, torch.Tensor]


def landmark_loss(
    logits: torch.Tensor, target: torch.Tensor, points: torch.Tensor, mask: torch.Tensor, spacing_mm: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean cross-entropy above the target's own entropy, and mean soft-argmax error in mm, over labelled landmarks.

    Args:
        logits: (B, C, D, H, W).
        target: (B, C, D, H, W) Gaussians that sum to 1 per channel.
        points: (B, C, 3) in voxel indices of the logits.
        mask: (B, C) weight of each landmark; 0 where it is not labelled or outside the crop. All zeros give two exact
            zeros.
        spacing_mm: voxel size of the logits.
    """
    shape = logits.shape[2:]
    log_p = F.log_softmax(logits.flatten(2), dim=2)
    flat = target.flatten(2)
    entropy = -(flat * flat.clamp_min(1e-12).log()).sum(2)
    cross = -(flat * log_p).sum(2) - entropy
    p = log_p.exp().view_as(logits)
    means = []
    for axis, other in enumerate(((3, 4), (2, 4), (2, 3))):
        index = torch.arange(shape[axis], dtype=p.dtype, device=p.device)
        means.append((p.sum(dim=other) * index).sum(2))
    offset = (torch.stack(means, dim=2) - torch.nan_to_num(points)) * spacing_mm
    distance = (offset.square().sum(2) + 1.0).sqrt() - 1.0  # smooth at zero, like |x| beyond 1 mm
    count = mask.sum().clamp_min(1.0)
    return (cross * mask).sum() / count, (distance * mask).sum() / count


def calcium_loss(
    logit: torch.Tensor, target: torch.Tensor, mask: torch.Tensor, entropy: float = 10.0, dice: str = "batch"
) -> torch.Tensor:
    """Binary cross-entropy plus soft Dice over the labelled samples: (B, 1, D, H, W) twice, and weights (B,).

    The target may be a probability: 2 min(p, t) in place of 2 p t is the same for a mask, and unlike it has its
    optimum at p = t (Wang et al., Dice Semimetric Losses, MICCAI 2023).

    Args:
        entropy: weight of the cross-entropy.
        dice: ``batch``: over all samples at once, so that one without calcium has no Dice of its own to be ruined by
            one voxel; ``sample``: the mean over the samples that have calcium, so that small deposits count as much.
    """
    weight = mask.view(-1, 1, 1, 1, 1)
    count = mask.sum().clamp_min(1.0)
    bce = (F.binary_cross_entropy_with_logits(logit, target, reduction="none") * weight).sum()
    bce = bce / (count * logit[0].numel())
    p = logit.sigmoid()
    if dice == "sample":
        axes = (1, 2, 3, 4)
        size = target.sum(axes)
        each = 1 - (2 * torch.minimum(p, target).sum(axes) + 5.0) / (p.sum(axes) + size + 5.0)
        some = mask * (size > 0)
        lost = (each * some).sum() / some.sum().clamp_min(1.0)
    else:
        overlap = 2 * (torch.minimum(p, target) * weight).sum() + 10.0
        lost = 1 - overlap / ((p * weight).sum() + (target * weight).sum() + 10.0)
        lost = lost * mask.sum().clamp_max(1.0)  # a batch of uncertain labels alone counts for less
    return torch.where(mask.sum() > 0, entropy * bce + lost, 0.0 * bce)


def heart_loss(logits: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
    """Cross-entropy plus mean soft Dice of the structures: (B, 8, D, H, W) logits and (B, D, H, W) int64 classes."""
    cross = F.cross_entropy(logits, classes)
    p = logits.softmax(1)
    truth = F.one_hot(classes, logits.shape[1]).movedim(-1, 1).to(p.dtype)
    axes = (0, 2, 3, 4)
    overlap, size = (p * truth).sum(axes), (p + truth).sum(axes)
    dice = 1 - (2 * overlap + 10.0) / (size + 10.0)
    return cross + dice[1:].mean()


def heart_head_loss(logits: torch.Tensor, classes: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """As :func:`heart_loss` for a head at half resolution, over the samples whose classes are known.

    Args:
        logits: (B, 8, D, H, W).
        classes: (B, 2 D, 2 H, 2 W) int64; a voxel of the head is asked for the shares of the eight voxels it covers.
        mask: (B,) 1 where the classes are known, else 0; all zeros give an exact zero.
    """
    weight = mask.view(-1, 1, 1, 1, 1)
    truth = F.one_hot(classes, logits.shape[1]).movedim(-1, 1).to(logits.dtype)
    truth = F.avg_pool3d(truth, 2) * weight
    cross = -(truth * logits.log_softmax(1)).sum() / (mask.sum().clamp_min(1.0) * logits[0, 0].numel())
    p = logits.softmax(1) * weight
    axes = (0, 2, 3, 4)
    overlap, size = torch.minimum(p, truth).sum(axes), (p + truth).sum(axes)
    dice = 1 - (2 * overlap + 10.0) / (size + 10.0)
    return cross + dice[1:].mean()


def root_loss(logit: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Quality focal loss (Li et al., NeurIPS 2020, beta 1) against a Gaussian of height 1, per Gaussian's mass.

    Its minimum is at sigmoid(logit) = target, so that the peak's height stays a measure of presence; a volume without
    a root has an all-zero target and counts alike.
    """
    bce = F.binary_cross_entropy_with_logits(logit, target, reduction="none")
    focus = (logit.sigmoid() - target).abs().detach()
    mass = 126.0  # voxels: (2 pi)^(3/2) sigma^3 at sigma 2
    return (focus * bce).sum() / (mass * logit.shape[0])


def total(task: str, outputs: Batch, batch: Batch, weights: LossConfig) -> tuple[torch.Tensor, dict[str, float]]:
    """The loss of one batch, and its parts for the curve. A head whose weight is 0 takes no part at all."""
    parts: dict[str, torch.Tensor] = {}
    if task == "coarse":
        parts["heart"] = weights.heart * heart_loss(outputs["heart"], batch["heart"])
        parts["root"] = weights.root * root_loss(outputs["root"], batch["root"])
    else:
        start = 0
        for head in LANDMARK_HEADS if task != "calcium" else ():
            logits = outputs[head]
            these = slice(start, start + logits.shape[1])
            start = these.stop
            scale = getattr(weights, head)
            if not scale:
                continue
            spacing = weights.spacing_mm * batch["image"].shape[2] / logits.shape[2]
            if weights.recipe == "spheres":
                points, mask = batch["points"][:, these], batch["mask"][:, these]
                parts[head] = scale * spheres.sphere_loss(logits, points, mask, spacing)
                continue
            cross, distance = landmark_loss(
                logits, batch["target"][:, these], batch["points"][:, these], batch["mask"][:, these], spacing
            )
            parts[head] = scale * cross
            parts[f"{head}_mm"] = scale * weights.distance * distance
        if weights.calc and "calc" in outputs:
            labels = batch["calc"], batch["calc_mask"]
            if weights.recipe == "spheres":
                lost = spheres.mask_loss(outputs["calc"], *labels)
            else:
                lost = calcium_loss(outputs["calc"], *labels, weights.calc_entropy, weights.calc_dice)
            parts["calc"] = weights.calc * lost
        if weights.heart and "heart" in outputs:
            parts["heart"] = weights.heart * heart_head_loss(outputs["heart"], batch["heart"], batch["heart_mask"])
        if weights.coronary and "coronary" in outputs:
            mask = batch["coronary_mask"]
            parts["coronary"] = weights.coronary * calcium_loss(outputs["coronary"], batch["coronary"], mask)
    loss = sum(parts.values())
    return loss, {name: float(value.detach()) for name, value in parts.items()}
