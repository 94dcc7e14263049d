"""Can these landmarks be true together? What cannot be is removed; what is unusual is flagged, worst first.

Removed (predictions only; a person's points are flagged and stay): points outside the CT, hinge points or ostia with
swapped sides, two landmarks on one place. A low ostium is never removed: it is what matters most to a planner.
Population numbers: the sources stand beside them; ranges without one are wide guesses and say so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from . import schema
from .annotation import Annotation, Landmark, Status
from .measurements.calcium import nearest_cusp
from .measurements.coronary import LOW_OSTIUM_MM
from .measurements.plane import OSTIA_DECIDE_MM, AnnulusPlane, annulus_plane
from .measurements.points import landmark_points
from .measurements.row import NotMeasurable
from .numbers import fixed
from .volume import Grid, Volume

UNCERTAIN = "uncertain"  # how a flag on the network's own confidence begins
UNSEEN = "a guess: nobody can see this point without contrast"
COINCIDENT_MM = 2.0
FLAG_Z = 2.5  # standard deviations from the mean that are worth a look: about 1 in 100
TOLERATED_Z = 2.0  # up to here the score stays at 1
# Where the cusps lie in the body as seen along the body axis (R, A), for a root that is not rotated.
_BODY = {"hinge_rcc": (0.0, 1.0), "hinge_lcc": (-0.87, -0.5), "hinge_ncc": (0.87, -0.5)}
# LM - RCA ostium points left and back; a root would have to be rotated by over 135 degrees to turn it round
# (Tretter 2018: -32 to 45 degrees).
_LM_FROM_RCA = np.array([-0.5, -0.87])
_TURNED = -0.7
# Pairs of hinge points: central angle in degrees (148 CTs, scale-free) and distance in mm, which follows from the angle
# and the annulus' mean diameter 24.3 +- 2.9 mm (PubMed 28139364, both sexes).
_SIDES = (
    ("hinge_rcc", "hinge_lcc", (108.0, 14.0), (19.7, 3.0)),
    ("hinge_lcc", "hinge_ncc", (137.0, 18.0), (22.6, 3.0)),
    ("hinge_rcc", "hinge_ncc", (115.0, 14.0), (20.5, 3.0)),
)
_CIRCLE = (24.3, 3.2)  # mm
# Ostium: own hinge point, height in mm (Stolzmann 2009), distance from the hinge point in mm (from height and sinus
# width). Both lie over their cusp: left main about centred, RCA a little towards the N-R commissure (PMC3578623).
_OSTIA = {
    "ostium_rca": ("hinge_rcc", (17.3, 3.6), (18.0, 4.5), (-8.0, 22.0)),
    "ostium_lca": ("hinge_lcc", (15.5, 2.9), (16.5, 4.0), (0.0, 22.0)),
}
_OSTIUM_RADIUS = (16.0, 3.0)  # mm from the root axis: half of the sinus diameter, 34 +- 4.5 mm (PubMed 28139364)
_OSTIA_ANGLE = (130.0, 18.0)  # degrees (PMC3578623: 123, about 135 in aortic stenosis)
_OSTIA_DISTANCE = (28.0, 5.5)  # mm, from angle and radius
_SEPTUM_HEIGHTS = {"ms_upper": (4.5, 2.3), "ms_lower": (-2.1, 2.1)}  # mm over the plane (Mori 2018)
_SEPTUM_HEIGHT = (6.6, 2.0)  # mm (Mori 2018)
_SEPTUM_ANGLE = (0.0, 20.0)  # degrees from the middle between RCC and NCC; the spread is a guess
_SEPTUM_RADIUS = (0.0, 3.5)  # mm from the circle through the hinge points; a guess


@dataclass(frozen=True)
class Relation:
    """One comparison with the population: the landmarks it concerns, standard deviations from the mean, and words."""

    ids: tuple[str, ...]
    z: float
    words: str


def check(annotation: Annotation, volume_grid: Grid, *, unseen: bool = False) -> None:
    """Flag what is unusual and remove predictions that cannot be; changes ``annotation`` in place.

    Flags of landmarks that have a position are written anew, worst first, so checking twice changes nothing.

    Args:
        annotation: the landmarks.
        volume_grid: the CT's.
        unseen: the CT has no contrast. Predictions are guesses then and say so, without a confidence; no height or
            angle is derived from them, as nothing is measured from them either. What people have set is compared as
            ever.
    """
    for landmark in annotation.landmarks.values():
        if landmark.position is not None:
            landmark.flags = []
    _outside(annotation, volume_grid)
    _coincident(annotation)
    _swapped_hinges(annotation, volume_grid)
    _swapped_ostia(annotation, volume_grid)

    points = landmark_points(annotation, volume_grid)
    if unseen:
        for label_id, landmark in annotation.landmarks.items():
            if landmark.status is Status.PREDICTED and points[label_id] is not None:
                points[label_id] = None
                landmark.flags.append(UNSEEN)
                # 0.8 on average on 48 phantoms without contrast, where 0.56 of the points were within 5 mm.
                landmark.confidence = None
    found = sorted(relations(points), key=lambda relation: -abs(relation.z))
    for relation in found:
        if abs(relation.z) >= FLAG_Z:
            for label_id in relation.ids:
                annotation.landmarks[label_id].flags.append(relation.words)
    plane = _plane(points)
    for label_id in _OSTIA:
        point = points[label_id]
        if plane is not None and point is not None and plane.height(point) < LOW_OSTIUM_MM:
            words = f"low ostium: {fixed(plane.height(point), 1)} mm over the annulus plane"
            annotation.landmarks[label_id].flags.insert(0, words)


def check_on(volume: Volume, annotation: Annotation) -> None:
    """:func:`check` with what the CT itself says: without contrast, predictions are guesses.

    What was said of a prediction's own confidence stays.
    """
    from .measurements.blood import no_contrast

    doubts = {
        label_id: [flag for flag in landmark.flags if flag.startswith(UNCERTAIN)]
        for label_id, landmark in annotation.landmarks.items()
        if landmark.status is Status.PREDICTED and landmark.position is not None
    }
    check(annotation, volume.grid)
    if no_contrast(volume, landmark_points(annotation, volume.grid)):
        check(annotation, volume.grid, unseen=True)
    for label_id, flags in doubts.items():
        annotation.landmarks[label_id].flags += flags


def plausibility_score(annotation: Annotation) -> dict[str, float]:
    """0..1 for every landmark: 1 is nothing unusual, 0 is missing or far from anything seen in people.

    A comparison that is z standard deviations from the population's mean counts exp(-(|z| - 2)^2 / 2), or 1 within two.
    A landmark's score is the worst of its own comparisons times the geometric mean of those it shares with others, so
    that one wrong point costs its neighbours less than itself. The hinge points make the plane that ostia and septum
    are compared with: when most of those disagree with it, the hinge points are doubted too. With nothing to compare
    to, a score is 1.
    """
    points = landmark_points(annotation)
    own: dict[str, list[float]] = {i: [0.0] for i in points}
    shared: dict[str, list[float]] = {i: [] for i in points}
    for relation in relations(points):
        excess = max(0.0, abs(relation.z) - TOLERATED_Z)
        for label_id in relation.ids:
            (own if len(relation.ids) == 1 else shared)[label_id].append(min(excess**2 / 2, 30.0))
    over_plane = [max(own[i]) for i in (*_OSTIA, *_SEPTUM_HEIGHTS) if points[i] is not None and len(own[i]) > 1]
    doubt = float(np.sort(over_plane)[(len(over_plane) - 1) // 2]) if len(over_plane) > 1 else 0.0
    scores = {}
    for label_id, point in points.items():
        worst = doubt if label_id in schema.HINGE_IDS else max(own[label_id])
        common = float(np.mean(shared[label_id])) if shared[label_id] else 0.0
        scores[label_id] = 0.0 if point is None else float(np.exp(-worst - common))
    return scores


def relations(points: Mapping[str, np.ndarray | None]) -> list[Relation]:
    """All comparisons that the given points (id -> (3,) RAS mm or None) allow."""
    found: list[Relation] = []

    def add(ids: tuple[str, ...], value: float, usual: tuple[float, float], what: str, unit: str) -> None:
        mean, sd = usual
        side = "more" if value > mean else "less"
        words = f"{what} {fixed(value)} {unit}, {side} than usual ({fixed(mean)} ± {fixed(sd)})"
        found.append(Relation(ids, float((value - mean) / sd), words))

    plane = _plane(points)
    for first, second, angle, length in _SIDES:
        a, b = points.get(first), points.get(second)
        if a is None or b is None:
            continue
        pair = f"{_name(first)} to {_name(second)}"
        add((first, second), float(np.linalg.norm(a - b)), length, f"hinge points {pair}:", "mm")
        if plane is not None:
            between = _turn(plane, b, a) if first != "hinge_rcc" or second != "hinge_ncc" else _turn(plane, a, b)
            add((first, second), between % 360, angle, f"angle {pair}:", "degrees")
    if plane is not None:
        add(schema.HINGE_IDS, plane.circle_diameter, _CIRCLE, "circle through the hinge points:", "mm")
    _relate_ostia(points, plane, add)
    _relate_septum(points, plane, add)
    return found


def _relate_ostia(points: Mapping[str, np.ndarray | None], plane: AnnulusPlane | None, add) -> None:
    for label_id, (hinge_id, height, distance, angle) in _OSTIA.items():
        point, hinge = points.get(label_id), points.get(hinge_id)
        if point is None:
            continue
        if plane is not None:
            add((label_id,), float(plane.height(point)), height, "height over the annulus plane:", "mm")
            add((label_id,), float(plane.radial(point)), _OSTIUM_RADIUS, "distance from the root axis:", "mm")
            turn = _turn(plane, point, hinge)
            add((label_id,), turn, angle, f"angle from the {_name(hinge_id)} hinge point:", "degrees")
        elif hinge is not None:
            length = float(np.linalg.norm(point - hinge))
            add((label_id, hinge_id), length, distance, f"{_name(label_id)} to {_name(hinge_id)} hinge point:", "mm")
    right, left = points.get("ostium_rca"), points.get("ostium_lca")
    if right is not None and left is not None:
        ids = schema.OSTIUM_IDS
        if plane is not None:
            add(ids, abs(_turn(plane, left, right)), _OSTIA_ANGLE, "angle between the ostia:", "degrees")
        else:
            add(ids, float(np.linalg.norm(right - left)), _OSTIA_DISTANCE, "distance between the ostia:", "mm")


def _relate_septum(points: Mapping[str, np.ndarray | None], plane: AnnulusPlane | None, add) -> None:
    upper, lower = points.get("ms_upper"), points.get("ms_lower")
    if upper is not None and lower is not None:
        add(("ms_upper", "ms_lower"), float(np.linalg.norm(upper - lower)), _SEPTUM_HEIGHT, "septum's height:", "mm")
    if plane is None:
        return
    rcc, ncc = plane.hinges[0], plane.hinges[2]
    for label_id, height in _SEPTUM_HEIGHTS.items():
        point = points.get(label_id)
        if point is None:
            continue
        add((label_id,), float(plane.height(point)), height, "height over the annulus plane:", "mm")
        middle = _turn(plane, point, ncc) - (_turn(plane, rcc, ncc) % 360) / 2
        middle = (middle + 180) % 360 - 180
        add((label_id,), middle, _SEPTUM_ANGLE, "angle from the R-N commissure:", "degrees")
        off = float(plane.radial(point)) - plane.radius
        add((label_id,), off, _SEPTUM_RADIUS, "distance outwards of the hinge points' circle:", "mm")


def _outside(annotation: Annotation, grid: Grid) -> None:
    for landmark in annotation.landmarks.values():
        if landmark.position is None:
            continue
        position = np.asarray(landmark.position, float)
        if not np.isfinite(position).all() or not bool(grid.contains(position)):
            _impossible(landmark, "outside the volume")


def _coincident(annotation: Annotation) -> None:
    for a, b in combinations(annotation.landmarks.values(), 2):
        if a.position is None or b.position is None:
            continue
        if np.linalg.norm(np.asarray(a.position, float) - np.asarray(b.position, float)) >= COINCIDENT_MM:
            continue
        keep, drop = (a, b) if _trust(a) >= _trust(b) else (b, a)
        _impossible(drop, f"in the same place as {_name(keep.id)}")


def _swapped_hinges(annotation: Annotation, grid: Grid) -> None:
    """Hinge points whose order says that the aorta is where neither the ostia nor the body have it."""
    points = landmark_points(annotation, grid)
    plane = _plane(points)
    ostia = [points[i] for i in _OSTIA if points[i] is not None]
    if plane is None or not ostia:
        return
    rcc, lcc, ncc = plane.hinges
    by_order = np.cross(lcc - rcc, ncc - rcc)
    by_order = by_order / np.linalg.norm(by_order)
    if float(np.mean((np.array(ostia) - plane.centre) @ by_order)) > -OSTIA_DECIDE_MM or by_order[2] > 0:
        return
    scores = {pair: _fit_of_swap(points, plane.centre, by_order, pair) for pair in combinations(schema.HINGE_IDS, 2)}
    ranked = sorted(scores, key=scores.get, reverse=True)
    sure = scores[ranked[0]] - scores[ranked[1]] > 0.5
    for label_id in ranked[0] if sure else schema.HINGE_IDS:
        _impossible(annotation.landmarks[label_id], "sides swapped: the hinge points run round the wrong way")


def _fit_of_swap(
    points: Mapping[str, np.ndarray | None], centre: np.ndarray, axis: np.ndarray, pair: tuple[str, str]
) -> float:
    """How well the cusps fit ostia and body when the two hinge points of ``pair`` exchange their names."""
    names = dict(zip(schema.HINGE_IDS, schema.HINGE_IDS, strict=True))
    names[pair[0]], names[pair[1]] = pair[1], pair[0]

    def flat(point: np.ndarray) -> np.ndarray:
        offset = point - centre
        offset = offset - (offset @ axis) * axis
        return offset / max(float(np.linalg.norm(offset)), 1e-6)

    fit = 0.0
    for hinge_id, body in _BODY.items():
        fit += float(flat(points[names[hinge_id]])[:2] @ np.array(body))
    for label_id, (hinge_id, *_) in _OSTIA.items():
        if points[label_id] is not None:
            fit += float(flat(points[label_id]) @ flat(points[names[hinge_id]]))
    return fit


def _swapped_ostia(annotation: Annotation, grid: Grid) -> None:
    """Each ostium over the other's cusp; without hinge points, the left main to the right and in front of the RCA."""
    points = landmark_points(annotation, grid)
    right, left = points["ostium_rca"], points["ostium_lca"]
    if right is None or left is None:
        return
    plane = _plane(points)
    if plane is not None:
        swapped = nearest_cusp(plane, right) == 1 and nearest_cusp(plane, left) == 0
    else:
        across = (left - right)[:2]
        swapped = across @ _LM_FROM_RCA < _TURNED * max(float(np.linalg.norm(left - right)), 1e-6)
    if swapped:
        for label_id in _OSTIA:
            _impossible(annotation.landmarks[label_id], "sides swapped: the ostia lie on each other's side")


def _impossible(landmark: Landmark, reason: str) -> None:
    """Remove a prediction; a person's point stays and is flagged."""
    if landmark.status is Status.PREDICTED:
        landmark.position, landmark.covariance = None, None
        landmark.flags = [f"removed: {reason}"]
    else:
        landmark.flags.insert(0, reason)


def _trust(landmark: Landmark) -> float:
    if landmark.status is not Status.PREDICTED:
        return 2.0
    return landmark.confidence if landmark.confidence is not None else 1.0


def _plane(points: Mapping[str, np.ndarray | None]) -> AnnulusPlane | None:
    try:
        return annulus_plane(points)
    except NotMeasurable:
        return None


def _turn(plane: AnnulusPlane, point: np.ndarray, start: np.ndarray) -> float:
    """Degrees around the root axis from ``start`` to ``point``, in (-180, 180], growing RCC -> LCC -> NCC."""
    difference = np.degrees(float(plane.angle(point)) - float(plane.angle(start)))
    return float((difference + 180) % 360 - 180)


def _name(label_id: str) -> str:
    return schema.by_id(label_id).name
