"""``configs/metadata.json``: what a bundle says of itself, and whether this version can follow it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from .. import intensity, readout, schema
from ..errors import BundleError

# 2: a head may say how it is read. 3: the student may be asked to look twice. 4: a refiner may look along the root's
# axes. 5: a network of its own may look for calcium. A bundle that needs none of these stays a 1, which older programs
# can follow.
BUNDLE_VERSION, WITH_READOUTS, WITH_CLOSER_LOOK, WITH_ALIGNED_LOOK, WITH_CALCIUM_LOOK = KNOWN_BUNDLE_VERSIONS = (
    1, 2, 3, 4, 5,
)  # fmt: skip
KNOWN_SCHEMA_VERSIONS = (schema.SCHEMA_VERSION,)
TRAINED_ON = "synthetic phantoms; not for clinical use"
INTENDED_USE = "Research on TAVI planning from contrast-enhanced cardiac CT. Not for clinical use."

# What each output head may give, in the order of its channels.
HEADS: dict[str, tuple[str, ...]] = {**schema.HEADS, "heart": schema.HEART_CLASSES}
STUDENT_HEADS = tuple(schema.HEADS)
COARSE_OUTPUTS = ("heart", "root")
INPUT = "image"

THRESHOLDS: dict[str, tuple[float, float]] = {  # name -> least and greatest value that make sense
    "root_score": (0.0, 1.0),  # coarse: the root's peak at least this
    "root_sure": (0.0, 1.0),  # coarse: a peak under this needs landmarks that look like a root
    "heart_ml": (0.0, 5000.0),  # coarse: heart classes together at least this
    "root_margin_mm": (0.0, 60.0),  # coarse: root centre at least this far inside the CT
    "calc_probability": (0.0, 1.0),  # student: voxels above this are suggested as calcification
    "calcium_score": (0.05, 0.95),  # with a calcium network: a CT's voxel is calcium from this score on
    "min_confidence": (0.0, 1.0),  # landmarks below this get a warning
}


def new(
    name: str,
    version: str,
    *,
    thresholds: Mapping[str, float],
    calibration: Mapping[str, Mapping[str, list[float]]],
    heads: Mapping[str, tuple[str, ...]] | None = None,
    readouts: Mapping[str, str] | None = None,
    coarse_spacing_mm: float = 4.0,
    crop_size: int = 64,
    crop_spacing_mm: float = 1.25,
    recenter_passes: int = 1,
    views: list[list[float]] | None = None,
    closer_look_mm: float | None = None,
    aligned_look: Mapping[str, float] | None = None,
    calcium_look: Mapping[str, float] | None = None,
    intended_use: str = INTENDED_USE,
    trained_on: str = TRAINED_ON,
    **further: Any,
) -> dict[str, Any]:
    """Metadata as this version writes it, checked.

    Args:
        name, version: of the model.
        thresholds: see :data:`THRESHOLDS`.
        calibration: head -> {"raw": rising confidences, "p_within_5mm": P(error < 5 mm) at each}.
        heads: head -> ids of its channels; all heads of the schema when None.
        readouts: landmark head -> how it is read, one of :data:`~..readout.READOUTS`; ``heatmap`` when not given.
        coarse_spacing_mm, crop_size, crop_spacing_mm, recenter_passes: how the networks are fed.
        views: (V, 3) offsets in RAS mm of further crops that are averaged; none by default.
        closer_look_mm: voxels of a second, finer crop that the student has learned to read; none by default.
        aligned_look: ``size`` (voxels) and ``spacing_mm`` of the crop along the root's axes that the bundle's refiner
            is given; None without a refiner.
        calcium_look: the same of the crop around the root that the bundle's calcium network is given; None without.
        further: other JSON-able entries.

    Raises:
        BundleError: an entry is not one that :func:`check` accepts.
    """
    heads = dict(HEADS) if heads is None else dict(heads)
    low, high = intensity.CLIP_HU
    shape = [1, 1, crop_size, crop_size, crop_size]
    told = {head: how for head, how in (readouts or {}).items() if how != readout.HEATMAP}
    needed = {
        WITH_CALCIUM_LOOK: calcium_look,
        WITH_ALIGNED_LOOK: aligned_look,
        WITH_CLOSER_LOOK: closer_look_mm,
        WITH_READOUTS: told or None,
    }
    metadata: dict[str, Any] = {
        "bundle_version": max((one for one, what in needed.items() if what is not None), default=BUNDLE_VERSION),
        "schema_version": schema.SCHEMA_VERSION,
        "name": name,
        "version": version,
        "task": "Landmarks and calcification of the aortic root",
        "intended_use": intended_use,
        "trained_on": trained_on,
        "heads": {
            head: {"outputs": list(ids), **({"readout": told[head]} if head in told else {})}
            for head, ids in heads.items()
        },
        "preprocessing": {
            "coarse_spacing_mm": coarse_spacing_mm,
            "crop_size": crop_size,
            "crop_spacing_mm": crop_spacing_mm,
            "recenter_passes": recenter_passes,
            "views": views or [],
            **({} if closer_look_mm is None else {"closer_look_mm": closer_look_mm}),
            **({} if aligned_look is None else {"aligned_look": dict(aligned_look)}),
            **({} if calcium_look is None else {"calcium_look": dict(calcium_look)}),
            "clip": [low, high],
            "shift": intensity.SHIFT_HU,
            "scale": intensity.SCALE_HU,
        },
        "thresholds": dict(thresholds),
        "calibration": {head: dict(table) for head, table in calibration.items()},
        "network_data_format": {
            "inputs": {INPUT: {"type": "image", "format": "hounsfield", "num_channels": 1, "spatial_shape": shape[2:]}},
            "outputs": {
                head: {"type": _output_type(head, told), "num_channels": len(ids)} for head, ids in heads.items()
            },
        },
        **further,
    }
    if unknown := sorted(set(told) - set(heads)):
        raise BundleError(f"metadata: a read-out is given for {unknown[0]!r}, which is none of its heads.")
    check(metadata, "metadata")
    return metadata


def readouts(metadata: Mapping[str, Any]) -> dict[str, str]:
    """Landmark head -> how checked metadata says it is read."""
    heads = metadata["heads"]
    return {head: heads[head].get("readout", readout.HEATMAP) for head in schema.LANDMARK_HEADS if head in heads}


def parse(content: bytes, where: str) -> dict[str, Any]:
    """JSON -> checked metadata. Raises BundleError naming ``where`` and the entry."""
    try:
        metadata = json.loads(content, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{where}: this is no valid JSON ({error}); get the bundle again.") from None
    check(metadata, where)
    return metadata


def check(metadata: Any, where: str) -> None:
    """Refuse metadata that this version cannot follow; the sentence names ``where`` and the entry."""
    if not isinstance(metadata, dict):
        raise BundleError(f"{where}: it must be one JSON object.")
    for key, known in (("bundle_version", KNOWN_BUNDLE_VERSIONS), ("schema_version", KNOWN_SCHEMA_VERSIONS)):
        value = metadata.get(key)
        if isinstance(value, bool) or value not in known:
            versions = ", ".join(map(str, known))
            raise BundleError(f"{where}: {key} is {value!r}, known are {versions}; update FedKDTAVI or the bundle.")
    for key in ("name", "version", "intended_use", "trained_on"):
        if not isinstance(metadata.get(key), str) or not metadata[key].strip():
            raise BundleError(f"{where}: {key} must be a text.")
    for key in ("heads", "preprocessing", "thresholds", "calibration", "network_data_format"):
        if not isinstance(metadata.get(key), dict):
            raise BundleError(f"{where}: {key} must be an object.")
    _check_heads(metadata["heads"], where)
    _check_readouts(metadata, where)
    _check_preprocessing(metadata["preprocessing"], where)
    needs = {"closer_look_mm": WITH_CLOSER_LOOK, "aligned_look": WITH_ALIGNED_LOOK, "calcium_look": WITH_CALCIUM_LOOK}
    for key, least in needs.items():
        if key in metadata["preprocessing"] and metadata["bundle_version"] < least:
            raise BundleError(f"{where}: preprocessing.{key} needs bundle_version {least}.")
    _check_thresholds(metadata["thresholds"], where)
    _check_calibration(metadata["calibration"], where)


def _check_heads(heads: dict[str, Any], where: str) -> None:
    for head, entry in heads.items():
        if head not in HEADS:
            raise BundleError(f"{where}: the head {head!r} is not one of {', '.join(HEADS)}.")
        outputs = entry.get("outputs") if isinstance(entry, dict) else None
        if not isinstance(outputs, list) or not outputs:
            raise BundleError(f"{where}: heads.{head}.outputs must be a list of label ids.")
        for output in outputs:
            if output not in HEADS[head]:
                raise BundleError(f"{where}: heads.{head} names {output!r}, known are {', '.join(HEADS[head])}.")
        if len(set(outputs)) < len(outputs):
            raise BundleError(f"{where}: heads.{head} names a label twice.")
    if not any(head in heads for head in STUDENT_HEADS):
        raise BundleError(f"{where}: heads names none of {', '.join(STUDENT_HEADS)}.")
    if "heart" in heads and tuple(heads["heart"]["outputs"]) != schema.HEART_CLASSES:
        raise BundleError(f"{where}: heads.heart must be the classes {', '.join(schema.HEART_CLASSES)} in this order.")


def _check_readouts(metadata: dict[str, Any], where: str) -> None:
    for head, entry in metadata["heads"].items():
        if "readout" not in entry:
            continue
        if head not in schema.LANDMARK_HEADS:
            raise BundleError(
                f"{where}: heads.{head}.readout: only {', '.join(schema.LANDMARK_HEADS)} are read as landmarks."
            )
        if entry["readout"] not in readout.READOUTS:
            known = ", ".join(readout.READOUTS)
            raise BundleError(f"{where}: heads.{head}.readout is {entry['readout']!r}, known are {known}.")
        if metadata["bundle_version"] < WITH_READOUTS and entry["readout"] != readout.HEATMAP:
            raise BundleError(f"{where}: heads.{head}.readout needs bundle_version {WITH_READOUTS}.")


def _output_type(head: str, told: Mapping[str, str]) -> str:
    classes = head in ("calc", "heart") or told.get(head) == readout.CENTROID
    return "segmentation" if classes else "heatmap"


def _check_preprocessing(entry: dict[str, Any], where: str) -> None:
    for key, low, high in (("coarse_spacing_mm", 1.0, 10.0), ("crop_spacing_mm", 0.3, 4.0)):
        if not _is_number(entry.get(key)) or not low <= entry[key] <= high:
            raise BundleError(f"{where}: preprocessing.{key} must be a number from {low:g} to {high:g} mm.")
    for key, low, high in (("crop_size", 32, 192), ("recenter_passes", 0, 3)):
        value = entry.get(key)
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise BundleError(f"{where}: preprocessing.{key} must be a whole number from {low} to {high}.")
    views = entry.get("views", [])
    if not isinstance(views, list) or len(views) > 8 or not all(_is_offset(view) for view in views):
        raise BundleError(f"{where}: preprocessing.views must be at most 8 offsets of three numbers up to 20 mm.")
    if "closer_look_mm" in entry:
        near = entry["closer_look_mm"]
        if not _is_number(near) or not 0.3 <= near < entry["crop_spacing_mm"]:
            raise BundleError(
                f"{where}: preprocessing.closer_look_mm must be a number from 0.3 mm, and finer than crop_spacing_mm."
            )
    for key in ("aligned_look", "calcium_look"):
        look = entry.get(key)
        known = isinstance(look, dict) and set(look) == {"size", "spacing_mm"} and all(map(_is_number, look.values()))
        if key in entry and (not known or look["size"] not in range(32, 193, 8) or not 0.3 <= look["spacing_mm"] <= 4):
            raise BundleError(
                f"{where}: preprocessing.{key} must hold size, a multiple of 8 from 32 to 192, and spacing_mm from 0.3 "
                "to 4."
            )
    ours = {"clip": list(intensity.CLIP_HU), "shift": intensity.SHIFT_HU, "scale": intensity.SCALE_HU}
    for key, value in ours.items():
        if entry.get(key) != value:
            given = entry.get(key)
            raise BundleError(f"{where}: preprocessing.{key} is {given!r}, but this version normalises with {value!r}.")


def _check_thresholds(thresholds: dict[str, Any], where: str) -> None:
    for key, value in thresholds.items():
        low, high = THRESHOLDS.get(key, (-math.inf, math.inf))
        if not _is_number(value) or not low <= value <= high:
            raise BundleError(f"{where}: thresholds.{key} must be a number from {low:g} to {high:g}.")
    if "root_score" not in thresholds:
        raise BundleError(f"{where}: thresholds.root_score is missing, so no CT could be told to show no root.")


def _check_calibration(calibration: dict[str, Any], where: str) -> None:
    for head, table in calibration.items():
        raw, p = (table.get(key) if isinstance(table, dict) else None for key in ("raw", "p_within_5mm"))
        usable = isinstance(raw, list) and isinstance(p, list) and len(raw) == len(p) >= 2
        if not usable or not all(_is_number(value) and 0 <= value <= 1 for value in [*raw, *p]):
            raise BundleError(f"{where}: calibration.{head} must hold raw and p_within_5mm, equally long, from 0 to 1.")
        if any(b <= a for a, b in pairwise(raw)):
            raise BundleError(f"{where}: calibration.{head}.raw must rise.")
        if any(b < a for a, b in pairwise(p)):
            raise BundleError(f"{where}: calibration.{head}.p_within_5mm must not fall.")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_offset(view: Any) -> bool:
    return isinstance(view, list) and len(view) == 3 and all(_is_number(v) and abs(v) <= 20 for v in view)


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
