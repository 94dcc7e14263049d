"""The chain of digests: sites' data -> teachers -> pseudo-labels -> student. It is kept with the weights themselves."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from .. import train
from .checkpoint import Checkpoint
from .config import Stage


def of_stage(stage: Stage, result: Checkpoint, **parents: Any) -> dict[str, Any]:
    """What a stage's weights were made of.

    Args:
        parents: teachers and pseudo-labels they were taught by, as digests.
    """
    averaged = [row for row in result.history if row["outcome"] == "averaged"]
    seen: dict[str, dict[str, Any]] = {}
    for row in averaged:
        weights = {key[7:]: value for key, value in row.items() if key.startswith("weight_")}
        seen[row["site"]] = {"data": row["digest"], "head_weights": weights}
    left_out = [row for row in result.history if row["outcome"] in ("failed", "refused")]
    return {
        "digest": train.digest(result.weights),
        "stage": stage.name,
        "configuration": stage.digest(),
        "first_weights": result.identity["first weights"],
        "rounds": result.rounds,
        "taught": [head for head in stage.heads if any(f"weight_{head}" in row for row in averaged)],
        "sites": seen,
        # Without the reason, which may name a site's files: this travels with the weights, the log does not.
        "left_out": [f"round {row['round']}: {row['site']}: {row['outcome']}" for row in left_out],
        "frozen": result.frozen,
        **train.told(stage.training.loss, stage.training.crop, stage.training.closer_look_mm),
        **({"held_out": stage.held_out} if stage.held_out else {}),
        **parents,
    }


def chain_digest(links: Mapping[str, Any]) -> str:
    """SHA-256 over a chain, whatever order its keys are in."""
    return hashlib.sha256(json.dumps(links, sort_keys=True).encode()).hexdigest()
