"""The phantom's root and what is rendered of it: landmarks where the anatomy says, the same from the same seed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fedkdtavi_core import schema
from fedkdtavi_core.volume import Grid
from fedkdtavi_training.phantom.canvas import Canvas, Pose
from fedkdtavi_training.phantom.coronaries import DISCERNIBLE, hidden_ostia
from fedkdtavi_training.phantom.render import Anatomy, plane_normal, render_chest, render_crop
from fedkdtavi_training.phantom.root import Root
from fedkdtavi_training.phantom.shapes import Ellipsoid, frame
from fedkdtavi_training.phantom.valve import paint_calcium

LARGEST_NODULE_MM = 6.0  # half axis


@pytest.mark.parametrize("seed", range(12))
def test_calcium_of_an_open_valve_lies_on_its_leaflets_and_not_above_them(seed):
    rng = np.random.default_rng([77, seed])
    anatomy = Anatomy.sample(rng)
    valve = replace(anatomy.valve, opening=0.8, calcium_mm3=1500.0, outflow_calcium_mm3=0.0)
    affine = np.diag([1.5, 1.5, 1.5, 1.0])
    affine[:3, 3] = -48.0
    canvas = Canvas(Grid((64, 64, 64), affine), Pose(), rng)
    paint_calcium(canvas, anatomy.root, valve, anatomy.tissue, rng)
    height = canvas.grid.to_ras(np.argwhere(canvas.calcium > 0.5)) @ anatomy.root.axis
    assert len(height) > 50
    assert height.max() < anatomy.root.commissure_height.max() + LARGEST_NODULE_MM


@pytest.mark.parametrize("seed", range(25))
def test_hinge_points_lie_in_their_plane_and_run_counter_clockwise(seed):
    root = Root.sample(np.random.default_rng(seed))
    points = root.landmarks()
    hinges = np.array([points[name] for name in schema.HINGE_IDS])
    np.testing.assert_allclose(hinges @ root.axis, root.hinge_height, atol=1e-9)
    assert 0 < root.hinge_height < 1
    assert plane_normal(hinges) @ root.axis > 0.999
    for name in ("rca", "lca"):
        assert points[f"ostium_{name}"] @ root.axis == pytest.approx(root.ostium_height[name])
    assert points["ms_upper"] @ root.axis > points["ms_lower"] @ root.axis


def test_cylinder_coordinates_are_the_inverse_of_place():
    root = Root.sample(np.random.default_rng(3))
    for theta, h in ((0.2, -4.0), (2.0, 3.0), (-1.5, 12.0)):
        rho, angle, height = root.cylinder(root.place(theta, h)[None].astype(np.float32))
        assert rho[0] == pytest.approx(float(root.lumen_radius(np.array(theta), np.array(h))), abs=1e-3)
        assert angle[0] == pytest.approx(theta, abs=1e-4)
        assert height[0] == pytest.approx(h, abs=1e-4)


def test_hinge_points_lie_on_the_pockets_floors():
    widths = []
    for seed in range(25):
        root = Root.sample(np.random.default_rng(seed))
        for name, theta, floor in zip(schema.HINGE_IDS, root.hinge, root.floor, strict=True):
            at = np.array(theta)
            inner, outer = (float(root.leaflet_radius(at, np.array(h))) for h in (0.0, root.floor_rise))
            wall = float(root.lumen_radius(at, np.array(root.floor_rise)))
            share = (np.linalg.norm(root.landmarks()[name] - root.middle(root.hinge_height)) - inner) / max(floor, 1)
            assert wall - outer == pytest.approx(floor, rel=0.2)
            assert floor < 1 or 0.4 <= share < 0.4 + 2.2 / floor  # the sinus' own rise comes on top
            widths.append(floor)
    assert np.median(widths) > 2.5


def test_the_true_contour_encloses_the_true_area():
    anatomy = Anatomy.sample(np.random.default_rng(8))
    truth = anatomy.truth()
    a, b = anatomy.root.semi_axes[1] * anatomy.pose.scale
    assert truth["annulus_area_mm2"] == pytest.approx(np.pi * a * b, rel=0.15)  # the warp bends it a little
    assert np.linalg.norm(truth["plane_normal"]) == pytest.approx(1)


def test_a_seed_is_a_patient():
    one, again, other = (render_crop(seed, size=40, spacing=3.0) for seed in (5, 5, 6))
    np.testing.assert_array_equal(one.hu, again.hu)
    np.testing.assert_array_equal(one.calc, again.calc)
    assert not np.array_equal(one.hu, other.hu)


def test_lumen_is_bright_at_the_hinge_points_inner_side_and_not_outside_the_heart():
    crop = render_crop(5, size=64, spacing=1.25)
    hinges = np.array([crop.points[name] for name in schema.HINGE_IDS])
    inner = np.rint(crop.grid.to_ijk(hinges.mean(axis=0))).astype(int)
    assert crop.hu[tuple(inner)] == pytest.approx(crop.info["left_blood_hu"], rel=0.3)
    assert schema.HEART_CLASSES[crop.heart[tuple(inner)]] in ("left_ventricle", "aorta")


@pytest.mark.parametrize("kind", ["heart", "noheart", "truncated", "noncontrast", "prosthesis", "low_ostia"])
def test_every_kind_of_chest_renders(kind):
    chest = render_chest([4, 2], 6.0, kind=kind)
    assert chest.hu.dtype == np.int16
    assert set(chest.points) == set(schema.LANDMARK_IDS)
    if kind == "noheart":
        assert not chest.heart[chest.heart != schema.HEART_CLASSES.index("aorta")].any()
        assert all(place is None for place in chest.points.values())
    if kind == "truncated":
        assert any(place is None for place in chest.points.values())
    if kind not in ("noheart", "truncated"):
        assert all(place is None or chest.grid.contains(place) for place in chest.points.values())
        assert all(chest.points[name] is not None for name in (*schema.HINGE_IDS, *schema.HEADS["ms"]))
    if kind == "prosthesis":
        assert not chest.calc.any()


def test_an_ostium_that_nobody_can_see_is_in_no_answer_but_in_the_training_crop() -> None:
    faint = {
        seed: {vessel.ostium for vessel in vessels if vessel.ostium and vessel.opacity < DISCERNIBLE}
        for seed in range(60)
        for vessels in [Anatomy.sample(np.random.default_rng([4, seed]), turn_deg=9.0).vessels]
    }
    assert {name for names in faint.values() for name in names} == {"ostium_rca", "ostium_lca"}
    seed, hidden = next((seed, names) for seed, names in faint.items() if names)
    chest = render_chest([4, seed], spacing=4.0)
    assert {name for name, place in chest.points.items() if place is None} >= hidden
    assert all(chest.points[name] is not None for name in ("hinge_rcc", "hinge_lcc", "hinge_ncc"))
    crop = render_crop([4, seed], size=32, spacing=3.0)
    assert all(crop.points[name] is not None for name in hidden)


def test_an_artery_is_seen_by_what_it_stands_out_from() -> None:
    anatomy = Anatomy.sample(np.random.default_rng([4, 1]), turn_deg=9.0)
    vessels = [replace(vessel, opacity=1.0) for vessel in anatomy.vessels]
    centre = anatomy.centre()
    grid = Grid((90,) * 3, np.block([[np.eye(3), (centre - 44.5)[:, None]], [np.zeros(3), 1.0]]))

    def hidden(around_hu: float) -> set[str]:
        """A bright root, and arteries as bright, in surroundings of ``around_hu``."""
        canvas = Canvas(grid, anatomy.pose, np.random.default_rng(0), background_hu=around_hu)
        for h in np.linspace(-5, 30, 40):
            canvas.ellipsoid(Ellipsoid(anatomy.root.middle(h), np.full(3, 10.0), frame(anatomy.root.axis)), 400.0)
        for vessel in vessels:
            canvas.tube(vessel.path, vessel.radii, 400.0)
        return hidden_ostia(vessels, anatomy.root, canvas.hu, grid, anatomy.pose.to_ras)

    assert hidden(-80.0) == set()  # fat
    assert hidden(100.0) == set()  # muscle
    assert hidden(390.0) == {"ostium_rca", "ostium_lca"}  # a chamber as bright
