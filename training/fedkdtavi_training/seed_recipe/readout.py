"""How a recipe's landmarks are read: the read-out of the core that a bundle of it names (``heads.<head>.readout``)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fedkdtavi_core import heatmap, readout
from fedkdtavi_core.volume import Grid

HEATMAPS, SPHERES = "heatmaps", "spheres"
OF_RECIPE = {HEATMAPS: readout.HEATMAP, SPHERES: readout.CENTROID}


def read(recipe: str, logits: np.ndarray, grid: Grid) -> Sequence[heatmap.Decoded | None]:
    """Landmarks from one head's logits (C, D, H, W), in the way of ``recipe``; None: not found."""
    return readout.read(OF_RECIPE[recipe], logits, grid)


def told(recipe: str) -> dict[str, str]:
    """What weights say of themselves; nothing for the usual recipe, whose digests are what they always were."""
    return {} if recipe == HEATMAPS else {"readout": OF_RECIPE[recipe]}
