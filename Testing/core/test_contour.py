"""The lumen's edge on analytic tubes: sizes within 3 %, and no number from a contour that leaks."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import ndtr
from tube_phantom import atrium, fat, nodule, together, tube

from fedkdtavi_core.measurements import NotMeasurable, annulus_contour, annulus_plane, trace_lumen
from fedkdtavi_core.measurements.curve import measure_curve
from fedkdtavi_core.volume import Volume

FINE, USUAL, THICK = (0.4, 0.4, 0.5), (0.6, 0.6, 0.8), (0.8, 0.8, 2.5)
NODULES = together(nodule(13.5, 0), nodule(0, -10.5, radius=3), nodule(-8, 4), nodule(0, 0, radius=2, peak=1000))
RING = together(*(nodule(13.5 * np.cos(t), 10.5 * np.sin(t), radius=2) for t in np.deg2rad(np.arange(0, 360, 45))))

CASES = {
    "usual": {},
    "axial": {"tilt": 0},
    "steep": {"tilt": 80, "azimuth": 200},
    "fine and noisy": {"spacing": FINE, "noise": 60},
    "thick slices, weak contrast": {"spacing": THICK, "blood": 220},
    "thick slices, noisy": {"spacing": THICK, "blood": 300, "noise": 50},
    "blurred": {"blur": 1.2},
    "small": {"a": 9, "b": 7.5},
    "large": {"a": 17, "b": 13},
    "eccentric": {"a": 15, "b": 9.5},
    "round": {"a": 12, "b": 12},
    "in air": {"tissue": -1000},
    "in fat": {"tissue": -80},
    "wall, then fat": {"change": fat(2.0)},
    "wall, then fat, thick slices": {"change": fat(2.2), "spacing": (0.8, 0.8, 2.0), "blood": 300},
    "chamber behind a thin wall": {"change": atrium(150)},
    "calcium in the lumen and the wall": {"change": NODULES},
    "ring of calcium": {"change": RING},
    "narrow opening": {"change": atrium(150, opening=20)},
}


@pytest.mark.parametrize("name", CASES)
def test_sizes_are_within_three_percent_of_the_analytic_tube(name: str):
    root = tube(**CASES[name])
    found = trace_lumen(root.volume, root.center, root.n, expected_radius_mm=12.0)
    assert found.size.area == pytest.approx(root.area, rel=0.03)
    assert found.size.perimeter == pytest.approx(root.perimeter, rel=0.03)
    assert found.size.d_max == pytest.approx(2 * root.a, rel=0.03)
    assert found.size.d_min == pytest.approx(2 * root.b, rel=0.03)
    assert np.abs((found.points - root.center) @ root.n).max() < 1e-6


@pytest.mark.parametrize("seed", range(4))
def test_start_radius_and_length_of_the_normal_do_not_matter(seed: int):
    rng = np.random.default_rng(seed)
    root = tube(seed=seed)
    off = rng.uniform(-3, 3, 2)
    start = root.center + off[0] * root.u + off[1] * root.v
    found = trace_lumen(root.volume, start, 7.0 * root.n, expected_radius_mm=(None, 9.0, 12.0, 17.0)[seed])
    assert found.size.area == pytest.approx(root.area, rel=0.01)
    assert found.size.centroid == pytest.approx(root.center, abs=0.15)


def test_the_way_voxels_are_stored_does_not_matter():
    root = tube(size=44)
    flipped = root.volume.array[::-1, :, :].transpose(2, 0, 1)
    affine = root.volume.affine.copy()
    affine[:3, 3] += affine[:3, 0] * (root.volume.array.shape[0] - 1)
    affine[:, 0] *= -1
    other = Volume(flipped, affine[:, [2, 0, 1, 3]])
    one = trace_lumen(root.volume, root.center, root.n)
    two = trace_lumen(other, root.center, root.n)
    assert two.points == pytest.approx(one.points, abs=1e-3)


def test_a_line_through_hinge_points_with_errors_still_sizes_the_annulus():
    root = tube()
    points = {i: mark.position.copy() for i, mark in root.annotation().landmarks.items()}
    rng = np.random.default_rng(3)
    for label_id in ("hinge_rcc", "hinge_lcc", "hinge_ncc"):
        points[label_id] += rng.normal(0, 1, 3)
    found = annulus_contour(root.volume, annulus_plane(points))
    assert found.size.area == pytest.approx(root.area, rel=0.03)


@pytest.mark.parametrize("opening", [55, 70, 100, 140, 200])
@pytest.mark.parametrize("at", [0, 117])
def test_an_opening_to_another_chamber_is_not_measurable(opening: float, at: float):
    root = tube(change=atrium(opening + 60, opening=opening, at=at))
    with pytest.raises(NotMeasurable, match=r"leaks|no edge|blood"):
        trace_lumen(root.volume, root.center, root.n, expected_radius_mm=12.0)


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"blood": 45, "tissue": 50, "noise": 15}, "no contrast"),
        ({"blood": 95}, "no contrast"),
        ({"blood": 140, "tissue": 95}, "too little contrast for its edge"),
        ({"a": 40, "b": 40, "size": 70, "spacing": (1.0, 1.0, 1.0)}, "no edge"),
        ({"a": 3.5, "b": 3.5}, "diameter|no edge|no contrast|blood"),
        ({"a": 18, "b": 6.5}, "shape|jumps"),
    ],
)
def test_what_is_no_annulus_is_not_measurable(how: dict, words: str):
    root = tube(**how)
    with pytest.raises(NotMeasurable, match=words):
        trace_lumen(root.volume, root.center, root.n, expected_radius_mm=12.0)


def clover(lobes: int, depth: float):
    """A tube whose wall swings in and out by ``depth`` mm, ``lobes`` times around."""

    def change(hu, x, y, z, d):
        edge = d - depth * np.cos(lobes * np.arctan2(y, x))
        return 80 + 320 * ndtr(-edge / 0.7)

    return change


def test_a_lumen_with_lobes_is_not_measurable():
    root = tube(a=12, b=12, change=clover(4, 2.2))
    with pytest.raises(NotMeasurable, match="shape"):
        trace_lumen(root.volume, root.center, root.n, expected_radius_mm=12.0)
    dented = tube(a=12, b=12, change=clover(4, 1.4))
    plane = annulus_plane({i: mark.position for i, mark in dented.annotation().landmarks.items()})
    assert "dented or lobed" in annulus_contour(dented.volume, plane).warning
    slight = tube(a=12, b=12, change=clover(4, 0.6))
    assert trace_lumen(slight.volume, slight.center, slight.n, expected_radius_mm=12.0).size.solidity > 0.98


def test_a_ct_that_ends_inside_the_lumen_is_not_measurable():
    root = tube(tilt=20)
    cut = Volume(root.volume.array[: root.volume.array.shape[0] // 2 + 8], root.volume.affine)
    with pytest.raises(NotMeasurable, match="ends inside"):
        trace_lumen(cut, root.center, root.n, expected_radius_mm=12.0)


def test_a_plane_outside_the_ct_is_not_measurable():
    root = tube()
    with pytest.raises(NotMeasurable, match="too few voxels"):
        trace_lumen(root.volume, root.center + 200, root.n)


def test_bridged_calcium_and_gaps_are_counted():
    calcified = tube(change=RING)
    found = trace_lumen(calcified.volume, calcified.center, calcified.n, expected_radius_mm=12.0)
    assert 0.4 < found.calcium_share < 0.75
    opened = tube(change=atrium(150, opening=30))
    assert 15 < trace_lumen(opened.volume, opened.center, opened.n, expected_radius_mm=12.0).gap_deg <= 40


def ellipse(a: float, b: float, count: int, turn: float = 0.0) -> np.ndarray:
    t = np.arange(count) * 2 * np.pi / count + turn
    return np.column_stack([a * np.cos(t), b * np.sin(t), np.zeros(count)])


def test_sizes_of_curves_with_known_sizes():
    circle = measure_curve(ellipse(12, 12, 720), np.array([0, 0, 1.0]))
    assert circle.area == pytest.approx(np.pi * 144, rel=1e-4)
    assert circle.perimeter == pytest.approx(24 * np.pi, rel=1e-4)
    assert (circle.d_area, circle.d_perimeter) == pytest.approx((24, 24), rel=1e-4)
    assert circle.eccentricity == pytest.approx(0, abs=1e-3)
    oval = measure_curve(ellipse(15, 10, 720) + [100, -40, 7])
    assert (oval.d_max, oval.d_min) == pytest.approx((30, 20), rel=1e-3)
    assert oval.eccentricity == pytest.approx(1 / 3, abs=1e-3)
    assert oval.centroid == pytest.approx([100, -40, 7], abs=1e-6)
    square = np.array([[0, 0, 0], [10, 0, 0], [10, 10, 0], [0, 10, 0.0]])
    sides = zip(square, np.roll(square, -1, axis=0), strict=True)
    dense = np.concatenate([np.linspace(a, b, 100, endpoint=False) for a, b in sides])
    size = measure_curve(dense)
    assert (size.area, size.perimeter, size.solidity) == pytest.approx((100, 40, 1), rel=1e-6)
    assert (size.d_min, size.d_max) == pytest.approx((10, 10 * np.sqrt(2)), rel=1e-3)


def test_direction_and_first_point_of_a_curve_do_not_matter():
    curve = ellipse(15, 10, 200)
    for other in (curve[::-1], np.roll(curve, 37, axis=0)):
        assert measure_curve(other).area == pytest.approx(measure_curve(curve).area)
        assert measure_curve(other).d_min == pytest.approx(measure_curve(curve).d_min, abs=1e-3)


@pytest.mark.parametrize("count", [8, 12, 24])
def test_a_few_control_points_are_joined_by_a_spline(count: int):
    size = measure_curve(ellipse(14, 11, count, turn=0.2))
    assert size.area == pytest.approx(np.pi * 14 * 11, rel=0.01)


@pytest.mark.parametrize(
    "points",
    [
        np.zeros((0, 3)),
        np.zeros((5, 3)),
        np.array([[0, 0, 0], [1, 0, 0.0]]),
        np.array([[0, 0, 0], [1, 0, 0], [2, 0, 0], [3, 0, 0.0]]),
        np.array([[0, 0, 0], [1, np.nan, 0], [0, 1, 0.0]]),
    ],
)
def test_what_is_no_curve_has_no_sizes(points: np.ndarray):
    with pytest.raises(NotMeasurable):
        measure_curve(points, np.array([0, 0, 1.0]))
