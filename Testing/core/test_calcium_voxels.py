"""From the calcium network's grid to the CT's voxels: its mean over a voxel and the HU decide, deposit by deposit."""

from __future__ import annotations

import numpy as np
import pytest

from fedkdtavi_core.calcium_voxels import decided
from fedkdtavi_core.geometry import crop_grid
from fedkdtavi_core.measurements.blood import Blood
from fedkdtavi_core.volume import Grid, Volume

CENTER = np.array([12.0, -30.0, 80.0])
NETWORK = crop_grid(CENTER, 64, 0.85)
RAS = np.eye(3)


def in_voxels(volume, probability, grid, at_least, sure=0.85, blood=None):
    return decided(volume, probability, grid, blood, at_least, sure)


def ct(spacing, axes=RAS):
    """An empty CT around the crop."""
    spacing = np.asarray(spacing, float)
    shape = tuple(np.ceil(70 / spacing).astype(int))
    affine = np.eye(4)
    affine[:3, :3] = axes * spacing
    affine[:3, 3] = CENTER + [0.1, -0.2, 0.3] - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return Volume(np.zeros(shape, np.int16), affine)


def ball(center, radius, peak=1.0, grid=NETWORK):
    """Probability of a ball with an edge as soft as a voxel is wide."""
    places = grid.to_ras(np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), -1))
    away = np.linalg.norm(places - center, axis=-1)
    return (peak * np.clip(0.5 + (radius - away) / grid.spacing[0], 0, 1)).astype(np.float32)


def whole(volume, found):
    """The box's voxels on the CT's grid."""
    mask, affine = found
    place = np.rint(volume.grid.to_ijk(Grid(mask.shape, affine).to_ras(np.argwhere(mask)))).astype(int)
    out = np.zeros(volume.array.shape, bool)
    out[tuple(place.T)] = True
    assert out.sum() == mask.sum()
    return out


def truth(volume, center, radius):
    """Voxels more than half of which lie in the ball, from 7 x 7 x 7 points each."""
    voxels = np.stack(np.meshgrid(*map(np.arange, volume.array.shape), indexing="ij"), -1).reshape(-1, 3)
    near = voxels[np.linalg.norm(volume.grid.to_ras(voxels) - center, axis=1) < radius + volume.grid.spacing.max()]
    part = (np.arange(7) + 0.5) / 7 - 0.5
    offsets = np.stack(np.meshgrid(part, part, part, indexing="ij"), -1).reshape(-1, 3)
    places = volume.grid.to_ras((near[:, None] + offsets).reshape(-1, 3))
    share = (np.linalg.norm(places - center, axis=1) <= radius).reshape(len(near), -1).mean(axis=1)
    out = np.zeros(volume.array.shape, bool)
    out[tuple(near[share > 0.5].T)] = True
    return out


SLANTED = np.array([[0.0, -0.8, 0.6], [1.0, 0.0, 0.0], [0.0, 0.6, 0.8]])


@pytest.mark.parametrize("spacing", [(0.4, 0.4, 0.5), (0.8, 0.8, 5.0), (2.0, 2.0, 2.0)])
@pytest.mark.parametrize("axes", [RAS, np.diag([-1.0, -1.0, 1.0]), SLANTED], ids=["RAS", "LPS", "slanted"])
def test_a_voxel_counts_when_most_of_it_is_calcium(spacing, axes):
    volume, center, radius = ct(spacing, axes), CENTER + [3, 5, -4], 6.0
    found = whole(volume, in_voxels(volume, ball(center, radius), NETWORK, 0.5))
    expected = truth(volume, center, radius)
    dice = 2 * (found & expected).sum() / (found.sum() + expected.sum())
    assert dice > 0.97
    assert found.sum() == pytest.approx(expected.sum(), rel=0.05)


def test_a_deposit_has_to_be_seen_clearly_once():
    volume = ct((0.7, 0.7, 1.0))
    clear, doubtful = CENTER + [8, 0, 0], CENTER - [8, 0, 0]
    both = ball(clear, 3, 0.95) + ball(doubtful, 3, 0.8)
    found = whole(volume, in_voxels(volume, both, NETWORK, 0.6))
    places = volume.grid.to_ras(np.argwhere(found))
    assert len(places) > 50 and np.all(places[:, 0] > CENTER[0])
    assert np.any(
        volume.grid.to_ras(np.argwhere(whole(volume, in_voxels(volume, both, NETWORK, 0.6, 0.75))))[:, 0] < CENTER[0]
    )


@pytest.mark.parametrize("probability", [0.0, 0.05, 0.3])
def test_nothing_is_an_empty_mask(probability):
    volume = ct((0.7, 0.7, 1.0))
    mask, affine = in_voxels(volume, np.full(NETWORK.shape, probability, np.float32), NETWORK, 0.5)
    assert mask.shape == (1, 1, 1) and not mask.any()
    np.testing.assert_allclose(affine, volume.affine)


def test_what_the_ct_does_not_show_is_left_out():
    """The network's crop may reach beyond the CT."""
    volume = ct((0.7, 0.7, 1.0))
    cut = Volume(volume.array[:, :, :30], volume.affine)
    top = cut.grid.to_ras(np.array([50.0, 50.0, 29.5]))
    found = whole(cut, in_voxels(cut, ball(top, 6), NETWORK, 0.5))
    expected = truth(volume, top, 6)[:, :, :30]
    assert 2 * (found & expected).sum() / (found.sum() + expected.sum()) > 0.97
    beyond = Volume(volume.array[:, :, :5], volume.affine)
    assert not in_voxels(beyond, ball(CENTER, 6), NETWORK, 0.5)[0].any()


def test_where_the_network_is_not_sure_the_height_of_the_hu_decides():
    """The network sees a ball a third too large; the CT shows a smaller one, brightest in its middle."""
    volume = ct((0.6, 0.6, 0.8))
    places = volume.grid.to_ras(np.stack(np.meshgrid(*map(np.arange, volume.array.shape), indexing="ij"), -1))
    away = np.linalg.norm(places - CENTER, axis=-1)
    hu = 300 + 700 * np.clip(0.5 + (3.0 - away) / 1.5, 0, 1)  # half-way from blood to peak at 3 mm
    shown = Volume(hu.astype(np.int16), volume.affine)
    blood = Blood(300.0, 20.0, 1000, "root")
    unsure = 0.55 * ball(CENTER, 4.5) + 0.45 * ball(CENTER, 1.5)
    alone, together = (whole(shown, in_voxels(shown, unsure, NETWORK, 0.5, blood=b)) for b in (None, blood))

    def radius(mask):
        return (3 * mask.sum() * shown.grid.voxel_volume / (4 * np.pi)) ** (1 / 3)

    assert radius(alone) > 3.7
    # 0.55 + (height - 0.4) is 0.5 at a height of 0.35, which the ball's soft edge has at 3.2 mm.
    assert abs(radius(together) - 3.2) < 0.1
    faint = Volume((300 + (hu - 300) / 10).astype(np.int16), volume.affine)  # 70 HU over the blood: nothing stands out
    assert not in_voxels(faint, unsure, NETWORK, 0.5, blood=blood)[0].any()
