"""Grids and resampling: exact where they can be, and blind to how the source was stored."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedkdtavi_core.geometry import coarse_grid, crop_grid, resample, resample_labels
from fedkdtavi_core.intensity import normalise
from fedkdtavi_core.volume import Grid, Volume

GRADIENT = np.array([0.7, -1.3, 2.1])


def rotation(seed: int) -> np.ndarray:
    q, r = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    q = q * np.sign(np.diag(r))
    return q * np.sign(np.linalg.det(q))


def affine_of(spacing, center=(5.0, -7.0, 11.0), shape=(40, 36, 30), turn=None) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3] = (np.eye(3) if turn is None else turn) * np.asarray(spacing, float)
    affine[:3, 3] = np.asarray(center) - affine[:3, :3] @ ((np.asarray(shape) - 1) / 2)
    return affine


def ramp(grid: Grid) -> np.ndarray:
    index = np.stack(np.meshgrid(*(np.arange(n) for n in grid.shape), indexing="ij"), axis=-1)
    return (grid.to_ras(index) @ GRADIENT + 40.0).astype(np.float32)


def stored_otherwise(volume: Volume, order, flips) -> Volume:
    """The same CT with its axes permuted and flipped, and the affine that says so."""
    affine = volume.affine.copy()
    affine[:3, :3] = affine[:3, list(order)]
    array = volume.array.transpose(order)
    for axis, flip in enumerate(flips):
        if flip:
            array = np.flip(array, axis)
            affine[:3, 3] += affine[:3, axis] * (array.shape[axis] - 1)
            affine[:3, axis] *= -1
    return Volume(np.ascontiguousarray(array), affine)


def test_crop_grid_is_centred_with_ras_axes():
    grid = crop_grid([10.0, -20.0, 30.0], 64, 1.25)
    assert grid.shape == (64, 64, 64)
    np.testing.assert_allclose(grid.to_ras([31.5, 31.5, 31.5]), [10, -20, 30])
    np.testing.assert_allclose(grid.affine[:3, :3], np.eye(3) * 1.25)
    with pytest.raises(ValueError, match="center_ras"):
        crop_grid([np.nan, 0, 0])


@pytest.mark.parametrize("turn", [None, rotation(3)])
def test_coarse_grid_covers_every_voxel(turn):
    source = Grid((100, 90, 33), affine_of((0.8, 0.8, 2.5), shape=(100, 90, 33), turn=turn))
    grid = coarse_grid(source, 4.0, 16)
    corners = source.to_ras(np.array(list(product(*((-0.5, n - 0.5) for n in source.shape)))))
    assert np.all(grid.contains(corners, margin_mm=-1e-6))
    assert all(n % 16 == 0 for n in grid.shape)
    np.testing.assert_allclose(grid.spacing, 4.0)
    assert coarse_grid(source, 1.0, 16, max_shape=(64, 64, 64)).shape == (64, 64, 64)


@pytest.mark.parametrize("turn", [None, rotation(1), rotation(2)])
@pytest.mark.parametrize("spacing", [(0.4, 0.45, 0.5), (0.7, 0.7, 1.0), (1.25, 1.25, 1.25), (1.0, 1.0, 3.0)])
def test_linear_ramps_are_exact_inside(spacing, turn):
    """Means and linear interpolation both keep a linear function, whatever the spacing and the axes."""
    shape = tuple(int(70 / s) for s in spacing)
    source = Grid(shape, affine_of(spacing, shape=shape, turn=turn))
    for target in (crop_grid([5.0, -7.0, 11.0], 16, 1.25), crop_grid([6.0, -7.3, 10.0], 8, 4.0)):
        out = resample(Volume(ramp(source), source.affine), target)
        np.testing.assert_allclose(out, ramp(target), atol=2e-3)


def test_same_grid_returns_the_same_voxels():
    rng = np.random.default_rng(0)
    volume = Volume(rng.integers(-1000, 1000, (20, 17, 13)).astype(np.int16), affine_of((0.8, 0.9, 2.0)))
    np.testing.assert_array_equal(resample(volume, volume.grid), volume.array)
    np.testing.assert_array_equal(resample(volume, volume.grid, order=0), volume.array)


def test_outside_is_filled_and_the_outer_half_voxel_is_not():
    volume = Volume(np.full((10, 10, 10), 50, np.int16), np.diag([2.0, 2.0, 2.0, 1.0]))
    line = Grid((30, 1, 1), np.array([[1.0, 0, 0, -5], [0, 1, 0, 9], [0, 0, 1, 9], [0, 0, 0, 1]]))
    x = line.to_ras(np.stack([np.arange(30), np.zeros(30), np.zeros(30)], -1))[:, 0]
    np.testing.assert_array_equal(resample(volume, line, fill=-7.0)[:, 0, 0], np.where((x >= -1) & (x <= 19), 50, -7))
    far = crop_grid([1000.0, 0, 0], 8)
    assert np.all(resample(volume, far) == -1024)


def test_oblique_outside_is_filled():
    turn = rotation(5)
    source = Grid((20, 20, 20), affine_of((1, 1, 1), shape=(20, 20, 20), turn=turn))
    target = crop_grid([5.0, -7.0, 11.0], 40, 1.0)
    out = resample(Volume(np.full((20, 20, 20), 9, np.int16), source.affine), target, fill=0.0)
    index = np.stack(np.meshgrid(*(np.arange(40),) * 3, indexing="ij"), -1)
    np.testing.assert_array_equal(out == 9, source.contains(target.to_ras(index)))


def test_coarse_sampling_does_not_alias():
    """A checkerboard has mean 0; picking single voxels would give +-1000, a mean over the coarse voxel nearly 0."""
    board = (np.indices((60, 60, 60)).sum(0) % 2 * 2000 - 1000).astype(np.int16)
    volume = Volume(board, np.diag([0.7, 0.7, 0.7, 1.0]))
    out = resample(volume, crop_grid([21.0, 21.0, 21.0], 8, 4.0))
    assert np.abs(out).max() < 60


def test_large_values_do_not_overflow_in_block_sums():
    volume = Volume(np.full((40, 40, 40), 32767, np.int16), np.diag([0.5, 0.5, 0.5, 1.0]))
    np.testing.assert_allclose(resample(volume, crop_grid([10.0, 10.0, 10.0], 3, 4.0)), 32767)


@settings(deadline=None, max_examples=25)
@given(
    order=st.sampled_from(list(permutations(range(3)))),
    flips=st.tuples(st.booleans(), st.booleans(), st.booleans()),
    spacing=st.sampled_from([(0.7, 0.7, 1.3), (0.4, 0.5, 0.6), (1.0, 1.2, 3.0)]),
    turn=st.sampled_from([None, 0.2, 0.35]),
    target=st.sampled_from([1.25, 4.0]),
)
def test_storage_order_changes_nothing(order, flips, spacing, turn, target):
    if turn is not None:
        c, s = np.cos(turn), np.sin(turn)
        turn = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1.0]])
    array = np.random.default_rng(7).integers(-1000, 1500, (23, 26, 19)).astype(np.int16)
    volume = Volume(array, affine_of(spacing, shape=array.shape, turn=turn))
    other = stored_otherwise(volume, order, flips)
    grid = crop_grid([6.0, -6.0, 10.0], 12, target)
    np.testing.assert_allclose(resample(volume, grid), resample(other, grid), atol=0.02)
    labels = (array > 600).astype(np.uint8)
    np.testing.assert_array_equal(
        resample_labels(labels, volume.affine, grid),
        resample_labels((other.array > 600).astype(np.uint8), other.affine, grid),
    )


@pytest.mark.parametrize("turn", [None, rotation(4)])
def test_labels_follow_the_nearest_voxel(turn):
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 9, (15, 14, 13)).astype(np.uint8)
    affine = affine_of((1.25, 1.25, 1.25), shape=labels.shape, turn=turn)
    target = Grid((40, 40, 40), affine_of((0.7, 0.7, 0.9), shape=(40, 40, 40)))
    index = np.stack(np.meshgrid(*(np.arange(40),) * 3, indexing="ij"), -1)
    source = np.floor(Grid(labels.shape, affine).to_ijk(target.to_ras(index)) + 0.5).astype(int)
    valid = np.all((source >= 0) & (source < labels.shape), axis=-1)
    expected = np.where(valid, labels[tuple(np.moveaxis(np.where(valid[..., None], source, 0), -1, 0))], 0)
    out = resample_labels(labels, affine, target)
    assert out.dtype == np.uint8
    np.testing.assert_array_equal(out, expected)
    assert not resample_labels(labels, affine, crop_grid([500.0, 0, 0], 8)).any()


def test_unknown_order_is_refused():
    volume = Volume(np.zeros((3, 3, 3), np.int16), np.eye(4))
    with pytest.raises(ValueError, match="order"):
        resample(volume, volume.grid, order=3)


def test_intensity_is_clipped_shifted_and_scaled_once():
    hu = np.array([-2000, -300, 150, 400, 1600, 9000], np.int16)
    out = normalise(hu)
    assert out.dtype == np.float32
    np.testing.assert_allclose(out, [-1.8, -1.8, 0.0, 1.0, 5.8, 5.8], rtol=1e-6)
    np.testing.assert_array_equal(hu, [-2000, -300, 150, 400, 1600, 9000])
