"""What several looks at one landmark say together: where it is, how widely, how sure."""

from __future__ import annotations

import numpy as np

from . import heatmap, schema

_AGREE_MM = 5.0  # views that lie within this distance of their median agree
_SAME_MM = 6.0  # farther apart, the usual and the closer look mean different places
_SAME_MOUTH_MM = 3.0  # of two looks at an ostium: next to it there may be another opening
_REACH_MM = 42.0  # of 1,140 true points in phantoms the farthest from its root's centre lies at 39 mm


def combine(views: list[heatmap.Decoded], looks: int | None = None) -> tuple[np.ndarray, np.ndarray, float]:
    """Position, covariance and raw confidence of one landmark from several crops.

    Views within 5 mm of the median are averaged by their confidence; their scatter is added to the covariance, and the
    others count as no confidence at all, like the crops in which it was missing.

    Args:
        views: of the crops that show it, at least one.
        looks: number of crops; as many as views when None.
    """
    looks = len(views) if looks is None else looks
    if len(views) == 1:
        return views[0].position, views[0].covariance, views[0].confidence / looks
    positions = np.array([view.position for view in views])
    confidences = np.array([view.confidence for view in views])
    median = np.median(positions, axis=0)
    agree = np.linalg.norm(positions - median, axis=1) <= _AGREE_MM
    if not agree.any():
        return median, np.cov(positions.T), 0.0
    weights = np.where(agree, np.maximum(confidences, 1e-6), 0)
    weights /= weights.sum()
    mean = weights @ positions
    scatter = (positions - mean).T @ ((positions - mean) * weights[:, None])
    covariance = sum(weight * view.covariance for weight, view in zip(weights, views, strict=True)) + scatter
    return mean, covariance, float(confidences[agree].sum() / looks)


def within_reach(seen: heatmap.Decoded | None, middle: np.ndarray | None) -> bool:
    """Is a landmark seen, and where one may be: within 42 mm of the root's centre, if that is known?

    The corners of a crop lie farther off, and what is seen there is something else.
    """
    return seen is not None and (middle is None or bool(np.linalg.norm(seen.position - middle) <= _REACH_MM))


def closer(
    usual: tuple[np.ndarray, np.ndarray, float] | None, close: heatmap.Decoded
) -> tuple[np.ndarray, np.ndarray, float]:
    """Position, covariance and raw confidence of one landmark from the usual look and from the closer one.

    Where both mean the same place the closer one says where it is. Where they do not, the surer of the two is
    believed, with half its confidence; so is the closer one where the usual look has not seen it (None).
    """
    if usual is None:
        return close.position, close.covariance, 0.5 * close.confidence
    position, covariance, raw = usual
    if np.linalg.norm(close.position - position) <= _SAME_MM:
        return close.position, close.covariance, 0.5 * (raw + close.confidence)
    if close.confidence > raw:
        return close.position, close.covariance, 0.5 * close.confidence
    return position, covariance, 0.5 * raw


def refined(
    label_id: str, seen: tuple[np.ndarray, np.ndarray, float], last: heatmap.Decoded
) -> tuple[np.ndarray, np.ndarray, float]:
    """Position, covariance and raw confidence of one landmark from the student and from the refiner: their mean.

    On phantoms the refiner alone is nearer still (1.1 mm in the median where the mean has 1.3); on real CTs it knows
    less of what it has never seen, and the two differ from two readings as much as from each other. Farther apart than
    6 mm (an ostium: 3 mm) they mean different places, and the student is believed, with half its confidence.
    """
    position, covariance, raw = seen
    apart = last.position - position
    if np.linalg.norm(apart) > (_SAME_MOUTH_MM if label_id in schema.OSTIUM_IDS else _SAME_MM):
        return position, covariance, 0.5 * raw
    spread = np.outer(apart, apart) / 4
    return position + apart / 2, (covariance + last.covariance) / 2 + spread, 0.5 * (raw + last.confidence)
