"""Which landmarks may be measured: those that are there, and lie where the CT shows something."""

from __future__ import annotations

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
