"""The chest around the heart and the scans without one: repeatable, finite, and painted where they belong."""

from __future__ import annotations

import numpy as np
import pytest

from fedkdtavi_core.schema import HEART_CLASSES
from fedkdtavi_core.volume import Grid
from fedkdtavi_training.phantom.canvas import Canvas, Pose, Warp
from fedkdtavi_training.phantom.chest import paint_after, paint_before
from fedkdtavi_training.phantom.context import ContextParameters
from fedkdtavi_training.phantom.elsewhere import KINDS, paint_elsewhere
from fedkdtavi_training.phantom.lungs import grow_tree
from fedkdtavi_training.phantom.shapes import rotation_about
from fedkdtavi_training.phantom.vessels import arch_path

AORTA = HEART_CLASSES.index("aorta")


def blank(
    seed: int = 0, spacing: float = 6.0, extent: tuple[float, ...] = (384, 320, 384), center=(0, -25, 10), pose=None
) -> Canvas:
    shape = tuple(round(e / spacing) for e in extent)
    affine = np.diag([spacing] * 3 + [1.0])
    affine[:3, 3] = np.asarray(center) - spacing * (np.asarray(shape) - 1) / 2
    return Canvas(Grid(shape, affine), pose or Pose(), np.random.default_rng(seed))


def chest(seed: int = 1, canvas: Canvas | None = None, **known) -> tuple[Canvas, ContextParameters]:
    canvas = canvas or blank(seed)
    p = ContextParameters.sample(np.random.default_rng(seed), **known)
    paint_before(canvas, np.random.default_rng(seed), p)
    return canvas, p


def at(canvas: Canvas, place) -> float:
    """HU of the voxel nearest to an anatomical point."""
    index = np.unravel_index(np.argmin(((canvas.points - np.asarray(place, np.float32)) ** 2).sum(-1)), canvas.hu.shape)
    return float(canvas.hu[index])


@pytest.mark.parametrize("seed", range(4))
def test_everything_is_finite_and_a_body_has_air_lung_tissue_and_bone(seed):
    canvas, p = chest(seed)
    paint_after(canvas, np.random.default_rng(seed), p)
    assert np.isfinite(canvas.hu).all()
    assert canvas.hu.min() >= -1300
    assert np.mean(canvas.hu < -700) > 0.1  # air and lung
    assert np.mean(canvas.hu > -150) > 0.1  # tissue
    assert np.mean(canvas.hu > 250) > 0.002  # bone, blood


def test_the_same_seed_paints_the_same_chest_and_another_seed_another():
    first, again, other = chest(3)[0], chest(3)[0], chest(4)[0]
    np.testing.assert_array_equal(first.hu, again.hu)
    np.testing.assert_array_equal(first.heart, again.heart)
    assert np.abs(first.hu - other.hu).mean() > 20


def test_the_patient_does_not_depend_on_the_grid():
    p = ContextParameters.sample(np.random.default_rng(5), noise=0.0)
    whole, part = blank(5, 4.0, (320, 280, 60), (0, -25, 0)), blank(5, 4.0, (160, 120, 60), (0, -41, 0))
    for canvas in (whole, part):
        canvas.texture[:] = 0
        paint_before(canvas, np.random.default_rng(5), p)
    offset = np.rint((part.grid.affine[:3, 3] - whole.grid.affine[:3, 3]) / 4).astype(int)
    window = tuple(slice(o, o + n) for o, n in zip(offset, part.hu.shape, strict=True))
    assert np.mean(np.abs(whole.hu[window] - part.hu) > 30) < 0.01


def test_only_the_aorta_is_labelled_and_it_carries_the_left_sides_blood():
    canvas, _ = chest(6, blank(6, 5.0), left_blood_hu=432.0)
    assert set(np.unique(canvas.heart)) == {0, AORTA}
    labelled = canvas.hu[canvas.heart == AORTA]
    assert abs(np.median(labelled) - 432) < 25
    assert canvas.calcium.max() == 0


def test_the_arch_leaves_where_it_is_told_and_comes_down_before_the_spine():
    p = ContextParameters.sample(
        np.random.default_rng(0),
        arch_start=np.array([20.0, 9, 60]),
        arch_direction=np.array([0.2, 0, 1]),
        arch_radius=16.0,
    )
    path, radii = arch_path(p)
    np.testing.assert_allclose(path[0], [20, 9, 60])
    assert radii[0] == 16
    leaving = (path[1] - path[0]) / np.linalg.norm(path[1] - path[0])
    assert leaving @ (np.array([0.2, 0, 1]) / np.hypot(0.2, 1)) > 0.9
    crossing = path[np.argmin(np.abs(path[:, 2] - 0.0))]
    np.testing.assert_allclose(crossing[:2], p.descending, atol=6)
    assert np.linalg.norm(np.diff(path, axis=0), axis=1).max() < 15


def test_lungs_spine_and_liver_lie_where_they_should():
    canvas, p = chest(
        7,
        blank(7, 5.0),
        midline=5.0,
        effusion_mm=(0.0, 0.0),
        atelectasis_mm=0.0,
        emphysema=0.0,
        dome_right=-40.0,
        arms="none",
    )
    lung = [at(canvas, (p.midline + side * 85, -40, 30)) for side in (1, -1)]
    assert np.median(lung) < -600
    assert at(canvas, (p.midline, -98, 5)) > 30  # a vertebral body or disc
    assert abs(at(canvas, (p.midline + 66, -25, -95)) - p.tissue["liver"]) < 100
    assert at(canvas, (p.midline, 160, 0)) < -900  # the air above the patient


def test_the_rib_cage_makes_room_for_a_heart_that_reaches_far():
    apex = np.array([-60.0, 62.0, -45.0])
    from fedkdtavi_training.phantom.habitus import Habitus

    for known, inside in (({}, False), ({"enclose": (apex,)}, True)):
        p = ContextParameters.sample(np.random.default_rng(2), depth=0.8, width=0.85, midline=5.0, **known)
        habitus = Habitus.build(p, np.random.default_rng(2))
        assert (habitus.distance(apex.astype(np.float32)[None], "cavity")[0] < 0) == inside


def test_a_dense_crop_inside_the_chest_is_painted_too():
    pose = Pose(
        rotation_about([1, 2, 3], 0.3), 1.1, np.array([30.0, -20, 500]), Warp.sample(np.random.default_rng(1), 3.0)
    )
    canvas, _ = chest(8, blank(8, 2.5, (120, 120, 120), (30, -20, 500), pose))
    assert np.isfinite(canvas.hu).all()
    assert np.ptp(canvas.hu) > 500


@pytest.mark.parametrize("kind", KINDS)
def test_scans_elsewhere_show_something_but_no_heart(kind):
    # Wherever the scanner put its origin.
    pose = Pose(
        rotation_about([0, 0, 1], 0.1), 1.0, np.array([100.0, 50, -900]), Warp.sample(np.random.default_rng(2), 2.0)
    )
    pictures = []
    for _ in range(2):
        canvas = blank(9, 6.0, (384, 300, 240), (90, 60, -890), pose)
        shift = paint_elsewhere(canvas, np.random.default_rng(11), kind)
        assert np.isfinite(canvas.hu).all()
        assert np.mean(canvas.hu > -300) > 0.02
        assert set(np.unique(canvas.heart)) <= {0, AORTA}
        assert canvas.calcium.max() == 0
        # The canvas still knows where its anatomy lies: a voxel's RAS place leads to its anatomical point and back.
        index = (3, 4, 5)
        np.testing.assert_allclose(canvas.pose.to_anatomy(canvas.grid.to_ras(index)), canvas.points[index], atol=0.02)
        assert np.isfinite(shift).all()
        pictures.append(canvas.hu)
    np.testing.assert_array_equal(*pictures)
    if kind != "bottle":
        z = canvas.points[..., 2]
        assert z.max() < -75 or z.min() > 80


def test_unknown_kinds_and_parameters_are_refused():
    with pytest.raises(ValueError, match="known: abdomen"):
        paint_elsewhere(blank(0, 20.0), np.random.default_rng(0), "knee")
    with pytest.raises(TypeError, match="colour"):
        ContextParameters.sample(np.random.default_rng(0), colour=1)


def test_a_vessel_tree_thins_out_and_reaches_every_target():
    targets = np.random.default_rng(3).uniform(-50, 50, (40, 3))
    start, stop, thick, thin = grow_tree(np.array([0.0, 0, 80]), targets, 1.0, 8.0)
    for target in targets:
        assert np.linalg.norm(stop - target, axis=1).min() < 1e-9
    assert np.all(thick >= thin - 1e-9)
    assert thin.min() == pytest.approx(1.0) and thick.max() <= 8.0 * 1.001
    assert np.linalg.norm(start[0] - [0, 0, 80]) < 1e-9
