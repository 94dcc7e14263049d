"""C-arm angulations: the anchors, the defining property, and the horizontal axis."""

from __future__ import annotations

import numpy as np
import pytest

from fedkdtavi_core.measurements import annulus_plane
from fedkdtavi_core.measurements.carm import (
    View,
    carm_views,
    cranial_for,
    direction,
    perpendicular_curve,
    view_along,
)

SIN, COS = np.sin(np.deg2rad(20)), np.cos(np.deg2rad(20))


def test_anchors():
    forwards = np.array([0, -SIN, COS])
    assert cranial_for(forwards, 0) == pytest.approx(-20, abs=1e-9)  # caudal 20
    rightwards = np.array([-SIN, 0, COS])
    assert cranial_for(rightwards, 90) == pytest.approx(20, abs=1e-9)
    assert cranial_for(rightwards, 0) == pytest.approx(0, abs=1e-9)


def test_directions_in_lps():
    assert direction(0, 0) == pytest.approx([0, -1, 0])  # detector in front of the patient
    assert direction(90, 0) == pytest.approx([1, 0, 0])  # LAO 90: on the patient's left
    assert direction(0, 90) == pytest.approx([0, 0, 1])  # cranial


@pytest.mark.parametrize("seed", range(10))
def test_every_view_of_the_curve_is_perpendicular_to_the_normal(seed: int):
    normal = np.random.default_rng(seed).normal(size=3)
    normal /= np.linalg.norm(normal)
    curve = perpendicular_curve(normal)
    assert np.abs([direction(*view) @ normal for view in curve]).max() < 1e-9
    assert (np.abs(curve[:, 0]) <= 90).all()
    assert (np.abs(curve[:, 1]) <= 90).all()
    assert perpendicular_curve(-normal) == pytest.approx(curve)


@pytest.mark.parametrize("angle", [0, 37, 90, 143, 180, 250, 300])
def test_a_horizontal_axis_gives_a_vertical_line(angle: float):
    normal = np.array([np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle)), 0.0])
    assert cranial_for(normal, 10) is None
    curve = perpendicular_curve(normal)
    assert np.ptp(curve[:, 0]) == 0
    assert np.abs([direction(*view) @ normal for view in curve]).max() < 1e-9
    assert (np.abs(curve[:, 0]) <= 90).all()


def test_a_nearly_horizontal_axis_stays_finite():
    for nz in (1e-3, 1e-6, -1e-6, -1e-3, 0.02, -0.02):
        assert np.isfinite(perpendicular_curve(np.array([0.6, -0.8, nz]))).all()


@pytest.mark.parametrize("seed", range(10))
def test_a_view_along_a_vector_has_its_direction_with_the_detector_in_front(seed: int):
    vector = np.random.default_rng(seed).normal(size=3)
    view = view_along(vector)
    v = direction(view.lao, view.cranial)
    assert abs(v @ vector) == pytest.approx(np.linalg.norm(vector))
    assert v[1] <= 1e-9
    assert view_along(-vector) == view


def test_named_views_of_a_root():
    points = {"hinge_rcc": [2, 12, 3], "hinge_lcc": [-11, -4, 6], "hinge_ncc": [10, -8, -5]}
    plane = annulus_plane({i: np.array(p, float) for i, p in points.items()})
    carm = carm_views(plane)
    lps = np.array([-1, -1, 1.0])
    normal = plane.normal * lps
    rcc, lcc, ncc = plane.hinges * lps
    three = direction(carm.three_cusp.lao, carm.three_cusp.cranial)
    overlap = direction(carm.cusp_overlap.lao, carm.cusp_overlap.cranial)
    assert abs(three @ normal) < 1e-9 and abs(overlap @ normal) < 1e-9
    assert np.cross(three, rcc - (ncc + lcc) / 2) == pytest.approx([0, 0, 0], abs=1e-9)
    assert np.cross(overlap, rcc - lcc) == pytest.approx([0, 0, 0], abs=1e-9)
    assert cranial_for(normal, carm.three_cusp.lao) == pytest.approx(carm.three_cusp.cranial)
    # Cusp overlap lies more to the RAO than the three-cusp view, in every root that is not upside down.
    assert carm.cusp_overlap.lao < carm.three_cusp.lao


def test_views_out_of_reach_are_marked_and_shown():
    assert View(20, -20).reachable
    assert not View(75, 0).reachable
    assert not View(0, 60).reachable
    assert str(View(-12.4, -20.2)) == "RAO 12 CAU 20"
    assert str(View(30, 5)) == "LAO 30 CRA 5"
    points = {"hinge_rcc": [0, 1, 12], "hinge_lcc": [-11, -1, -6], "hinge_ncc": [10, -1, -6]}
    carm = carm_views(annulus_plane({i: np.array(p, float) for i, p in points.items()}))
    three, _ = carm.rows()[:2]
    assert not carm.three_cusp.reachable
    assert three.value is not None and "reach" in three.warning
