"""Heatmaps are read back where they were written, to a tenth of a voxel, and honestly where they are ambiguous."""

import numpy as np
import pytest

from fedkdtavi_core import heatmap
from fedkdtavi_core.volume import Grid


def _grid(size=32, spacing=2.5, origin=(-40.0, -31.0, 12.0)):
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:3, 3] = origin
    return Grid((size, size, size), affine)


def _logits(points, grid, sigma):
    """Logits whose softmax is a Gaussian: its logarithm, plus a constant that the softmax must not see."""
    ijk = np.stack(np.meshgrid(*(np.arange(n) for n in grid.shape), indexing="ij"), axis=-1)
    return np.stack([-0.5 * (((ijk - p) / sigma) ** 2).sum(-1) + 3.0 for p in points]).astype(np.float32)


@pytest.mark.parametrize("sigma", [0.8, 1.5, 2.5])
@pytest.mark.parametrize(("size", "spacing"), [(32, 2.5), (64, 1.25)])
def test_gaussians_come_back_to_a_tenth_of_a_voxel(size, spacing, sigma):
    grid = _grid(size, spacing)
    points = np.random.default_rng(4).uniform(8, size - 9, (7, 3))
    found = heatmap.decode(_logits(points, grid, sigma), grid)
    errors = np.linalg.norm(grid.to_ijk(np.array([f.position for f in found])) - points, axis=1)
    assert errors.max() < 0.1
    # 9 mm at 2.5 mm is 1.4 sigma of the widest map: only there is much of it outside.
    assert min(f.confidence for f in found) > (0.9 if sigma * spacing < 3.5 else 0.3)


@pytest.mark.parametrize("sigma", [1.0, 1.5, 2.5])
def test_a_peak_cut_by_the_border_is_not_drawn_inwards(sigma):
    grid = _grid()
    points = np.array([[0.0, 15.2, 16.7], [0.4, 0.2, 12.0], [31.3, 15.0, 30.9], [30.6, 31.0, 0.3], [1.3, 29.8, 16.0]])
    found = heatmap.decode(_logits(points, grid, sigma), grid)
    errors = np.linalg.norm(grid.to_ijk(np.array([f.position for f in found])) - points, axis=1)
    assert errors.max() < 0.1
    for one in found:
        assert np.all(np.linalg.eigvalsh(one.covariance) > 0)


def test_covariance_is_in_mm_and_in_ras_axes():
    """A map long in i, on a grid whose i axis runs along -A: the spread must appear along A."""
    affine = np.array([[0, 1.25, 0, 5.0], [-1.25, 0, 0, 3.0], [0, 0, 1.25, 7.0], [0, 0, 0, 1]])
    grid = Grid((48, 48, 48), affine)
    point = np.array([22.3, 25.1, 20.6])
    found = heatmap.decode(_logits([point], grid, np.array([2.0, 1.0, 1.0])), grid)[0]
    np.testing.assert_allclose(found.position, grid.to_ras(point), atol=0.05)
    np.testing.assert_allclose(np.diag(found.covariance), [1.25**2, 2.5**2, 1.25**2], rtol=0.1)
    np.testing.assert_allclose(found.covariance - np.diag(np.diag(found.covariance)), 0, atol=0.05)


def test_correlated_spread_is_kept():
    grid = _grid(48, 1.25)
    covariance = np.array([[3.0, 1.5, 0.4], [1.5, 2.5, -0.6], [0.4, -0.6, 2.0]])
    ijk = np.stack(np.meshgrid(*(np.arange(48),) * 3, indexing="ij"), axis=-1) - np.array([20.2, 24.7, 23.1])
    logits = -0.5 * np.einsum("...a,ab,...b", ijk, np.linalg.inv(covariance), ijk)
    found = heatmap.decode(logits[None].astype(np.float32), grid)[0]
    np.testing.assert_allclose(found.covariance / 1.25**2, covariance, atol=0.2)


def test_two_peaks_lower_the_confidence_and_the_higher_one_wins():
    grid = _grid(64, 1.25)
    near, far = np.array([20.3, 20.0, 20.0]), np.array([45.0, 44.0, 43.0])
    one = _logits([near], grid, 1.5)
    two = np.logaddexp(one, _logits([far], grid, 1.5) - 0.3).astype(np.float32)
    alone, torn = heatmap.decode(one, grid)[0], heatmap.decode(two, grid)[0]
    assert alone.confidence > 0.99
    assert torn.confidence == pytest.approx(1 / (1 + np.exp(-0.3)), abs=0.02)
    np.testing.assert_allclose(torn.position, grid.to_ras(near), atol=0.1)


def test_an_empty_map_has_almost_no_confidence():
    grid = _grid()
    flat = np.random.default_rng(1).normal(0, 0.1, (1, *grid.shape)).astype(np.float32)
    assert heatmap.decode(flat, grid)[0].confidence < 0.02


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nan_and_inf_are_refused_with_the_channel(bad):
    grid = _grid()
    logits = np.zeros((3, *grid.shape), np.float32)
    logits[2, 4, 5, 6] = bad
    with pytest.raises(ValueError, match="channel 2"):
        heatmap.decode(logits, grid)


def test_a_map_of_minus_infinity_is_refused():
    grid = _grid()
    with pytest.raises(ValueError, match="channel 0"):
        heatmap.decode(np.full((1, *grid.shape), -np.inf, np.float32), grid)


def test_a_map_on_another_grid_is_refused():
    with pytest.raises(ValueError, match=r"\(1, 16, 16, 16\)"):
        heatmap.decode(np.zeros((1, 16, 16, 16), np.float32), _grid())


def test_target_is_what_decode_reads():
    grid = _grid(40, 1.25)
    points = np.random.default_rng(7).uniform(8, 30, (4, 3))
    maps = heatmap.target(points, grid.shape, 1.6, normalised=True)
    np.testing.assert_allclose(maps.sum(axis=(1, 2, 3)), 1, rtol=1e-4)
    found = heatmap.decode(np.log(maps + 1e-12), grid)
    np.testing.assert_allclose(grid.to_ijk(np.array([f.position for f in found])), points, atol=0.1)


def test_a_missing_point_leaves_its_channel_empty_and_moves_no_other():
    points = [np.array([5.0, 6, 7]), None, np.array([np.nan, 1, 1]), np.array([9.0, 8, 7])]
    maps = heatmap.target(points, (16, 16, 16), (1.0, 2.0, 3.0))
    assert not maps[1].any() and not maps[2].any()
    assert maps[0, 5, 6, 7] == 1 and maps[3, 9, 8, 7] == 1
    np.testing.assert_allclose(maps[0, 6, 6, 7], np.exp(-0.5), rtol=1e-5)
    np.testing.assert_allclose(maps[0, 5, 8, 7], np.exp(-0.5), rtol=1e-5)


def test_a_normalised_target_of_a_point_far_outside_is_empty():
    assert not heatmap.target([np.array([-90.0, 5, 5])], (16, 16, 16), 1.5, normalised=True).any()
