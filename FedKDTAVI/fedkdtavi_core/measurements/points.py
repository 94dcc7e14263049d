"""Which landmarks may be measured: those that are there, and lie where the CT shows something."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..annotation import Annotation, Status
from ..volume import Grid

MISSING = "is missing"
OUTSIDE = "lies outside the CT"


def landmark_points(annotation: Annotation, grid: Grid | None = None) -> dict[str, np.ndarray | None]:
    """id -> (3,) RAS mm or None, for every landmark; absent or not finite counts as missing.

    With the CT's ``grid``, so does a point outside its voxels: the CT says nothing there, whoever has set it.
    """
    points: dict[str, np.ndarray | None] = {}
    for label_id, landmark in annotation.landmarks.items():
        position = None if landmark.position is None else np.asarray(landmark.position, float)
        usable = landmark.status is not Status.ABSENT and position is not None and bool(np.isfinite(position).all())
        usable = usable and (grid is None or bool(grid.contains(position)))
        points[label_id] = position if usable else None
    return points


def outside_points(annotation: Annotation, grid: Grid) -> tuple[str, ...]:
    """Ids of the landmarks that are there, but outside the CT's voxels."""
    inside = landmark_points(annotation, grid)
    return tuple(i for i, point in landmark_points(annotation).items() if point is not None and inside[i] is None)


def lacking(noun: str, whys: Mapping[str, str]) -> str:
    """Names and why each cannot be used, in words: "the LCC and NCC hinge points are missing"."""
    phrases = []
    for why in dict.fromkeys(whys.values()):
        names = " and ".join(name for name, own in whys.items() if own == why)
        several = why.replace("is ", "are ", 1) if why.startswith("is ") else why.replace("lies ", "lie ", 1)
        phrases.append(f"the {names} {noun} {why}" if names in whys else f"the {names} {noun}s {several}")
    return "; ".join(phrases)
