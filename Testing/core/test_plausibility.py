"""Removal of what cannot be, flags for what is unusual, and the score that weights pseudo-labels."""

from __future__ import annotations

import copy
from itertools import product

import numpy as np
import pytest

from fedkdtavi_core import schema
from fedkdtavi_core.annotation import Annotation, Status
from fedkdtavi_core.plausibility import UNSEEN, check, plausibility_score, relations
from fedkdtavi_core.volume import Grid

GRID = Grid((100, 100, 100), np.array([[1, 0, 0, -50], [0, 1, 0, -50], [0, 0, 1, -50], [0, 0, 0, 1.0]]))


def place(degrees: float, height: float, radius: float) -> np.ndarray:
    """Degrees from the front towards the patient's left, in an upright root around the origin."""
    t = np.deg2rad(degrees)
    return np.array([-radius * np.sin(t), radius * np.cos(t), height])


def usual(turn: np.ndarray | None = None) -> Annotation:
    """An average root, optionally turned by a (3, 3) rotation."""
    annotation = Annotation()
    places = {
        "hinge_rcc": place(0, 0, 12.2), "hinge_lcc": place(108, 0, 12.2), "hinge_ncc": place(245, 0, 12.2),
        "ostium_rca": place(-8, 17.3, 16), "ostium_lca": place(115, 15.5, 16),
        "ms_upper": place(302, 4.5, 12.2), "ms_lower": place(302, -2.1, 12.2),
    }  # fmt: skip
    for label_id, point in places.items():
        annotation.landmarks[label_id].position = point if turn is None else turn @ point
        annotation.landmarks[label_id].confidence = 0.9
    return annotation


def around(axis: int, degrees: float) -> np.ndarray:
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    turn = np.eye(3)
    i, j = [k for k in range(3) if k != axis]
    turn[i, i], turn[i, j], turn[j, i], turn[j, j] = c, -s, s, c
    return turn


def missing(annotation: Annotation) -> set[str]:
    return {i for i, mark in annotation.landmarks.items() if mark.position is None}


def swap(annotation: Annotation, a: str, b: str) -> None:
    one, two = annotation.landmarks[a], annotation.landmarks[b]
    one.position, two.position = two.position, one.position


@pytest.mark.parametrize(
    "turn", [np.eye(3), around(1, 45), around(0, -50), around(2, 40), around(0, 60) @ around(1, 30)]
)
def test_an_average_root_has_no_flags_in_any_pose(turn: np.ndarray):
    annotation = usual(turn)
    check(annotation, GRID)
    assert missing(annotation) == set()
    assert all(mark.flags == [] for mark in annotation.landmarks.values())
    assert min(plausibility_score(annotation).values()) == pytest.approx(1)


def test_points_outside_the_volume_are_removed():
    annotation = usual()
    annotation.landmarks["ostium_lca"].position = np.array([0, 0, 80.0])
    annotation.landmarks["ms_lower"].position = np.array([np.nan, 0, 0])
    check(annotation, GRID)
    assert missing(annotation) == {"ostium_lca", "ms_lower"}
    assert annotation.landmarks["ostium_lca"].flags == ["removed: outside the volume"]
    assert annotation.landmarks["ostium_lca"].covariance is None


@pytest.mark.parametrize("pair", [("hinge_rcc", "hinge_lcc"), ("hinge_lcc", "hinge_ncc"), ("hinge_rcc", "hinge_ncc")])
@pytest.mark.parametrize("turn", [np.eye(3), around(1, 40), around(0, -40), around(2, 30)])
def test_swapped_hinge_points_are_removed(pair: tuple[str, str], turn: np.ndarray):
    annotation = usual(turn)
    swap(annotation, *pair)
    check(annotation, GRID)
    assert set(pair) <= missing(annotation) <= set(schema.HINGE_IDS)
    assert "swapped" in annotation.landmarks[pair[0]].flags[0]


@pytest.mark.parametrize("turn", [np.eye(3), around(1, 40), around(0, -40), around(2, 30)])
@pytest.mark.parametrize("with_hinges", [True, False])
def test_swapped_ostia_are_removed(turn: np.ndarray, with_hinges: bool):
    annotation = usual(turn)
    swap(annotation, "ostium_rca", "ostium_lca")
    if not with_hinges:
        annotation.landmarks["hinge_ncc"].position = None
    check(annotation, GRID)
    assert {"ostium_rca", "ostium_lca"} <= missing(annotation)
    assert not {"hinge_rcc", "hinge_lcc"} & missing(annotation)


def test_an_anomalous_origin_of_one_coronary_is_flagged_and_stays():
    annotation = usual()
    annotation.landmarks["ostium_rca"].position = place(80, 17, 16)
    check(annotation, GRID)
    assert missing(annotation) == set()
    assert any("angle" in words for words in annotation.landmarks["ostium_rca"].flags)


def test_of_two_coincident_points_the_less_certain_goes():
    annotation = usual()
    annotation.landmarks["ms_upper"].position = annotation.landmarks["ms_lower"].position + [0, 0, 1.5]
    annotation.landmarks["ms_lower"].confidence = 0.4
    check(annotation, GRID)
    assert missing(annotation) == {"ms_lower"}
    assert "same place as MS upper" in annotation.landmarks["ms_lower"].flags[0]
    apart = usual()
    apart.landmarks["ms_upper"].position = apart.landmarks["ms_lower"].position + [0, 0, 2.1]
    check(apart, GRID)
    assert missing(apart) == set()


@pytest.mark.parametrize("height", [9.0, 4.0, 0.5, -2.0])
def test_a_low_ostium_is_flagged_first_and_never_removed(height: float):
    annotation = usual()
    annotation.landmarks["ostium_lca"].position = place(115, height, 16)
    check(annotation, GRID)
    assert missing(annotation) == set()
    assert annotation.landmarks["ostium_lca"].flags[0].startswith("low ostium")


@pytest.mark.parametrize("status", [Status.CORRECTED, Status.CONFIRMED])
def test_a_persons_points_are_flagged_and_never_removed(status: Status):
    annotation = usual()
    swap(annotation, "ostium_rca", "ostium_lca")
    annotation.landmarks["ms_upper"].position = np.array([0, 0, 90.0])
    for mark in annotation.landmarks.values():
        mark.status = status
    check(annotation, GRID)
    assert missing(annotation) == set()
    assert any("outside" in words for words in annotation.landmarks["ms_upper"].flags)
    assert any("swapped" in words for words in annotation.landmarks["ostium_rca"].flags)


def test_nothing_is_compared_with_a_persons_point_outside_the_ct():
    """It is told and stays; the others are neither flagged nor taken for swapped because of it."""
    annotation = usual()
    annotation.landmarks["hinge_rcc"].position = place(0, 0, 500)
    annotation.landmarks["hinge_rcc"].status = Status.CORRECTED
    check(annotation, GRID)
    assert annotation.landmarks["hinge_rcc"].flags == ["outside the volume"]
    assert missing(annotation) == set()
    assert not any(mark.flags for i, mark in annotation.landmarks.items() if i != "hinge_rcc")


def test_flags_are_worst_first():
    annotation = usual()
    annotation.landmarks["ostium_rca"].position = place(95, 30, 24)
    check(annotation, GRID)
    flags = annotation.landmarks["ostium_rca"].flags
    points = {i: mark.position for i, mark in annotation.landmarks.items()}
    far = {r.words: abs(r.z) for r in relations(points) if "ostium_rca" in r.ids}
    assert len(flags) >= 3
    assert [far[words] for words in flags] == sorted((far[words] for words in flags), reverse=True)
    assert max(far.values()) == far[flags[0]]


def test_checking_twice_changes_nothing():
    annotation = usual()
    annotation.landmarks["ostium_rca"].position = place(95, 6, 24)
    annotation.landmarks["ms_upper"].position = np.array([0, 0, 90.0])
    check(annotation, GRID)
    again = copy.deepcopy(annotation)
    check(again, GRID)
    for label_id, mark in annotation.landmarks.items():
        assert again.landmarks[label_id].flags == mark.flags
    assert missing(again) == missing(annotation)


@pytest.mark.parametrize("present", list(product((True, False), repeat=7)))
def test_every_subset_of_the_landmarks(present: tuple[bool, ...]):
    annotation = usual()
    for label_id, there in zip(schema.LANDMARK_IDS, present, strict=True):
        if not there:
            annotation.landmarks[label_id].position = None
    before = missing(annotation)
    check(annotation, GRID)
    assert missing(annotation) == before
    scores = plausibility_score(annotation)
    assert list(scores) == list(schema.LANDMARK_IDS)
    for label_id, there in zip(schema.LANDMARK_IDS, present, strict=True):
        assert scores[label_id] == pytest.approx(1.0 if there else 0.0)


@pytest.mark.parametrize("label_id", schema.LANDMARK_IDS)
def test_a_point_on_the_wrong_structure_scores_low(label_id: str):
    annotation = usual()
    annotation.landmarks[label_id].position = annotation.landmarks[label_id].position + [14, 12, -13]
    scores = plausibility_score(annotation)
    assert scores[label_id] < 0.3


def test_the_score_falls_with_the_error():
    scores = []
    for shift in (0, 6, 12, 20):
        annotation = usual()
        annotation.landmarks["ostium_lca"].position = place(115, 15.5 + shift, 16)
        scores.append(plausibility_score(annotation)["ostium_lca"])
    assert scores[0] == 1
    assert scores == sorted(scores, reverse=True) and scores[-1] < 0.01


def test_without_contrast_guesses_are_compared_with_nothing():
    annotation = usual()
    annotation.landmarks["ostium_lca"].position = place(115, 4, 16)  # low, and the RCA far too high
    annotation.landmarks["ostium_rca"].position = place(-8, 40, 16)
    annotation.landmarks["ms_upper"].position = np.array([0, 0, 90.0])
    check(annotation, GRID)
    assert any("annulus plane" in words for words in annotation.landmarks["ostium_rca"].flags)
    check(annotation, GRID, unseen=True)
    flags = {i: mark.flags for i, mark in annotation.landmarks.items()}
    assert flags.pop("ms_upper") == ["removed: outside the volume"]
    assert all(words == [UNSEEN] for words in flags.values()), flags
    assert missing(annotation) == {"ms_upper"}
    assert [annotation.landmarks[i].confidence for i in flags] == [None] * len(flags)


def test_without_contrast_what_people_set_is_compared_as_ever():
    annotation = usual()
    annotation.landmarks["ostium_lca"].position = place(115, 4, 16)
    annotation.landmarks["ostium_rca"].position = place(-8, 40, 16)
    for label_id in (*schema.HINGE_IDS, "ostium_lca"):
        annotation.landmarks[label_id].status = Status.CONFIRMED
    check(annotation, GRID, unseen=True)
    assert annotation.landmarks["ostium_lca"].flags[0].startswith("low ostium")
    assert annotation.landmarks["ostium_rca"].flags == [UNSEEN]
    assert annotation.landmarks["hinge_rcc"].flags == []
