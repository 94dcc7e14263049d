"""True labels and pseudo-labels of one case as one: what a person has set, or has called absent, always wins."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fedkdtavi_core import schema

from .. import cache
from ..data import Labels
from . import config
from .pseudo_store import FULL, Pseudo


@dataclass(frozen=True)
class Merged:
    """Labels of one case, and which landmarks (7,) and calcium come from a person."""

    labels: Labels
    true_points: np.ndarray
    true_calc: bool


def row_slice(head: str) -> slice:
    """The rows of a landmark head in schema order."""
    rows = [schema.LANDMARK_IDS.index(label_id) for label_id in schema.HEADS[head]]
    return slice(rows[0], rows[-1] + 1)


def merge(case: cache.Case, pseudo: Pseudo | None, settings: config.Pseudo | None) -> Merged:
    """The labels of ``case``; where it has none, the pseudo-labels that are certain and plausible enough.

    A soft pseudo-label weighs its certainty, at most ``settings.cap``, and keeps its spread. A hard one weighs 1.
    """
    labels = Labels.of(case)
    true_points = labels.weights > 0
    if pseudo is None or settings is None:
        return Merged(labels, true_points, case.calc_labelled)
    usable = (pseudo.confidence >= settings.min_certainty) & (pseudo.plausibility >= settings.min_plausibility)
    absent = np.isin(schema.LANDMARK_IDS, case.absent)
    usable &= np.isfinite(pseudo.mean).all(1) & ~true_points & ~absent
    soft = settings.kind == "soft"
    certainty = np.minimum(pseudo.confidence, settings.cap) if soft else np.ones(len(usable))
    covariance = np.where((usable & soft)[:, None, None], pseudo.covariance, 0.0)
    points = np.where(usable[:, None], pseudo.mean, case.points)
    weights = np.where(true_points, 1.0, np.where(usable, certainty, 0.0)).astype(np.float32)
    calc, scale, calc_weight = case.calc, 1.0, 1.0
    if not case.calc_labelled:
        known = pseudo.calc is not None and pseudo.calc_certainty >= settings.min_certainty
        known = known and "calcification" not in case.absent
        if not known:
            calc_weight = 0.0
        elif soft:
            calc, scale, calc_weight = pseudo.calc, float(FULL), min(pseudo.calc_certainty, settings.cap)
        else:
            calc = (2 * pseudo.calc.astype(np.int32) > FULL).astype(np.uint8)
    merged = Labels(points, weights, covariance, calc, scale, calc_weight)
    return Merged(merged, true_points, case.calc_labelled)
