"""The way of a CT: coarse look, fine look, plausibility, calcium, contour -> :class:`~.annotation.Annotation`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from time import perf_counter
from typing import Any

import numpy as np

from . import __version__, coarse, fine, schema
from .annotation import Annotation, Landmark, Status
from .bundle import Bundle
from .errors import NoRootError
from .progress import SILENT, Progress
from .volume import Volume

CALC_PROBABILITY = 0.5
# Of 196 phantom CTs, roots that were really found have a mean plausibility of at least 0.48 (one prosthesis: 0.18, with
# a score that asks for no second look); of what the coarse look took for a root in CTs without one, three in four stay
# under 0.3.
LEAST_PLAUSIBLE = 0.3
PROSTHESIS = (
    "There seems to be a prosthetic valve: the landmarks were learned on few of these, and its frame hides the annulus "
    "and the calcium"
)
_REVIEWED = (Status.CORRECTED, Status.CONFIRMED, Status.ABSENT)


def annotate(
    volume: Volume,
    bundle: Bundle,
    *,
    device: str = "auto",
    points: Mapping[str, Landmark | np.ndarray | None] | None = None,
    progress: Progress = SILENT,
) -> Annotation:
    """Annotate one CT.

    Args:
        volume: the CT.
        bundle: verified networks.
        device: ``auto``, ``cpu`` or ``cuda``.
        points: landmarks a person has set, by id: a :class:`Landmark` that is corrected, confirmed or absent, or a
            position (3,) in RAS mm, which counts as corrected. They stand as they are; what is not in here, or
            is merely predicted, is predicted anew. With all three hinge points the root is where they say.
        progress: reports and cancels, between any two steps.

    Raises:
        NoRootError: the CT shows no aortic root, or not all of it, or what was found does not look like one.
        BundleError: a network does not give what it should.
        Cancelled: the person asked to stop.
    """
    from .labels.record import volume_digest

    seconds: dict[str, float] = {}
    reviewed = _reviewed(points or {})
    with ThreadPoolExecutor(1) as beside:
        digest = beside.submit(volume_digest, volume)  # beside the networks: hashing holds no lock
        with _timed(seconds, "coarse"):
            center, seen = _center(volume, bundle, device, reviewed, progress.part(0.0, 0.4))
        close = fine.predict(volume, bundle, center, device, progress.part(0.4, 0.75))
        seconds |= close.seconds

        annotation = Annotation()
        for label_id, prediction in close.predictions.items():
            annotation.landmarks[label_id] = Landmark(
                label_id, prediction.position, prediction.confidence, prediction.covariance
            )
        _look_twice(volume, annotation, seen.get("score"), bundle.metadata["thresholds"].get("root_sure"))
        annotation.landmarks |= reviewed
        if close.calcification is not None:
            suggested = _suggested(volume, bundle, close.calcification, annotation)
            annotation.suggestion, annotation.suggestion_affine = suggested
        annotation.provenance = _provenance(volume, bundle, seen, close)
        annotation.warnings += annotation.provenance["notes"]
        derive(volume, annotation, progress=progress.part(0.75, 1.0), seconds=seconds)
        _flag_doubtful(annotation, bundle.metadata["thresholds"].get("min_confidence"), close.predictions)
        annotation.provenance["ct"]["sha256"] = digest.result()
    annotation.provenance["timings"] = {stage: round(value, 4) for stage, value in seconds.items()}
    return annotation


def derive(
    volume: Volume,
    annotation: Annotation,
    *,
    progress: Progress = SILENT,
    seconds: dict[str, float] | None = None,
) -> None:
    """What follows from the landmarks: plausibility flags, calcium on the CT's own voxels, the annulus contour.

    Changes ``annotation`` in place. Calcification and contour that a person has reviewed stay as they are.

    Args:
        volume: the CT.
        annotation: with landmarks and, if there is one, the network's suggestion of calcification.
        progress: reports and cancels.
        seconds: receives the time of each stage.
    """
    from . import plausibility

    seconds = {} if seconds is None else seconds
    progress.step(0.0, "Checking the landmarks")
    with _timed(seconds, "plausibility"):
        plausibility.check_on(volume, annotation)
    progress.step(0.3, "Deciding on calcium")
    with _timed(seconds, "calcium"):
        if annotation.calcification_status not in _REVIEWED:
            _decide_calcium(volume, annotation)
    progress.step(0.6, "Tracing the annulus")
    with _timed(seconds, "contour"):
        if annotation.contour_status not in _REVIEWED:
            _trace_annulus(volume, annotation)
    progress.step(1.0, "Annotated")


def _reviewed(points: Mapping[str, Landmark | np.ndarray | None]) -> dict[str, Landmark]:
    """Landmarks that a person has set, as copies; raises KeyError for an id that is not in the schema."""
    kept: dict[str, Landmark] = {}
    for label_id, given in points.items():
        schema.by_id(label_id)
        if isinstance(given, Landmark):
            if given.status in _REVIEWED:
                absent = given.status is Status.ABSENT or given.position is None
                position = None if absent else np.array(given.position, float)
                kept[label_id] = Landmark(label_id, position, status=given.status)
        elif given is not None:
            kept[label_id] = Landmark(label_id, np.array(given, float), status=Status.CORRECTED)
    return kept


def _center(
    volume: Volume, bundle: Bundle, device: str, reviewed: dict[str, Landmark], progress: Progress
) -> tuple[np.ndarray, dict[str, Any]]:
    """The root's centre (RAS mm), and how it was found."""
    given = fine.root_center({i: landmark.position for i, landmark in reviewed.items()})
    if given is not None:
        if not volume.grid.contains(given):
            where = volume.info.get("path", "The CT")
            raise NoRootError(f"{where}: the given hinge points lie outside this CT; give those of this CT.")
        return given, {"source": "given hinge points", "center_ras": _rounded(given)}
    seen = coarse.locate(volume, bundle, device, progress)
    return seen.center_ras, {
        "source": "coarse network",
        "center_ras": _rounded(seen.center_ras),
        "score": round(seen.score, 4),
        "margin_mm": round(float(seen.margin_mm), 1),
        "heart_volume_ml": {name: round(value, 1) for name, value in seen.heart_volume_ml.items()},
        "device": seen.device,
        "notes": seen.notes,
    }


def _look_twice(volume: Volume, predicted: Annotation, score: float | None, sure: float | None) -> None:
    """Where the coarse look was not sure of the root, the landmarks together must look like one.

    Raises NoRootError when they do not. Landmarks that a person has set take no part: they prove nothing about the
    network's.
    """
    from .plausibility import FLAG_Z, plausibility_score, relations

    if score is None or sure is None or score >= sure:
        return
    plausible = float(np.mean(list(plausibility_score(predicted).values())))
    if plausible >= LEAST_PLAUSIBLE:
        return
    found = relations({i: landmark.position for i, landmark in predicted.landmarks.items()})
    worst = max(found, key=lambda relation: abs(relation.z), default=None)
    why = f" ({worst.words})" if worst is not None and abs(worst.z) >= FLAG_Z else ""
    raise NoRootError(
        f"{volume.info.get('path', 'The CT')}: what may be an aortic root (score {score:.2f}) does not have the shape "
        f"of one{why}; if the scan reaches from the left ventricle to the ascending aorta, set the three hinge points "
        "by hand."
    )


def _suggested(
    volume: Volume, bundle: Bundle, seen: fine.Calcification, annotation: Annotation
) -> tuple[np.ndarray, np.ndarray]:
    """A network's suggestion, uint8, and its affine: a region on the student's crop, or voxels of the CT itself."""
    from .calcium_voxels import decided
    from .measurements import landmark_points
    from .measurements.blood import root_blood
    from .measurements.plane import annulus_plane
    from .measurements.row import NotMeasurable

    if seen.model != "calcium":
        least = bundle.metadata["thresholds"].get("calc_probability", CALC_PROBABILITY)
        return (seen.probability >= least).astype(np.uint8), seen.grid.affine
    points = landmark_points(annotation)
    try:
        blood = root_blood(volume, annulus_plane(points), points)
    except NotMeasurable:
        blood = None
    return decided(volume, seen.probability, seen.grid, blood, _calcium_score(bundle))


def _calcium_score(bundle: Bundle) -> float:
    return float(bundle.metadata["thresholds"].get("calcium_score", CALC_PROBABILITY))


def _provenance(volume: Volume, bundle: Bundle, seen: dict[str, Any], close: fine.FineResult) -> dict[str, Any]:
    metadata = bundle.metadata
    by_network = close.calcification is not None and close.calcification.model == "calcium"
    ct = {key: volume.info[key] for key in ("path", "format", "series", "phase") if volume.info.get(key) is not None}
    return {
        "code_version": __version__,
        "bundle": {"digest": bundle.digest, "name": metadata["name"], "version": metadata["version"]},
        "trained_on": metadata["trained_on"],
        "ct": {**ct, "shape": list(volume.grid.shape), "spacing_mm": _rounded(volume.spacing)},
        "device": close.device,
        "opset": {model: max(scan.opsets.values()) for model, scan in bundle.scans.items()},
        "coarse": seen,
        "fine": {
            "crop_centers_ras": [_rounded(center) for center in close.centers],
            "views": 1 + len(metadata["preprocessing"].get("views", [])),
            "closer_look_mm": metadata["preprocessing"].get("closer_look_mm"),
            "aligned_look": metadata["preprocessing"].get("aligned_look"),
            "calcium_look": metadata["preprocessing"].get("calcium_look"),
            "calcium_score": _calcium_score(bundle) if by_network else None,
            "raw_confidence": {i: round(one.raw, 4) for i, one in close.predictions.items()},
            "apart_mm": {i: round(one.apart_mm, 2) for i, one in close.predictions.items() if one.apart_mm is not None},
            "notes": close.notes,
        },
        "notes": list(dict.fromkeys([*seen.get("notes", []), *close.notes])),
    }


def _decide_calcium(volume: Volume, annotation: Annotation) -> None:
    from . import calcium

    # The published thresholds are for the protocols of their papers. Within 3 mm of the true deposits of 24 phantoms
    # (soft to sharp kernels), Dice against the truth was 0.81 with half of the peak, 0.60 with lumen + 100 HU, 0.69
    # with 850 HU; for kernels outside the training's ranges 0.60, 0.50 and 0.
    by_network = annotation.provenance.get("fine", {}).get("calcium_score") is not None
    result = calcium.decide(
        volume,
        annotation.suggestion,
        annotation.suggestion_affine,
        annotation.landmarks,
        rule=calcium.NETWORK if by_network else calcium.PEAK_SHARE,
    )
    annotation.calcification = result.mask
    annotation.provenance["calcium"] = result.to_dict()
    # Derived anew, it is said once, or no more.
    annotation.warnings = [words for words in annotation.warnings if words != PROSTHESIS]
    annotation.warnings += [PROSTHESIS] if result.refused == calcium.FRAME else []


def _trace_annulus(volume: Volume, annotation: Annotation) -> None:
    from .measurements import annulus_contour, landmark_points
    from .measurements.plane import annulus_plane
    from .measurements.row import NotMeasurable

    annotation.annulus_contour = None
    try:
        found = annulus_contour(volume, annulus_plane(landmark_points(annotation, volume.grid)))
    except NotMeasurable as error:
        annotation.provenance["contour"] = {"reason": str(error)}
        return
    annotation.annulus_contour = found.points
    annotation.provenance["contour"] = {"reason": found.reason, "warning": found.warning}


def _flag_doubtful(annotation: Annotation, least: float | None, predictions: Mapping[str, fine.Prediction]) -> None:
    """Say where the networks are not sure; a doubtful landmark stays, since a person has to look at it."""
    from .plausibility import UNCERTAIN

    for label_id, landmark in annotation.landmarks.items():
        if landmark.position is None or landmark.confidence is None:
            continue
        seen = predictions.get(label_id)
        if seen is not None and seen.torn(label_id):
            landmark.flags.append(f"{UNCERTAIN}: two looks put it {seen.apart_mm:.0f} mm apart, check this point")
        elif least is not None and landmark.confidence < least:
            landmark.flags.append(f"{UNCERTAIN}: confidence {landmark.confidence:.2f}, check this point")


def _rounded(values: np.ndarray) -> list[float]:
    return [round(float(value), 2) for value in values]


@contextmanager
def _timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    start = perf_counter()
    yield
    seconds[stage] = seconds.get(stage, 0.0) + perf_counter() - start
