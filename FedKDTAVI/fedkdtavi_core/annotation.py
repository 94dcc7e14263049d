"""What is known about one CT: landmarks with confidence, calcification, contour, and where it came from."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from . import schema

if TYPE_CHECKING:
    import numpy as np


class Status(StrEnum):
    """What is known of one label. Only CORRECTED and CONFIRMED are ground truth."""

    ABSENT = "absent"  # a reviewer says: not there, or cannot be seen
    PREDICTED = "predicted"
    CORRECTED = "corrected"
    CONFIRMED = "confirmed"


@dataclass
class Landmark:
    """One landmark of the schema.

    Attributes:
        id: row of the schema.
        position: (3,) RAS mm, or None when it is missing.
        confidence: 0..1, calibrated to P(error < 5 mm) on held-out phantoms; None for points a person set.
        covariance: (3, 3) mm^2 of the prediction, or None.
        status: see :class:`Status`; a missing prediction is PREDICTED with ``position`` None.
        flags: short sentences of the plausibility check, worst first ("below the annulus plane").
    """

    id: str
    position: np.ndarray | None = None
    confidence: float | None = None
    covariance: np.ndarray | None = None
    status: Status = Status.PREDICTED
    flags: list[str] = field(default_factory=list)


@dataclass
class Annotation:
    """All labels of one CT.

    Attributes:
        landmarks: id -> Landmark, always one entry for every landmark of the schema, in its order.
        calcification: uint8 (i, j, k) on the CT's own grid, or None when it was not assessed.
        annulus_contour: (N, 3) RAS mm, closed (last point joins the first), or None when not measurable.
        suggestion: uint8 on ``suggestion_affine``, or None: the region that the student proposes, in which a threshold
            rule decides; or, of a calcium network, voxels of the CT itself, in a box around them.
        provenance: JSON-able dict: bundle digest, versions, CT hash, times, coarse result.
        warnings: sentences that belong to the whole CT.
    """

    landmarks: dict[str, Landmark] = field(default_factory=lambda: {i: Landmark(i) for i in schema.LANDMARK_IDS})
    calcification: np.ndarray | None = None
    annulus_contour: np.ndarray | None = None
    suggestion: np.ndarray | None = None
    suggestion_affine: np.ndarray | None = None
    calcification_status: Status = Status.PREDICTED
    contour_status: Status = Status.PREDICTED
    provenance: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def point(self, label_id: str) -> np.ndarray | None:
        """Position of one landmark in RAS mm, or None when it is missing or absent."""
        return self.landmarks[label_id].position
