"""A quick look at a network on held-out phantoms, cropped as in training. For choosing nothing: phantom error does
not choose a model (see ``evaluate`` for the product's way)."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import torch

from fedkdtavi_core import schema
from fedkdtavi_core.volume import Grid

from . import cache, data
from .config import TrainConfig
from .networks import LANDMARK_HEADS
from .seed_recipe.readout import read


def validate(
    network: torch.nn.Module, config: TrainConfig, paths: list[Path], out: Path, *, draws: int = 1
) -> dict[str, object]:
    """``draws`` augmented samples of every held-out case; per-case rows into ``out``, medians returned.

    Student and teacher: error per landmark in mm and raw confidence. Coarse: error of the root's centre in mm, and the
    highest probability with and without a root.
    """
    if not paths:
        return {}
    own = {"network": network.arguments}  # says what the network is given, whatever the caller's configuration says
    other = {"seed": config.seed + 1_000_003, "steps": draws * len(paths), "batch": 1}
    held_out = config.model_copy(update=own | other)
    samples = data.dataset(held_out, paths)
    rows: list[dict[str, object]] = []
    for n in range(draws * len(paths)):
        sample = samples[n]
        image = torch.from_numpy(sample["image"])[None].to(memory_format=torch.channels_last_3d)
        with torch.inference_mode():
            outputs = {name: value[0].numpy() for name, value in network(image).items()}
        path = paths[data.shuffled(held_out.seed, n, len(paths))]
        if config.task == "coarse":
            rows.append({"case": path.stem, **_coarse_row(sample, outputs, cache.load(path).spacing)})
        else:
            rows.append({"case": path.stem, **_crop_row(sample, outputs, config)})
    with out.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return _summary(rows)


def _crop_row(sample: dict, outputs: dict[str, np.ndarray], config: TrainConfig) -> dict[str, object]:
    row: dict[str, object] = {}
    index = 0
    for head in (head for head in LANDMARK_HEADS if head in outputs):
        logits = outputs[head]
        spacing = float(sample.get("voxel_mm", config.loss.spacing_mm)) * config.crop / logits.shape[1]
        grid = Grid(logits.shape[1:], np.diag([spacing, spacing, spacing, 1.0]))
        for found, label in zip(read(config.loss.recipe, logits, grid), schema.HEADS[head], strict=True):
            error = None
            if sample["mask"][index] and found is None:
                error = float("inf")
            elif sample["mask"][index]:
                error = round(float(np.linalg.norm(found.position - sample["points"][index] * spacing)), 3)
            row[f"{label}_mm"] = error
            row[f"{label}_raw"] = None if found is None else round(found.confidence, 4)
            index += 1
    for head in ("calc", "coronary"):
        if head not in outputs:
            continue
        predicted, truth = outputs[head][0] > 0, sample[head][0] > 0.5
        size = int(predicted.sum() + truth.sum())
        known = size and sample[f"{head}_mask"]
        row[f"{head}_dice"] = round(float(2 * (predicted & truth).sum() / size), 4) if known else None
    return row


def _coarse_row(sample: dict, outputs: dict[str, np.ndarray], spacing: float) -> dict[str, object]:
    probability = 1 / (1 + np.exp(-outputs["root"][0]))
    peak = np.array(np.unravel_index(int(probability.argmax()), probability.shape))
    truth = sample["root"][0]
    present = bool(truth.max() > 0)
    error = None
    if present:
        centre = np.array(np.unravel_index(int(truth.argmax()), truth.shape))
        error = round(float(np.linalg.norm(peak - centre)) * spacing, 3)
    classes = outputs["heart"].argmax(0)
    known = (sample["heart"] > 0) | (classes > 0)
    agreement = round(float((classes == sample["heart"])[known].mean()), 4) if known.any() else None
    return {
        "root_mm": error,
        "root_present": int(present),
        "score": round(float(probability.max()), 4),
        "heart": agreement,
    }


def _summary(rows: list[dict[str, object]]) -> dict[str, object]:
    summary: dict[str, object] = {"cases": len(rows)}
    for key in rows[0]:
        values = [row[key] for row in rows if row[key] is not None and key != "case"]
        if values:
            # A landmark that was not found is infinitely far off; there is nothing between it and a number.
            method = "linear" if np.isfinite(values).all() else "higher"
            shares = {"median": 50} | ({"p95": 95} if key.endswith("_mm") else {})
            for name, share in shares.items():
                value = float(np.percentile(values, share, method=method))
                summary[f"{key}_{name}"] = round(value, 3) if np.isfinite(value) else None
    if "score" in rows[0]:
        for present in (0, 1):
            scores = [row["score"] for row in rows if row["root_present"] == present]
            if scores:
                summary[f"score_{'with' if present else 'without'}_root"] = [
                    round(float(np.percentile(scores, q)), 3) for q in (5, 50, 95)
                ]
    return summary
