"""Planes, heights, suitability and the whole table; nothing shifts or fails when a label is missing."""

from __future__ import annotations

import json
from itertools import product

import numpy as np
import pytest
from tube_phantom import Tube, nodule, tube

from fedkdtavi_core import schema
from fedkdtavi_core.annotation import Annotation, Status
from fedkdtavi_core.measurements import NotMeasurable, annulus_plane, circle_points, measure

HINGES = {"hinge_rcc": (0.0, 12.0, 0.0), "hinge_lcc": (-10.4, -6.0, 0.0), "hinge_ncc": (10.4, -6.0, 0.0)}
NEEDS = {
    "circle_proxy_diameter": schema.HINGE_IDS,
    "root_angulation": schema.HINGE_IDS,
    "annulus_area": schema.HINGE_IDS,
    "annulus_eccentricity": schema.HINGE_IDS,
    "height_lca": (*schema.HINGE_IDS, "ostium_lca"),
    "height_rca": (*schema.HINGE_IDS, "ostium_rca"),
    "ms_lower_depth": (*schema.HINGE_IDS, "ms_lower"),
    "ms_upper_height": (*schema.HINGE_IDS, "ms_upper"),
    "ms_height": ("ms_upper", "ms_lower"),
    "calcium_total": (),
    "calcium_rcc": schema.HINGE_IDS,
    "calcium_lvot": schema.HINGE_IDS,
    "three_cusp_lao": schema.HINGE_IDS,
    "cusp_overlap_cranial": schema.HINGE_IDS,
    "slice_thickness": (),
}


@pytest.fixture(scope="module")
def root() -> Tube:
    return tube(change=nodule(11, 4, 3))


@pytest.fixture(scope="module")
def calcified(root: Tube) -> np.ndarray:
    return (root.volume.array > 850).astype(np.uint8)


def rotation(seed: int) -> np.ndarray:
    q, r = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    q = q * np.sign(np.diag(r))
    return q if np.linalg.det(q) > 0 else q[:, [1, 0, 2]]


def test_normal_points_to_the_aorta_of_an_upright_patient():
    plane = annulus_plane({i: np.array(p) for i, p in HINGES.items()})
    assert plane.normal == pytest.approx([0, 0, 1])
    assert plane.centre == pytest.approx([0, 0, 0], abs=0.01)
    assert plane.circle_diameter == pytest.approx(24, abs=0.02)
    assert np.rad2deg(plane.angle(plane.hinges)) == pytest.approx([0, 120, 240], abs=0.1)
    assert plane.warning == ""


@pytest.mark.parametrize("seed", range(8))
def test_normal_follows_the_order_of_the_cusps_in_every_pose(seed: int):
    turn, shift = rotation(seed), np.array([100, -50, 700.0])
    plane = annulus_plane({i: turn @ np.array(p) + shift for i, p in HINGES.items()})
    assert plane.normal == pytest.approx(turn @ [0, 0, 1], abs=1e-9)
    assert plane.height(turn @ [3, 4, 15] + shift) == pytest.approx(15)
    assert plane.radial(turn @ [3, 4, 15] + shift) == pytest.approx(5, abs=0.02)


def test_ostia_decide_when_hinge_points_carry_each_others_names():
    points = {i: np.array(p) for i, p in HINGES.items()}
    points["hinge_lcc"], points["hinge_ncc"] = points["hinge_ncc"], points["hinge_lcc"]
    assert annulus_plane(points).normal[2] == pytest.approx(-1)
    points |= {"ostium_rca": np.array([2, 15, 17.0]), "ostium_lca": np.array([-14, -6, 15.0])}
    plane = annulus_plane(points)
    assert plane.normal[2] == pytest.approx(1)
    assert "swapped" in plane.warning


def test_ostia_that_lie_below_an_upright_plane_do_not_turn_it_and_every_height_says_so():
    root = tube(size=64)
    annotation = root.annotation()
    upright = measure(root.volume, annotation)
    for label_id, height in (("ostium_rca", 14.0), ("ostium_lca", -25.0)):
        point = upright.plane.hinges.mean(axis=0) + height * upright.plane.normal
        annotation.landmarks[label_id].position = point
        annotation.landmarks[label_id].status = Status.CORRECTED
    result = measure(root.volume, annotation)
    assert result.plane.normal == pytest.approx(upright.plane.normal)
    rows = {row["id"]: row for row in result.rows()}
    assert rows["height_rca"]["value"] == pytest.approx(14, abs=0.3)
    assert rows["height_lca"]["value"] == pytest.approx(-25, abs=0.3)
    for name in ("height_rca", "height_lca", "circle_proxy_diameter"):
        assert rows[name]["warning"].count("the ostia lie below the annulus plane") == 1
    assert any("the ostia lie below" in words for words in result.warnings)


def test_a_low_ostium_does_not_turn_the_plane():
    points = {i: np.array(p) for i, p in HINGES.items()} | {"ostium_lca": np.array([-14, -6, -1.5])}
    plane = annulus_plane(points)
    assert plane.normal[2] == pytest.approx(1) and plane.warning == ""
    assert plane.height(points["ostium_lca"]) == pytest.approx(-1.5)


@pytest.mark.parametrize("third", [(24.0, 0.0, 0.0), (6.0, 0.5, 0.0), (0.0, 0.0, 0.0)])
def test_points_on_a_line_define_no_plane(third: tuple[float, float, float]):
    points = {"hinge_rcc": np.zeros(3), "hinge_lcc": np.array([12.0, 0, 0]), "hinge_ncc": np.array(third)}
    with pytest.raises(NotMeasurable, match="line"):
        annulus_plane(points)


def test_missing_hinge_points_are_named():
    with pytest.raises(NotMeasurable, match="LCC and NCC hinge points are missing"):
        annulus_plane({"hinge_rcc": np.zeros(3), "hinge_lcc": None})


def test_all_numbers_of_a_known_root(root: Tube, calcified: np.ndarray):
    annotation = root.annotation()
    annotation.calcification = calcified
    annotation.provenance = {"calcium": {"rule": "from 850 HU (test)"}}
    result = measure(root.volume, annotation)
    assert result.value("annulus_area") == pytest.approx(root.area, rel=0.03)
    assert result.value("annulus_d_area") == pytest.approx(2 * np.sqrt(root.area / np.pi), rel=0.015)
    assert result.value("annulus_d_perimeter") == pytest.approx(root.perimeter / np.pi, rel=0.015)
    assert result.value("annulus_eccentricity") == pytest.approx(1 - 10.5 / 13.5, abs=0.03)
    assert result.value("height_lca") == pytest.approx(15)
    assert result.value("height_rca") == pytest.approx(17)
    assert result.value("ms_lower_depth") == pytest.approx(2.1)
    assert result.value("ms_upper_height") == pytest.approx(4.5)
    assert result.value("ms_height") == pytest.approx(6.6)
    assert result.value("lumen_hu") == pytest.approx(400, abs=5)
    assert result.value("lumen_noise") == pytest.approx(25, abs=4)
    assert result.value("calcium_total") == pytest.approx(calcified.sum() * 0.6 * 0.6 * 0.8)
    assert result.value("calcium_rcc") == pytest.approx(result.value("calcium_total"), rel=0.02)
    angulation = np.rad2deg(np.arctan2(abs(root.n[0]), root.n[2]))
    assert result.value("root_angulation") == pytest.approx(angulation, abs=1e-6)
    assert "from 850 HU (test)" in next(r for r in result.rows() if r["id"] == "calcium_total")["definition"]


def test_septum_depth_comes_before_its_height(root: Tube):
    ids = [row["id"] for row in measure(root.volume, root.annotation()).rows() if row["group"] == "septum"]
    assert ids == ["ms_lower_depth", "ms_height", "ms_upper_height"]


@pytest.mark.parametrize("present", list(product((True, False), repeat=5)))
def test_every_subset_of_the_five_points(root: Tube, calcified: np.ndarray, present: tuple[bool, ...]):
    annotation = root.annotation()
    annotation.calcification = calcified
    complete = measure(root.volume, annotation)
    gone = {i for i, there in zip(schema.HEADS["hps"], present, strict=True) if not there}
    for label_id in gone:
        annotation.landmarks[label_id].position = None
    result = measure(root.volume, annotation)
    assert [r["id"] for r in result.rows()] == [r["id"] for r in complete.rows()]
    for row_id, needs in NEEDS.items():
        if gone & set(needs):
            assert result.value(row_id) is None, row_id
        else:
            assert result.value(row_id) == pytest.approx(complete.value(row_id)), row_id
    for row in result.rows():
        assert (row["value"] is None) == bool(row["reason"]), row
    json.dumps(result.to_dict(), allow_nan=False)


@pytest.mark.parametrize("present", list(product((True, False), repeat=2)))
def test_every_subset_of_the_septum(root: Tube, present: tuple[bool, bool]):
    annotation = root.annotation()
    for label_id, there in zip(schema.HEADS["ms"], present, strict=True):
        if not there:
            annotation.landmarks[label_id].position = None
    result = measure(root.volume, annotation)
    upper, lower = present
    assert (result.value("ms_lower_depth") is not None) == lower
    assert (result.value("ms_upper_height") is not None) == upper
    assert (result.value("ms_height") is not None) == (upper and lower)


@pytest.mark.parametrize("pair", [("hinge_rcc", "ostium_rca"), ("hinge_lcc", "ostium_lca")])
def test_the_wall_of_one_cusp_is_not_taken_for_blood(root: Tube, pair: tuple[str, str]):
    annotation = root.annotation()
    for label_id in set(schema.HEADS["hps"]) - set(pair):
        annotation.landmarks[label_id].position = None
    result = measure(root.volume, annotation)
    assert result.suitability.contrast is None
    assert result.suitability.refusal == ""


def test_nothing_known_at_all(root: Tube):
    result = measure(root.volume, Annotation())
    numbers = {row["id"] for row in result.rows() if row["value"] is not None}
    assert numbers == {"slice_thickness", "uncovered"}
    assert result.plane is None and result.carm is None and result.calcium is None
    json.dumps(result.to_dict(), allow_nan=False)


def test_absent_and_broken_positions_count_as_missing(root: Tube):
    annotation = root.annotation()
    annotation.landmarks["ostium_lca"].status = Status.ABSENT
    annotation.landmarks["ostium_rca"].position = np.array([np.nan, 0, 0])
    result = measure(root.volume, annotation)
    assert result.value("height_lca") is None and result.value("height_rca") is None


@pytest.mark.parametrize("status", [Status.PREDICTED, Status.CORRECTED])
@pytest.mark.parametrize("label_id", schema.LANDMARK_IDS)
def test_a_point_outside_the_ct_counts_as_missing_and_is_told_first(
    root: Tube, calcified: np.ndarray, label_id: str, status: Status
):
    annotation = root.annotation()
    annotation.calcification = calcified
    annotation.landmarks["ostium_lca"].position = root.at(133, 8, 3)  # a low ostium: it is told after this
    low = measure(root.volume, annotation)
    annotation.landmarks[label_id].position = root.center + 500
    annotation.landmarks[label_id].status = status
    result = measure(root.volume, annotation)
    assert f"{schema.by_id(label_id).name} lies outside the CT" in result.warnings[0]
    assert sum("outside the CT and" in words for words in result.warnings) == 1
    for row_id, needs in NEEDS.items():
        row = next(r for r in result.rows() if r["id"] == row_id)
        if label_id in needs:
            assert row["value"] is None and "outside the CT" in row["reason"], row
        elif low.value(row_id) is not None:
            assert row["value"] == pytest.approx(low.value(row_id), abs=1e-3), row
    assert result.value("uncovered") == 1
    assert (result.carm is None) == (label_id in schema.HINGE_IDS)
    json.dumps(result.to_dict(), allow_nan=False)


@pytest.mark.parametrize(("height", "low"), [(12.0, False), (9.9, True), (2.0, True), (-1.0, True)])
def test_a_low_ostium_is_a_warning_and_keeps_its_number(root: Tube, height: float, low: bool):
    annotation = root.annotation()
    annotation.landmarks["ostium_lca"].position = root.at(133, height, 3)
    result = measure(root.volume, annotation)
    row = next(r for r in result.rows() if r["id"] == "height_lca")
    assert row["value"] == pytest.approx(height)
    assert bool(row["warning"]) == low
    assert "ostium centre" in row["name"] and "lower lip" in row["definition"]
    assert ("LOW OSTIUM" in (result.warnings or [""])[0]) == low


def test_without_contrast_nothing_of_the_lumen_is_measured():
    root = tube(blood=45, tissue=55, noise=15)
    annotation = root.annotation()
    annotation.calcification = np.ones(root.volume.array.shape, np.uint8)
    annotation.annulus_contour = circle_points(root.center, root.n, 12)
    result = measure(root.volume, annotation)
    for row in result.rows():
        if row["id"].startswith("calcium") or row["id"].startswith("annulus_"):
            assert row["value"] is None and "no contrast" in row["reason"], row
    assert result.suitability.contrast is False
    assert "not measurable" in result.suitability_line
    assert result.contour.points is None
    # Heights over a plane of predicted points would be numbers from what nobody can see; a person's points are used.
    assert result.value("height_lca") is None
    assert result.carm is None
    for row_id in ("ms_height", "ms_lower_depth", "ms_upper_height"):
        row = next(r for r in result.rows() if r["id"] == row_id)
        assert row["value"] is None and "no contrast" in row["reason"], row
    for label_id in schema.HINGE_IDS:
        annotation.landmarks[label_id].status = Status.CORRECTED
    result = measure(root.volume, annotation)
    assert result.plane is not None and result.value("root_angulation") is not None
    for row_id in ("height_lca", "height_rca", "ms_height", "ms_lower_depth", "ms_upper_height"):
        row = next(r for r in result.rows() if r["id"] == row_id)
        assert row["value"] is None and "no contrast" in row["reason"], row
    for landmark in annotation.landmarks.values():
        landmark.status = Status.CONFIRMED
    assert measure(root.volume, annotation).value("height_lca") == pytest.approx(15)


def test_a_number_from_a_flagged_prediction_says_so_and_one_from_a_reviewed_point_does_not(root: Tube, calcified):
    annotation = root.annotation()
    annotation.calcification = calcified

    def told() -> dict[str, str]:
        return {
            row["id"]: row["warning"] for row in measure(root.volume, annotation).rows() if "flagged" in row["warning"]
        }

    assert told() == {}
    doubt = ["uncertain: confidence 0.30, check this point"]
    annotation.landmarks["ms_lower"].flags = ["septum's height: 12 mm, more than usual"]
    assert set(told()) == {"ms_lower_depth", "ms_height"}
    annotation.landmarks["ostium_rca"].flags = doubt
    assert told()["height_rca"] == "depends on flagged points: check ostium RCA"
    annotation.landmarks["hinge_ncc"].flags = doubt
    assert {"three_cusp_lao", "root_angulation", "height_lca", "annulus_area", "calcium_rcc"} <= set(told())
    assert "cusp_overlap_lao" not in told() and "calcium_total" not in told()
    assert told()["height_rca"] == "depends on flagged points: check hinge point NCC, ostium RCA"
    annotation.landmarks["ostium_rca"].position = annotation.landmarks["ostium_rca"].position - 9 * root.n
    assert told()["height_rca"].startswith("LOW OSTIUM") and told()["height_rca"].endswith("ostium RCA")
    annotation.annulus_contour, annotation.contour_status = circle_points(root.center, root.n, 12), Status.CONFIRMED
    assert "annulus_area" not in told()
    for landmark in annotation.landmarks.values():
        landmark.status = Status.CONFIRMED
    assert told() == {}


def test_a_reviewed_contour_is_measured_as_it_is(root: Tube):
    annotation = root.annotation()
    annotation.annulus_contour = circle_points(root.center, root.n, 14)
    for status in (Status.CORRECTED, Status.CONFIRMED):
        annotation.contour_status = status
        result = measure(root.volume, annotation)
        assert result.contour.source == "reviewed"
        assert result.value("annulus_d_area") == pytest.approx(28, rel=1e-3)
    for label_id in schema.HINGE_IDS:
        annotation.landmarks[label_id].position = None
    assert measure(root.volume, annotation).value("annulus_d_area") == pytest.approx(28, rel=1e-3)
    annotation.contour_status = Status.ABSENT
    result = measure(root.volume, annotation)
    assert result.value("annulus_area") is None and "reviewer" in result.contour.reason


def test_a_predicted_contour_of_another_plane_is_traced_anew(root: Tube):
    annotation = root.annotation()
    annotation.annulus_contour = circle_points(root.center + 5 * root.n, root.n, 20)
    assert measure(root.volume, annotation).value("annulus_area") == pytest.approx(root.area, rel=0.03)
    annotation.annulus_contour = circle_points(root.center, root.n, 12)
    assert measure(root.volume, annotation).contour.source == "predicted"
    annotation.provenance["contour"] = {"reason": "", "warning": "no edge over 20 degrees"}
    result = measure(root.volume, annotation)
    assert result.contour.warning == "no edge over 20 degrees" and "no edge over 20 degrees" in result.warnings


def lobed(root: Tube, lobes: int, depth: float) -> np.ndarray:
    """(180, 3) RAS mm: a circle of 12 mm whose radius swings by the share ``depth``, ``lobes`` times around."""
    angle = np.deg2rad(np.arange(0, 360, 2))
    radius = 12 * (1 + depth * np.cos(lobes * angle))
    return root.center + (radius * np.cos(angle))[:, None] * root.u + (radius * np.sin(angle))[:, None] * root.v


@pytest.mark.parametrize(("lobes", "depth"), [(3, 0.3), (4, 0.18), (5, 0.13), (2, 0.45)])
def test_a_lobed_contour_is_traced_anew_and_a_persons_is_told(root: Tube, lobes: int, depth: float):
    annotation = root.annotation()
    annotation.annulus_contour = lobed(root, lobes, depth)
    result = measure(root.volume, annotation)
    assert result.contour.source == "traced"
    assert result.value("annulus_area") == pytest.approx(root.area, rel=0.03)
    annotation.contour_status = Status.CONFIRMED
    result = measure(root.volume, annotation)
    assert result.value("annulus_area") is not None and "lobed" in result.contour.warning


@pytest.mark.parametrize(("lobes", "depth"), [(2, 0.2), (3, 0.1), (4, 0.06)])
def test_an_uneven_annulus_is_measured(root: Tube, lobes: int, depth: float):
    annotation = root.annotation()
    annotation.annulus_contour = lobed(root, lobes, depth)
    result = measure(root.volume, annotation)
    assert result.value("annulus_area") is not None and result.contour.warning == ""


def test_a_warning_on_the_contour_stands_at_every_number_of_it_and_is_told_once(root: Tube):
    annotation = root.annotation()
    annotation.annulus_contour = circle_points(root.center, root.n, 12)
    annotation.provenance["contour"] = {"reason": "", "warning": "no edge over 20 degrees"}
    result = measure(root.volume, annotation)
    told = {row["id"] for row in result.rows() if row["warning"] == "no edge over 20 degrees"}
    keys = ("area", "perimeter", "d_min", "d_max", "d_area", "d_perimeter", "eccentricity")
    assert told == {f"annulus_{key}" for key in keys}
    assert result.warnings.count("no edge over 20 degrees") == 1


def test_a_contour_that_is_not_measurable_says_so():
    from tube_phantom import atrium

    root = tube(change=atrium(160, opening=100))
    result = measure(root.volume, root.annotation())
    assert result.contour.reason.startswith("not measurable: ")
    assert result.value("annulus_area") is None and result.value("annulus_eccentricity") is None
    assert any("not measurable" in words for words in result.warnings)


def test_the_annotation_and_the_ct_are_left_as_they_were(root: Tube, calcified: np.ndarray):
    annotation = root.annotation()
    annotation.calcification = calcified.copy()
    before = root.volume.array.copy()
    positions = {i: mark.position.copy() for i, mark in annotation.landmarks.items()}
    measure(root.volume, annotation)
    assert np.array_equal(root.volume.array, before)
    assert np.array_equal(annotation.calcification, calcified)
    assert annotation.annulus_contour is None
    assert all(np.array_equal(annotation.landmarks[i].position, p) for i, p in positions.items())
