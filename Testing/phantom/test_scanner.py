"""The scanner: what it may change (the look) and what it must not (where things are)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fedkdtavi_training.phantom.scanner import (
    HELD_OUT,
    HELD_OUT_SHARP,
    TRAINING,
    ScannerStyle,
    contrast_curve,
    degrade,
    simulate_acquisition,
)

SPACING = np.array([1.0, 1.0, 1.0])
QUIET = ScannerStyle(noise_hu=0.0, psf_mm=0.5)


def ball(shape=(48, 48, 48), centre=(23.5, 22.0, 25.0), radius=9.0, inside=400.0, outside=40.0, step=1.0):
    grid = np.indices(shape).astype(float) * step
    distance = np.sqrt(sum((g - c) ** 2 for g, c in zip(grid, centre, strict=True))) - radius
    return (outside + (inside - outside) * np.clip(0.5 - distance / step, 0, 1)).astype(np.float32)


def centroid(hu, outside=40.0, step=1.0, first=0.0):
    weight = np.asarray(hu, float) - outside
    places = np.indices(hu.shape) * np.reshape(step, (-1, 1, 1, 1)) + np.reshape(first, (-1, 1, 1, 1))
    return (places * weight).sum(axis=(1, 2, 3)) / weight.sum()


def run(hu, style, seed=0, spacing=SPACING, **how):
    return degrade(hu, spacing, style, np.random.default_rng(seed), **how)


def test_same_seed_same_scan_and_input_untouched():
    hu = ball()
    before = hu.copy()
    style = ScannerStyle.sample(np.random.default_rng(3))
    first, second, other = run(hu, style, 1), run(hu, style, 1), run(hu, style, 2)
    assert np.array_equal(first, second)
    assert not np.array_equal(first, other)
    assert np.array_equal(hu, before)
    assert first.dtype == np.float32
    assert first.shape == hu.shape


@pytest.mark.parametrize("seed", range(6))
def test_output_is_whole_hu_in_range(seed):
    hu = ball(inside=6000.0, outside=-1500.0)
    out = run(hu, ScannerStyle.sample(np.random.default_rng(seed)), seed)
    assert np.array_equal(out, np.rint(out))
    assert out.min() >= -1024
    assert out.max() <= 3071


@pytest.mark.parametrize(
    "change",
    [{}, {"edge": 0.6}, {"slice_thickness_mm": 5.0, "slice_increment_mm": 4.0}, {"motion_mm": 5.0, "motion_share": 0.4},
     {"jitter_mm": 1.0, "slab_mm": 9.0}, {"motion_blur_mm": 1.5}, {"streaks": 1.0}, {"kvp": 80.0}],
)  # fmt: skip
def test_a_uniform_body_stays_uniform(change):
    assert np.all(run(np.full((40, 36, 32), 50, np.float32), replace(QUIET, **change)) == 50)


@pytest.mark.parametrize(
    ("change", "tolerance"),
    [({}, 0.02), ({"psf_mm": 1.2}, 0.02), ({"psf_mm": 0.3, "edge": 0.5}, 0.02), ({"motion_blur_mm": 1.5}, 0.02),
     ({"motion_mm": 5.0, "motion_share": 0.35}, 0.05), ({"slice_thickness_mm": 5.0, "slice_increment_mm": 4.0}, 0.15)],
)  # fmt: skip
def test_the_anatomy_stays_where_it_is(change, tolerance):
    hu = ball()
    for seed in range(3):
        shift = centroid(run(hu, replace(QUIET, **change), seed)) - centroid(hu)
        assert np.abs(shift).max() < tolerance


def test_slabs_shift_in_the_plane_only_and_each_as_one():
    hu = np.repeat(ball()[:, :, 25:26], 48, axis=2)
    out = run(hu, replace(QUIET, jitter_mm=1.2, slab_mm=12.0), 4)
    place = np.array([centroid(out[:, :, k : k + 1])[:2] for k in range(48)])
    steps = np.abs(np.diff(place, axis=0)).max(axis=1)
    assert 3 <= np.count_nonzero(steps > 0.1) <= 4
    assert np.count_nonzero(steps < 1e-3) >= 43


def test_motion_makes_a_second_edge():
    hu = ball()
    still, moved = run(hu, QUIET), run(hu, replace(QUIET, motion_mm=5.0, motion_share=0.45), 1)
    between = (still > 360) | (still < 80)  # inside or outside for the still scanner
    assert np.count_nonzero(between & (moved > 120) & (moved < 330)) > 300


def test_thick_slices_blur_along_the_slice_axis_only():
    hu = ball()
    out = run(hu, replace(QUIET, psf_mm=0.1, slice_thickness_mm=5.0, slice_increment_mm=5.0))
    gradient = [np.abs(np.diff(out, axis=a)).max() for a in range(3)]
    assert gradient[2] < 0.5 * min(gradient[:2])


def test_slice_axis_can_be_any_axis():
    hu = ball((40, 44, 48), (20, 22, 24))
    style = replace(ScannerStyle.sample(np.random.default_rng(8)), slice_thickness_mm=3.0, slice_increment_mm=3.0)
    spacing = np.array([0.8, 1.0, 1.2])
    for axis in (0, 1):
        turned = run(np.moveaxis(hu, 2, axis), style, 5, np.insert(spacing[:2], axis, spacing[2]), axis=axis)
        assert np.array_equal(np.moveaxis(turned, axis, 2), run(hu, style, 5, spacing))


def test_noise_has_the_stated_deviation_and_little_at_low_frequencies():
    style = ScannerStyle(
        noise_hu=30.0, noise_grain_mm=0.7, pixel_mm=1.0, slice_thickness_mm=1.0, slice_increment_mm=1.0
    )
    noise = run(np.zeros((72, 72, 40), np.float32), style)
    assert noise.std() == pytest.approx(30.0, rel=0.04)
    assert abs(noise.mean()) < 0.5
    blocks = noise.reshape(6, 12, 6, 12, 40).mean(axis=(1, 3))
    # Merely blurred white noise, whose spectrum is flat at low frequencies, would give 30 sqrt(4 pi s^2) / 12.
    flat = 30.0 * np.sqrt(4 * np.pi * (0.7**2 + 1 / 12)) / 12
    assert blocks.std() < 0.6 * flat


def test_soft_kernels_have_coarser_noise():
    def neighbour_correlation(grain):
        style = ScannerStyle(noise_hu=30.0, noise_grain_mm=grain, pixel_mm=1.0)
        noise = run(np.zeros((64, 64, 24), np.float32), style)
        return np.corrcoef(noise[1:].ravel(), noise[:-1].ravel())[0, 1]

    assert neighbour_correlation(1.3) > neighbour_correlation(0.4) + 0.3


def test_noise_of_overlapping_and_of_thick_slices_is_correlated():
    def along_slices(thickness, increment):
        style = ScannerStyle(noise_hu=30.0, slice_thickness_mm=thickness, slice_increment_mm=increment)
        noise = run(np.zeros((48, 48, 48), np.float32), style)
        return np.corrcoef(noise[:, :, 1:].ravel(), noise[:, :, :-1].ravel())[0, 1]

    assert abs(along_slices(0.5, 0.5)) < 0.05
    assert along_slices(3.0, 1.0) > 0.5
    assert along_slices(5.0, 5.0) > 0.6


def test_streaks_come_only_from_what_is_dense_and_lie_around_it():
    style = replace(QUIET, streaks=1.0)
    soft, dense = ball(inside=400.0), ball(inside=1500.0)
    assert np.array_equal(run(soft, style), run(soft, QUIET))
    change = run(dense, style) - run(dense, QUIET)
    assert 10 < np.abs(change[:, :, 25]).max() < 600
    assert np.all(change[:, :, :10] == 0)  # slices without anything dense
    near, far = np.abs(change[18:29, 8:12, 25]).mean(), np.abs(change[:4, :4, 25]).mean()
    assert near > far


def test_low_voltage_brightens_iodine_more_than_calcium_and_leaves_soft_tissue():
    hu = np.array([-900.0, -80.0, 50.0, 300.0, 1300.0], np.float32)
    low, high = (contrast_curve(hu, replace(QUIET, kvp=kvp)) for kvp in (80.0, 140.0))
    assert np.array_equal(low[:3], hu[:3])
    assert np.array_equal(high[:3], hu[:3])
    assert low[3] > 300 > high[3]
    assert low[4] > 1300 > high[4]
    assert low[3] / 300 > low[4] / 1300


@pytest.mark.parametrize("held_out", [HELD_OUT, HELD_OUT_SHARP])
def test_held_out_styles_lie_outside_the_training_ranges_in_three_factors(held_out):
    for seed in range(50):
        style = ScannerStyle.sample(np.random.default_rng(seed), held_out)
        assert len(TRAINING.outside(style)) >= 3
        assert held_out.outside(style) == ()


def test_training_styles_lie_inside_and_vary():
    styles = [ScannerStyle.sample(np.random.default_rng(seed)) for seed in range(200)]
    assert all(TRAINING.outside(style) == () for style in styles)
    thickness = np.array([style.slice_thickness_mm for style in styles])
    assert thickness.min() < 0.7
    assert thickness.max() > 4.0
    for part in ("streaks", "motion_mm", "jitter_mm", "motion_blur_mm"):
        share = np.mean([getattr(style, part) > 0 for style in styles])
        assert 0.1 < share < 0.7


def test_acquisition_has_the_scanners_own_grid_and_keeps_places():
    hu = ball((70, 60, 64), (60.0, 50.0, 66.0), 18.0, step=2.0)
    affine = np.array([[0, -2.0, 0, 30], [2.0, 0, 0, -40], [0, 0, 2.0, 7], [0, 0, 0, 1]])
    style = replace(QUIET, pixel_mm=0.9, field_of_view_mm=90.0, slice_thickness_mm=4.0, slice_increment_mm=3.0)
    scan = simulate_acquisition(
        hu, np.full(3, 2.0), style, np.random.default_rng(1), center_mm=np.array([60, 50, 66.0])
    )
    assert scan.hu.dtype == np.int16
    assert scan.hu.shape[0] == scan.hu.shape[1] == 101
    assert scan.hu.shape[2] in (41, 42)
    assert np.allclose(scan.spacing, [0.9, 0.9, 3.0])
    middle = centroid(scan.hu, step=scan.spacing, first=scan.first_mm)
    assert np.abs(middle - [60, 50, 66]).max() < 0.1
    ijk = (middle - scan.first_mm) / scan.spacing
    ras = scan.affine(affine) @ [*ijk, 1]
    assert np.allclose(ras, affine @ [*(middle / 2.0), 1])


def test_labels_follow_onto_the_scanners_grid():
    fraction = ball((70, 60, 64), (60.0, 50.0, 66.0), 18.0, 1.0, 0.0, step=2.0)
    style = replace(QUIET, pixel_mm=0.9, field_of_view_mm=90.0, slice_thickness_mm=4.0, slice_increment_mm=3.0)
    scan = simulate_acquisition(
        40 + 360 * fraction, np.full(3, 2.0), style, np.random.default_rng(1), center_mm=np.array([60, 50, 66.0])
    )
    volume = 4 / 3 * np.pi * 18.0**3
    voxel = float(np.prod(scan.spacing))
    assert np.count_nonzero(scan.fraction(fraction) > 0.5) * voxel == pytest.approx(volume, rel=0.03)
    labels = scan.nearest((fraction > 0.5).astype(np.uint8) * 3)
    assert labels.dtype == np.uint8
    assert set(np.unique(labels)) == {0, 3}
    assert np.count_nonzero(labels) * voxel == pytest.approx(volume, rel=0.05)


def test_in_a_whole_chest_only_the_heart_moves():
    hu = ball((90, 90, 50), (180.0, 180.0, 100.0), 30.0, step=4.0)
    hu += ball((90, 90, 50), (30.0, 30.0, 100.0), 12.0, step=4.0) - 40
    style = replace(QUIET, pixel_mm=4.0, field_of_view_mm=400.0, slice_thickness_mm=4.0, slice_increment_mm=4.0)
    moving = replace(style, motion_mm=5.0, motion_share=0.4)
    still, moved = (
        simulate_acquisition(hu, np.full(3, 4.0), s, np.random.default_rng(2)).hu.astype(float) for s in (style, moving)
    )
    change = np.abs(moved - still)
    assert change[:18, :18].max() == 0
    assert change[35:56, 35:56].max() > 40


def test_corners_outside_the_reconstruction_circle():
    style = replace(QUIET, pixel_mm=2.0, circular=True, slice_increment_mm=2.0, slice_thickness_mm=2.0)
    scan = simulate_acquisition(np.full((60, 60, 20), 50, np.float32), np.full(3, 2.0), style, np.random.default_rng(0))
    assert np.all(scan.hu[0, 0] == -1024)
    assert np.all(scan.hu[30, 30] == 50)
    assert np.mean(scan.hu[:, :, 5] == 50) == pytest.approx(np.pi / 4, abs=0.03)
