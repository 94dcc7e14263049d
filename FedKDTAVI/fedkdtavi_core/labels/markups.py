"""Landmarks and the annulus contour as 3D Slicer's markups files (``.mrk.json``).

Slicer writes LPS and so do we; files in RAS are read as well. A control point's ``label`` is the name on screen and its
``description`` a small JSON object with ``id``, ``status`` and ``confidence``, because markups have no field for them.
Format: Slicer's markups schema v1.0.3 (any v1.x.y is read), and vtkMRMLMarkupsJsonStorageNode, which writes the
position of every point that is not defined as an empty string.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from .. import schema
from ..annotation import Landmark, Status
from ..errors import InputError
from .jsonfile import read_json, write_json

SCHEMA_URL = (
    "https://raw.githubusercontent.com/slicer/slicer/master/Modules/Loadable/Markups/Resources/Schema/"
    "markups-schema-v1.0.3.json#"
)
# Axes of a control point as Slicer writes them by default, in LPS.
_ORIENTATION_LPS = [-1.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 1.0]
_RAS_FROM_LPS = np.array([-1.0, -1.0, 1.0])


@dataclass
class LandmarkFile:
    """What a landmarks file holds.

    Attributes:
        landmarks: id -> Landmark, one entry for every landmark of the schema, in its order.
        notes: one sentence for each thing that was not as expected: renamed, extra or missing points.
    """

    landmarks: dict[str, Landmark]
    notes: list[str] = field(default_factory=list)


def write_landmarks(path: Path, landmarks: Mapping[str, Landmark]) -> None:
    """Write all landmarks of the schema as one fiducial list.

    Args:
        path: file to write, by convention ``landmarks.mrk.json``.
        landmarks: id -> Landmark (RAS mm). A landmark without position becomes an undefined point, one that a reviewer
            called absent a missing point, so that the seven entries are always there.
    """
    points = []
    for number, label in enumerate((row for row in schema.LANDMARKS), start=1):
        landmark = landmarks.get(label.id) or Landmark(label.id)
        status = "defined"
        if landmark.position is None or landmark.status is Status.ABSENT:
            status = "missing" if landmark.status is Status.ABSENT else "undefined"
        position = landmark.position if status == "defined" else None
        points.append(_control_point(number, label.name, describe(landmark), position, status))
    _write(path, "Fiducial", points, color=(1.0, 0.8, 0.2), fixed=True)


def write_contour(
    path: Path, contour: np.ndarray, status: Status = Status.PREDICTED, label_id: str = "annulus_contour"
) -> None:
    """Write a closed curve, (N, 3) RAS mm; the last point joins the first."""
    label = schema.by_id(label_id)
    description = describe(Landmark(label.id, status=status))
    points = [
        _control_point(number, f"{label.name}-{number}", description if number == 1 else "", position, "defined")
        for number, position in enumerate(np.asarray(contour, float), start=1)
    ]
    _write(path, "ClosedCurve", points, color=label.color, fixed=False)


def describe(landmark: Landmark) -> str:
    """What stands in a control point's description: id, status and confidence as a JSON object."""
    confidence = None if landmark.confidence is None else round(float(landmark.confidence), 4)
    return json.dumps(
        {"id": landmark.id, "status": str(landmark.status), "confidence": confidence}, separators=(",", ":")
    )


def read_landmarks(path: Path) -> LandmarkFile:
    """Read a fiducial list back, by the id in the description, else by the name on screen.

    A point without id that a person made in Slicer counts as corrected when its position is defined.

    Raises:
        InputError: not a markups file, not in mm, a position or status that is none, or two points for one landmark.
    """
    path = Path(path)
    markup, flip = _markup(path, ("Fiducial",))
    return collect_landmarks(path, _points(path, markup), flip)


def collect_landmarks(path: Path, points: Iterable[Mapping[str, Any]], flip: np.ndarray) -> LandmarkFile:
    """The landmarks among control points, wherever those come from.

    Args:
        path: what the points are called in notes and errors: their file, or the name of their node.
        points: each with the keys of the file format: ``label``, ``description``, ``position``, ``positionStatus``.
        flip: (3,) factors that turn their coordinates into RAS.

    Raises:
        InputError: a position that is no position, a status that is none, two points for one landmark, or none for any.
    """
    found: dict[str, tuple[Landmark, bool]] = {}
    notes: list[str] = []
    for index, point in enumerate(points):
        name = str(point.get("label") or "")
        described = description_of(point)
        label, by_id = _identify(name, described)
        if label is None:
            notes.append(f"{path.name}: the point '{name or index + 1}' is not in the schema and was left out.")
            continue
        if by_id and name != label.name:
            notes.append(
                f"{path.name}: the point '{name}' carries the id of {label.name} and was read as {label.name}."
            )
        landmark = _landmark(path, label, point, described, flip)
        before = found.get(label.id)
        if (
            before is not None
            and before[1] == by_id
            and before[0].position is not None
            and landmark.position is not None
        ):
            raise InputError(f"{path}: holds two points for {label.name}; delete one and save it again.")
        # A point with the id beats a namesake; a defined one beats an empty one.
        if before is None or (by_id, landmark.position is not None) > (before[1], before[0].position is not None):
            found[label.id] = (landmark, by_id)
    if not found:
        names = ", ".join(label.name for label in schema.LANDMARKS)
        raise InputError(f"{path}: holds none of the landmarks {names}; name the points so and save it again.")
    gone = [label.name for label in schema.LANDMARKS if label.id not in found]
    if gone:
        notes.append(f"{path.name}: holds no point for {', '.join(gone)}; taken as missing.")
    landmarks = {i: found[i][0] if i in found else Landmark(i) for i in schema.LANDMARK_IDS}
    return LandmarkFile(landmarks, notes)


def read_contour(path: Path) -> tuple[np.ndarray, Status]:
    """Read a closed curve: its control points (N, 3) in RAS mm, and its status.

    Raises:
        InputError: not a markups file with a closed curve of at least three points.
    """
    path = Path(path)
    markup, flip = _markup(path, ("ClosedCurve",))
    positions, status = [], Status.PREDICTED
    for point in _points(path, markup):
        described = description_of(point)
        if "status" in described:
            status = _status(path, str(point.get("label") or ""), described, Status.PREDICTED)
        position = _position(path, point, flip)
        if position is not None:
            positions.append(position)
    if len(positions) < 3:
        raise InputError(f"{path}: the curve has {len(positions)} points and needs three or more; draw it again.")
    return np.array(positions), status


def _control_point(
    number: int, name: str, description: str, position: np.ndarray | None, status: str
) -> dict[str, Any]:
    lps = "" if position is None else [float(x) for x in np.asarray(position, float) * _RAS_FROM_LPS]
    return {
        "id": str(number),
        "label": name,
        "description": description,
        "associatedNodeID": "",
        "position": lps,
        "orientation": _ORIENTATION_LPS,
        "selected": True,
        "locked": False,
        "visibility": True,
        "positionStatus": status,
    }


def _write(path: Path, kind: str, points: list[dict[str, Any]], *, color: tuple[float, ...], fixed: bool) -> None:
    markup = {
        "type": kind,
        "coordinateSystem": "LPS",
        "coordinateUnits": "mm",
        "locked": False,
        "fixedNumberOfControlPoints": fixed,
        "labelFormat": "%N-%d",
        "lastUsedControlPointNumber": len(points),
        "controlPoints": points,
        "measurements": [],
        "display": {
            "visibility": True,
            "opacity": 1.0,
            "color": list(color),
            "selectedColor": list(color),
            "propertiesLabelVisibility": False,
            # Names beside landmarks; a contour would drown in them.
            "pointLabelsVisibility": kind == "Fiducial",
            "textScale": 3.0,
            "glyphType": "Sphere3D",
            "glyphSize": 3.0 if kind == "Fiducial" else 1.0,
            "useGlyphScale": False,
        },
    }
    write_json(path, {"@schema": SCHEMA_URL, "markups": [markup]})


def _markup(path: Path, kinds: tuple[str, ...]) -> tuple[dict[str, Any], np.ndarray]:
    """The first markup of one of ``kinds`` and the factors that turn its coordinates into RAS."""
    content = read_json(path, "a Slicer markups file (.mrk.json)")
    markups = content.get("markups")
    if not isinstance(markups, list):
        raise InputError(f"{path}: is not a Slicer markups file, it has no list of markups; save it as .mrk.json.")
    for markup in markups:
        if isinstance(markup, dict) and markup.get("type") in kinds:
            return markup, _flip(path, markup)
    types = ", ".join(sorted({str(m.get("type")) for m in markups if isinstance(m, dict)})) or "nothing"
    raise InputError(f"{path}: holds {types} where a {kinds[0]} markup is needed; save that one as .mrk.json.")


def _flip(path: Path, markup: dict[str, Any]) -> np.ndarray:
    units = markup.get("coordinateUnits") or "mm"
    if isinstance(units, dict):  # a coded entry of UCUM
        units = units.get("codeValue")
    if isinstance(units, list):
        units = units[0] if units else "mm"
    if units != "mm":
        raise InputError(f"{path}: its coordinates are in '{units}' and must be in mm; save it again in mm.")
    system = str(markup.get("coordinateSystem", "LPS")).upper() or "LPS"
    # Slicer's old files write the number of the system instead of its name.
    if system in ("LPS", "1"):
        return _RAS_FROM_LPS
    if system in ("RAS", "0"):
        return np.ones(3)
    raise InputError(f"{path}: its coordinate system '{system}' is neither LPS nor RAS; save it again with 3D Slicer.")


def _points(path: Path, markup: dict[str, Any]) -> list[dict[str, Any]]:
    points = markup.get("controlPoints", [])
    if not isinstance(points, list) or not all(isinstance(point, dict) for point in points):
        raise InputError(f"{path}: its control points are broken; save it again with 3D Slicer.")
    return points


def description_of(point: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON object in the description, or an empty one: people write free text there, too."""
    try:
        value = json.loads(point.get("description") or "{}")
    except (TypeError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _identify(name: str, described: dict[str, Any]) -> tuple[schema.Label | None, bool]:
    label_id = described.get("id")
    if label_id in schema.LANDMARK_IDS:
        return schema.by_id(label_id), True
    label = schema.by_name(name.strip())
    return (label if label is not None and label.kind == "landmark" else None), False


def _landmark(
    path: Path, label: schema.Label, point: Mapping[str, Any], described: dict[str, Any], flip: np.ndarray
) -> Landmark:
    position = _position(path, point, flip)
    by_hand = Status.CORRECTED if position is not None and "status" not in described else Status.PREDICTED
    status = _status(path, label.name, described, by_hand)
    if point.get("positionStatus") == "missing":
        status = Status.ABSENT
    elif status is Status.ABSENT and position is not None:
        status = Status.CORRECTED  # it was absent, then a person set it
    elif position is None and status is not Status.ABSENT:
        status = Status.PREDICTED  # it was reviewed, then its position was deleted: nothing is known of it
    confidence = described.get("confidence")
    number = isinstance(confidence, int | float) and not isinstance(confidence, bool) and 0.0 <= confidence <= 1.0
    return Landmark(label.id, position, float(confidence) if number else None, None, status)


def _status(path: Path, name: str, described: dict[str, Any], otherwise: Status) -> Status:
    """The status written there, or ``otherwise`` where none is; a word that is none could hide a person's review."""
    if "status" not in described:
        return otherwise
    try:
        return Status(described["status"])
    except ValueError:
        known = ", ".join(Status)
        raise InputError(
            f"{path}: the status {described['status']!r} of the point '{name}' is not known; write one of {known}."
        ) from None


def _position(path: Path, point: Mapping[str, Any], flip: np.ndarray) -> np.ndarray | None:
    """RAS mm, or None for a point that is not defined."""
    position = point.get("position")
    if point.get("positionStatus", "defined") != "defined" or position in ("", None, []):
        return None
    try:
        array = np.array(position, dtype=float)
    except (TypeError, ValueError):
        array = np.empty(0)
    if array.shape != (3,) or not np.all(np.isfinite(array)):
        raise InputError(f"{path}: the position of '{point.get('label')}' is not three numbers; place the point again.")
    return array * flip + 0.0  # + 0.0 turns -0.0 into 0.0
