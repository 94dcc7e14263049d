"""A second run on a CT that a person has worked on: what was reviewed stays, the rest is the new prediction."""

from __future__ import annotations

from fedkdtavi_core.annotation import Annotation

from .labelState import REVIEWED


def keepReviewed(annotation: Annotation, before: Annotation) -> None:
    """Put the labels of ``before`` that a person has reviewed into ``annotation``, which is changed.

    Args:
        annotation: what a new run has found.
        before: the labels as they were, of the same CT.
    """
    for labelId, landmark in before.landmarks.items():
        if landmark.status in REVIEWED:
            annotation.landmarks[labelId] = landmark
    if before.calcification_status in REVIEWED:
        annotation.calcification = before.calcification
        annotation.calcification_status = before.calcification_status
    if before.contour_status in REVIEWED:
        annotation.annulus_contour = before.annulus_contour
        annotation.contour_status = before.contour_status
