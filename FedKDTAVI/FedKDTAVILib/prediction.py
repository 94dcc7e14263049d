"""The prediction as JSON, kept beside the labels so that a review can go back to it."""

from __future__ import annotations

from typing import Any

import numpy as np

from fedkdtavi_core.annotation import Annotation, Landmark, Status

from .caseState import packedMask
from .transforms import transformed


def predicted(annotation: Annotation, toLocal: np.ndarray) -> dict[str, Any]:
    """The labels of an annotation that nobody has reviewed, as JSON, through a (4, 4) matrix to the CT's own RAS mm."""
    result: dict[str, Any] = {
        labelId: _kept(predictedLandmark(labelId, _kept(landmark), toLocal))
        for labelId, landmark in annotation.landmarks.items()
        if landmark.status is Status.PREDICTED
    }
    if annotation.calcification_status is Status.PREDICTED:
        result["calcification"] = packedMask(annotation.calcification)
    if annotation.contour_status is Status.PREDICTED:
        contour = annotation.annulus_contour
        result["annulus_contour"] = None if contour is None else transformed(toLocal, contour).tolist()
    return result


def predictedLandmark(labelId: str, kept: dict[str, Any], matrix: np.ndarray) -> Landmark:
    """One landmark of :func:`predicted`, through a (4, 4) matrix to other RAS mm."""
    rotation, covariance = matrix[:3, :3], kept.get("covariance")
    return Landmark(
        labelId,
        None if kept["position"] is None else transformed(matrix, kept["position"]),
        kept["confidence"],
        None if covariance is None else rotation @ np.array(covariance, float) @ rotation.T,
        Status.PREDICTED,
        [str(flag) for flag in kept["flags"]],
    )


def movedPrediction(prediction: dict[str, Any], matrix: np.ndarray) -> dict[str, Any]:
    """What :func:`predicted` made, through a (4, 4) matrix to other RAS mm."""
    result = dict(prediction)
    for labelId, kept in prediction.items():
        if labelId == "annulus_contour":
            result[labelId] = None if kept is None else transformed(matrix, kept).tolist()
        elif labelId != "calcification":
            result[labelId] = _kept(predictedLandmark(labelId, kept, matrix))
    return result


def _kept(landmark: Landmark) -> dict[str, Any]:
    return {
        "position": None if landmark.position is None else landmark.position.tolist(),
        "confidence": landmark.confidence,
        "covariance": None if landmark.covariance is None else landmark.covariance.tolist(),
        "flags": list(landmark.flags),
    }
