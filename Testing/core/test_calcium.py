"""Deciding on calcium: the CT's own voxels, the stated rule, and refusals with a reason."""

from __future__ import annotations

import numpy as np
import pytest
from tube_phantom import Tube, nodule, struts, together, tube

from fedkdtavi_core.calcium import CONTRAST_850, LUMEN_100, LVOT_300, NETWORK, PEAK_SHARE, decide
from fedkdtavi_core.geometry import crop_grid
from fedkdtavi_core.volume import Volume

BALLS = together(nodule(9, 3, 5, radius=3), nodule(-8, 0, 4, radius=2.5))
PLACES = ((9, 3, 5, 3.0), (-8, 0, 4, 2.5))


@pytest.fixture(scope="module")
def root() -> Tube:
    return tube(change=BALLS)


def suggestion(root: Tube, places=PLACES) -> tuple[np.ndarray, np.ndarray]:
    """Probability on a 1.25 mm crop grid: 0.9 within the balls, 0.1 elsewhere."""
    grid = crop_grid(root.center + [1, -2, 0.5], 48, 1.25)
    ras = grid.to_ras(np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), axis=-1))
    region = np.zeros(grid.shape, bool)
    for x, y, z, radius in places:
        center = root.center + x * root.u + y * root.v + z * root.n
        region |= np.linalg.norm(ras - center, axis=-1) <= radius
    return np.where(region, 0.9, 0.1).astype(np.float32), grid.affine


def marks(root: Tube):
    return root.annotation().landmarks


def test_voxels_over_the_threshold_inside_the_region(root: Tube):
    result = decide(root.volume, *suggestion(root), marks(root))
    assert result.refused is None and result.threshold_hu == 850
    assert result.mask.dtype == np.uint8 and result.mask.shape == root.volume.array.shape
    assert np.array_equal(result.mask.astype(bool), root.volume.array >= 850)
    assert result.volume_mm3 == pytest.approx(result.mask.sum() * 0.6 * 0.6 * 0.8)
    assert "850 HU" in result.rule and "Jilaihawi" in result.rule
    assert result.lumen_mean == pytest.approx(400, abs=10)


def test_calcium_outside_the_region_is_not_counted(root: Tube):
    result = decide(root.volume, *suggestion(root, PLACES[:1]), marks(root))
    far = root.center - 8 * root.u + 4 * root.n
    near = root.center + 9 * root.u + 3 * root.v + 5 * root.n
    assert result.mask[tuple(np.rint(root.volume.grid.to_ijk(near)).astype(int))] == 1
    assert result.mask[tuple(np.rint(root.volume.grid.to_ijk(far)).astype(int))] == 0


def test_calcium_in_the_mouth_of_a_coronary_artery_is_not_the_valves(root: Tube):
    landmarks = marks(root)
    landmarks["ostium_rca"].position = root.center + 9 * root.u + 3 * root.v + 5 * root.n
    found = decide(root.volume, *suggestion(root), landmarks)
    other = decide(root.volume, *suggestion(root, PLACES[1:]), marks(root))
    assert found.volume_mm3 == pytest.approx(other.volume_mm3) and found.volume_mm3 > 50
    assert "3 mm around the coronary ostia left out" in found.rule


def test_a_binary_suggestion_does_the_same(root: Tube):
    probability, affine = suggestion(root)
    one = decide(root.volume, probability, affine, marks(root))
    two = decide(root.volume, (probability > 0.5).astype(np.uint8), affine, marks(root))
    assert np.array_equal(one.mask, two.mask)


@pytest.mark.parametrize("dilate", [1.0, 2.0, 3.0])
def test_the_region_is_grown_by_the_stated_amount(root: Tube, dilate: float):
    """A region of one voxel within a large ball of calcium: what is counted is the grown region itself."""
    spot = root.center + 2 * root.u + 14 * root.n
    ras = root.volume.grid.to_ras(np.stack(np.meshgrid(*map(np.arange, root.volume.array.shape), indexing="ij"), -1))
    array = np.where(np.linalg.norm(ras - spot, axis=-1) < 6, 1000, root.volume.array).astype(np.int16)
    grid = crop_grid(spot, 33, 1.25)
    region = np.zeros(grid.shape, np.uint8)
    region[16, 16, 16] = 1
    result = decide(Volume(array, root.volume.affine), region, grid.affine, marks(root), dilate_mm=dilate)
    reach = np.cbrt(result.volume_mm3 / (4 / 3 * np.pi))
    assert reach == pytest.approx(dilate + 0.625, abs=0.3)  # half a voxel of the region, then the growth


def test_specks_of_noise_are_left_out():
    root = tube(noise=5, spacing=(0.5, 0.5, 0.5))
    spot = tuple(np.rint(root.volume.grid.to_ijk(root.center + 5 * root.n)).astype(int))
    root.volume.array[spot] = 1500
    places = ((0, 0, 5, 3.0),)
    assert decide(root.volume, *suggestion(root, places), marks(root)).mask.sum() == 0
    box = tuple(slice(i - 1, i + 2) for i in spot)
    root.volume.array[box] = 1500  # 27 voxels are 3.4 mm3
    assert decide(root.volume, *suggestion(root, places), marks(root)).mask.sum() == 27


def test_an_empty_suggestion_is_no_calcium_and_not_a_refusal(root: Tube):
    result = decide(root.volume, *suggestion(root, ()), marks(root))
    assert result.refused is None and result.mask.sum() == 0 and result.volume_mm3 == 0


def test_a_region_outside_the_ct_is_no_calcium(root: Tube):
    probability, affine = suggestion(root)
    moved = affine.copy()
    moved[:3, 3] += 500
    assert decide(root.volume, probability, moved, marks(root)).mask.sum() == 0


@pytest.mark.parametrize(("blood", "expected"), [(250, 450), (280, 450), (320, 850), (400, 850)])
def test_miccolis_rule_follows_the_blood_of_the_outflow_tract(blood: float, expected: float):
    root = tube(blood=blood, change=BALLS, noise=15)
    result = decide(root.volume, *suggestion(root), marks(root), rule=LVOT_300)
    assert result.threshold_hu == expected
    assert "Miccoli" in result.rule


def test_the_adaptive_rule(root: Tube):
    result = decide(root.volume, *suggestion(root), marks(root), rule=LUMEN_100)
    assert result.threshold_hu == pytest.approx(500, abs=10)
    noisy = tube(change=BALLS, noise=80)
    result = decide(noisy.volume, *suggestion(noisy), marks(noisy), rule=LUMEN_100)
    assert result.threshold_hu == pytest.approx(result.lumen_mean + 2 * result.lumen_sd)
    assert "2 SD" in result.rule


def test_a_share_of_each_deposits_peak_finds_its_size_through_the_blur():
    """Two balls of 1,400 and 750 HU, blurred: no single threshold gives both their volume."""
    from scipy import ndimage

    places = ((9, 3, 5, 3.5), (-8, 0, 4, 3.5))
    sharp = tube(change=together(nodule(9, 3, 5, 3.5, peak=1400), nodule(-8, 0, 4, 3.5, peak=750)))
    blurred = ndimage.gaussian_filter(sharp.volume.array.astype(np.float32), 1.0 / sharp.volume.grid.spacing)
    volume = Volume(np.rint(blurred).astype(np.int16), sharp.volume.affine)
    true = 2 * 4 / 3 * np.pi * 3.5**3

    def found(rule: str) -> float:
        return decide(volume, *suggestion(sharp, places), marks(sharp), rule=rule).volume_mm3

    off = {rule: abs(found(rule) - true) for rule in (PEAK_SHARE, LUMEN_100, CONTRAST_850)}
    assert off[PEAK_SHARE] < 0.25 * true  # a small ball's edge lies a little inside
    assert off[PEAK_SHARE] < min(off[LUMEN_100], off[CONTRAST_850])
    result = decide(volume, *suggestion(sharp, places), marks(sharp), rule=PEAK_SHARE)
    assert "40 % of the way" in result.rule and "here 5" in result.rule


@pytest.mark.parametrize(("spacing", "share"), [((0.4, 0.4, 0.6), 40), ((2, 2, 2), 50), ((1.2, 1.2, 5), 44)])
def test_coarse_voxels_take_half_of_the_peak(spacing, share: int):
    """The middle of the three sides decides: thick slices of fine voxels are still fine in their plane."""
    coarse = tube(change=BALLS, spacing=spacing)
    result = decide(coarse.volume, *suggestion(coarse), marks(coarse), rule=PEAK_SHARE)
    assert f"from {share} % of the way" in result.rule


@pytest.mark.parametrize("rule", [PEAK_SHARE, CONTRAST_850])
def test_the_frame_of_a_prosthesis_is_not_measured_as_calcium(rule: str):
    """Struts every 30 degrees over 16 mm of height; with a gap of a third, or 6 mm high, it may be calcium."""

    def of(angles, heights):
        places = struts(angles, heights)
        root = tube(change=together(*(nodule(*place, peak=2000) for place in places)))
        return decide(root.volume, *suggestion(root, places), marks(root), rule=rule)

    high, low = np.arange(-4, 13, 2.0), np.arange(0, 5, 2.0)
    frame = of(range(0, 360, 30), high)
    assert "prosthetic valve" in frame.refused and frame.mask is None and frame.volume_mm3 is None
    for angles, heights in ((range(0, 240, 30), high), (range(0, 360, 30), low)):
        found = of(angles, heights)
        assert found.refused is None and found.volume_mm3 > 100


def test_a_share_of_the_peak_measures_in_the_weakest_contrast_too():
    """At 120 HU of blood, as at 400; under 100 HU there is no contrast and nothing is measured."""
    usual, weak, none = (tube(blood=blood, tissue=60, change=BALLS) for blood in (400, 120, 80))
    want, found = (decide(root.volume, *suggestion(root), marks(root), rule=PEAK_SHARE) for root in (usual, weak))
    assert found.refused is None
    assert found.volume_mm3 == pytest.approx(want.volume_mm3, rel=0.1)
    assert "no contrast" in decide(none.volume, *suggestion(none), marks(none), rule=PEAK_SHARE).refused


def test_a_share_of_the_peak_counts_no_blood(root: Tube):
    """A region suggested in blood alone holds no peak that stands out from it."""
    noisy = tube(noise=40)
    assert decide(noisy.volume, *suggestion(noisy), marks(noisy), rule=PEAK_SHARE).mask.sum() == 0


def test_a_fixed_threshold_inside_the_blood_is_refused_with_the_reason(root: Tube):
    result = decide(root.volume, *suggestion(root), marks(root), rule=440.0)
    assert result.mask is None and result.volume_mm3 is None
    assert "2 SD" in result.refused and "440" in result.refused
    bright = tube(blood=820, change=BALLS)
    assert "2 SD" in decide(bright.volume, *suggestion(bright), marks(bright), rule=CONTRAST_850).refused
    assert decide(bright.volume, *suggestion(bright), marks(bright), rule=LUMEN_100).refused is None
    assert decide(root.volume, *suggestion(root), marks(root), rule=500.0).refused is None


def test_no_contrast_is_refused():
    root = tube(blood=45, tissue=50, change=BALLS)
    for rule in (CONTRAST_850, LVOT_300, LUMEN_100, 130.0):
        result = decide(root.volume, *suggestion(root), marks(root), rule=rule)
        assert result.mask is None and "no contrast" in result.refused


def test_weak_contrast_is_warned_of():
    root = tube(blood=240, change=BALLS)
    result = decide(root.volume, *suggestion(root), marks(root))
    assert result.refused is None and "450" in result.warning


def test_without_suggestion_or_landmarks_it_is_refused(root: Tube):
    assert "no region" in decide(root.volume, None, None, marks(root)).refused
    nothing = marks(root)
    for mark in nothing.values():
        mark.position = None
    assert "blood" in decide(root.volume, *suggestion(root), nothing).refused


def test_two_ostia_are_enough_to_find_the_blood(root: Tube):
    some = marks(root)
    for label_id in ("hinge_rcc", "hinge_lcc", "hinge_ncc", "ms_upper", "ms_lower"):
        some[label_id].position = None
    result = decide(root.volume, *suggestion(root), some)
    assert result.refused is None
    assert result.lumen_mean == pytest.approx(400, abs=20)


def test_an_unknown_rule_is_a_mistake_of_the_caller(root: Tube):
    with pytest.raises(ValueError, match="unknown calcium rule"):
        decide(root.volume, *suggestion(root), marks(root), rule="agatston")


def test_the_record_is_json_able(root: Tube):
    import json

    record = decide(root.volume, *suggestion(root), marks(root)).to_dict()
    assert json.loads(json.dumps(record))["threshold_hu"] == 850
    assert "mask" not in record


def test_storage_order_does_not_matter(root: Tube):
    flipped = Volume(np.asfortranarray(root.volume.array[:, ::-1]), root.volume.affine.copy())
    flipped.affine[:3, 3] += flipped.affine[:3, 1] * (root.volume.array.shape[1] - 1)
    flipped.affine[:3, 1] *= -1
    one = decide(root.volume, *suggestion(root), marks(root))
    two = decide(flipped, *suggestion(root), marks(root))
    assert np.array_equal(one.mask, two.mask[:, ::-1])


def test_what_lies_far_from_the_valve_is_not_its_calcium():
    """Dense contrast in the vena cava, say: even if the network has proposed it."""
    far = tube(change=together(nodule(9, 3, 5, radius=3), nodule(2, 0, -18, radius=2.5)))
    result = decide(far.volume, *suggestion(far, (*PLACES[:1], (2, 0, -18, 2.5))), marks(far))
    heights = (far.volume.grid.to_ras(np.argwhere(result.mask)) - far.center) @ far.n
    assert len(heights) and heights.min() > 0
    assert (far.volume.array >= 850).sum() > 1.2 * result.mask.sum()
    without = decide(
        far.volume, *suggestion(far, (*PLACES[:1], (2, 0, -18, 2.5))), {}
    )  # nobody knows where the root is
    assert without.mask is None or without.mask.sum() > result.mask.sum()


def test_a_networks_own_voxels_count_as_they_are(root: Tube):
    """Also where no threshold would take them; but not what is darker than blood, nor far from the valve."""
    ras = root.volume.grid.to_ras(np.stack(np.meshgrid(*map(np.arange, root.volume.array.shape), indexing="ij"), -1))
    ball = np.linalg.norm(ras - (root.center + 9 * root.u + 3 * root.v + 5 * root.n), axis=-1) <= 3.5
    dark = np.linalg.norm(ras - (root.center + 18 * root.u + 8 * root.n), axis=-1) <= 3  # tissue beside the tube
    voxels = (ball | dark).astype(np.uint8)
    found = decide(root.volume, voxels, root.volume.affine, marks(root), rule=NETWORK)
    mask = found.mask.astype(bool)
    assert not mask[dark].any() and mask[root.volume.array >= 450][ball[root.volume.array >= 450]].all()
    assert np.all(ball[mask]) and np.count_nonzero(mask & (root.volume.array < 850)) > 50
    assert "calcium network's probability" in found.rule and "1 mm3" in found.rule and found.threshold_hu is None

    low = np.argwhere(voxels).min(axis=0)
    high = np.argwhere(voxels).max(axis=0) + 1
    affine = root.volume.affine.copy()
    affine[:3, 3] = root.volume.grid.to_ras(low[None])[0]
    box = voxels[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
    again = decide(root.volume, box, affine, marks(root), rule=NETWORK)
    assert np.array_equal(again.mask, found.mask)
