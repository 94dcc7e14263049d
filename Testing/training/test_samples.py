"""Samples: points follow the picture, nothing is mirrored, a sample is a function of its number."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
import standin
import torch

from fedkdtavi_core import schema
from fedkdtavi_training import augment, cache, data
from fedkdtavi_training.config import AugmentConfig, TrainConfig
from fedkdtavi_training.phantom.shapes import rotation_about

pytestmark = pytest.mark.torch


def config(folder, tmp_path, **changes) -> TrainConfig:
    return TrainConfig(**({"task": "student", "cache": [folder], "out": tmp_path, "steps": 8} | changes))


def test_cache_keeps_a_case_as_it_was(tmp_path):
    made = standin.make(5, 48, 1.25)  # number 5 has no ms_upper
    cache.save(tmp_path / "case_000005.npz", made)
    case = cache.load(tmp_path / "case_000005.npz")
    np.testing.assert_array_equal(case.hu, made.hu)
    np.testing.assert_array_equal(case.calc, made.calc)
    np.testing.assert_array_equal(case.heart, made.heart)
    missing = schema.LANDMARK_IDS.index("ms_upper")
    assert np.isnan(case.points[missing]).all()
    place = made.grid.to_ras(case.points[0])
    np.testing.assert_allclose(place, made.points[schema.LANDMARK_IDS[0]], atol=1e-3)


def test_a_damaged_cache_file_is_named(tmp_path):
    from fedkdtavi_core.errors import InputError

    path = tmp_path / "case_000000.npz"
    path.write_bytes(b"nothing")
    with pytest.raises(InputError, match="case_000000"):
        cache.load(path)


@pytest.mark.parametrize("seed", range(4))
def test_points_follow_the_picture(seed, crops, tmp_path):
    """A blob drawn at a point is found, after any transform, where the transform says the point went."""
    rng = np.random.default_rng(seed)
    size, spacing = 80, 1.25
    point = np.array([44.0, 36.5, 41.0]) + rng.uniform(-6, 6, 3)
    axes = np.ogrid[:size, :size, :size]
    blob = 1000 * np.exp(-0.5 * sum((a - p) ** 2 for a, p in zip(axes, point, strict=True)) / 2.5**2)
    settings = config(crops, tmp_path)
    transform = data.draw_transform(rng, settings, np.array([40.0, 39.0, 41.0]), spacing, spacing, (64, 64, 64))
    image, _ = transform.sample(blob.astype(np.float32), [], None)
    weights = image / image.sum()
    found = [float((weights * a).sum()) for a in np.ogrid[:64, :64, :64]]
    # The blob itself is bent by the elastic part, so its centre of mass may stray a little.
    np.testing.assert_allclose(found, transform.inverse(point[None])[0], atol=0.35)


def test_no_transform_mirrors(crops, tmp_path):
    settings = config(crops, tmp_path)
    for seed in range(200):
        rng = np.random.default_rng(seed)
        transform = data.draw_transform(rng, settings, np.zeros(3), 1.25, 1.25, (64, 64, 64))
        assert np.linalg.det(transform.matrix) > 0.2


def test_a_sample_depends_on_its_number_alone(crops, tmp_path):
    samples = data.dataset(config(crops, tmp_path), cache.files([crops]))
    first = samples[3]
    samples[0]
    again = samples[3]
    for name, value in first.items():
        np.testing.assert_array_equal(value, again[name])
    assert not np.array_equal(samples[4]["image"], first["image"])


def test_an_epoch_shows_every_case_once():
    shown = [data.shuffled(3, n, 8) for n in range(16)]
    assert sorted(shown[:8]) == sorted(shown[8:]) == list(range(8))


def test_targets_lie_on_the_points_and_missing_ones_are_masked(crops, tmp_path):
    settings = config(crops, tmp_path)
    samples = data.dataset(settings, cache.files([crops]))
    masked = 0
    for n in range(8):
        sample = samples[n]
        for target, point, mask in zip(sample["target"], sample["points"], sample["mask"], strict=True):
            if not mask:
                masked += 1
                assert target.max() == 0
                continue
            assert target.sum() == pytest.approx(1, abs=1e-4)
            assert np.abs(np.unravel_index(target.argmax(), target.shape) - point).max() <= 0.51
    assert masked >= 1  # case 5 has no ms_upper


def test_coarse_samples_share_a_shape_within_a_step(chests, tmp_path):
    settings = config(chests, tmp_path, task="coarse")
    samples = data.dataset(settings, cache.files([chests]))
    for step in range(3):
        one, two = samples[2 * step], samples[2 * step + 1]
        assert one["image"].shape == two["image"].shape
        assert all(n % 16 == 0 for n in one["image"].shape[1:])
        assert one["heart"].shape == one["image"].shape[1:]
        for sample in (one, two):
            assert sample["root"].max() == 0 or sample["root"].max() > 0.6


@pytest.mark.parametrize("width", [0.4, 1.0, 2.4, 4.0])
def test_slices_keep_a_constant_and_a_ramp(width):
    operator = augment.slice_operator(64, width, 1.0, 0.3)
    np.testing.assert_allclose(operator.sum(1), 1, atol=1e-5)
    ramp = operator @ np.arange(64.0)
    np.testing.assert_allclose(ramp[8:-8], np.arange(64.0)[8:-8], atol=0.01)


def test_the_scanner_of_the_virtual_hospitals_takes_a_share_of_the_samples(crops):
    hu = cache.load(sorted(crops.glob("*.npz"))[0]).hu.astype(np.float32)[:48, :48, :48]
    nowhere = np.full((7, 3), np.nan)

    def picture(share: float, seed: int) -> np.ndarray:
        still = AugmentConfig(contrast=0, context=0, motion=0, in_plane=0, slices=0, streaks=0, noise=0, scanner=share)
        return augment.apply(hu, nowhere, 1.25, still, np.random.default_rng(seed))

    np.testing.assert_array_equal(picture(0.0, 1), hu)
    for seed in range(6):
        taken = picture(1.0, seed)
        assert np.isfinite(taken).all() and taken.shape == hu.shape
        assert np.abs(taken - hu).mean() > 2
        np.testing.assert_array_equal(taken, picture(1.0, seed))
    assert "scanner" not in AugmentConfig().model_dump()
    assert AugmentConfig(scanner=0.5).model_dump()["scanner"] == 0.5


def test_augmentation_stays_finite_and_keeps_the_order_of_tissues():
    rng = np.random.default_rng(0)
    for seed in range(20):
        rng = np.random.default_rng(seed)
        curve = augment.contrast(np.array([-900.0, -80.0, 40.0, 300.0, 1200.0], np.float32), rng)
        assert (np.diff(curve) > 0).all()
    points = np.full((7, 3), np.nan)
    points[0] = 16
    everything = AugmentConfig(contrast=1, motion=1, slices=1, in_plane=1, noise=1, streaks=1, context=1)
    hu = np.random.default_rng(1).normal(40, 300, (32, 32, 32)).astype(np.float32)
    for seed in range(10):
        image = augment.apply(hu, points, 1.25, everything, np.random.default_rng(seed))
        assert image.shape == hu.shape
        assert image.dtype == np.float32
        assert np.isfinite(image).all()


def test_random_context_leaves_the_landmarks_alone():
    hu = np.random.default_rng(1).normal(40, 300, (64, 64, 64)).astype(np.float32)
    points = np.array([[32.0, 32.0, 32.0]])
    changed = augment.random_context(hu, points, 1.25, np.random.default_rng(2))
    np.testing.assert_allclose(changed[26:39, 26:39, 26:39], hu[26:39, 26:39, 26:39], atol=1e-3)
    assert not np.allclose(changed, hu)


def test_a_finely_cached_crop_is_looked_at_closely_and_others_as_ever(crops, tmp_path):
    still = AugmentConfig(rotation_deg=0, scale=0, shear=0, elastic_mm=0)
    usual = config(crops, tmp_path, augment=still)
    closely = usual.model_copy(update={"closer_look_mm": 0.8})
    assert usual.digest() != closely.digest()
    fine_case = standin.make(0, 96, 0.8)
    cache.save(tmp_path / "case_000000.npz", fine_case)
    between = {}
    for name, path in (("fine", tmp_path / "case_000000.npz"), ("usual", sorted(crops.glob("case_*.npz"))[0])):
        case = cache.load(path)
        sample = data.CropDataset([path], closely).sample(0, case, data.Labels.of(case))
        true = np.linalg.norm(case.points[0] - case.points[1]) * case.spacing
        between[name] = true / np.linalg.norm(sample["points"][0] - sample["points"][1])
        if name == "usual":
            same = data.CropDataset([path], usual).sample(0, case, data.Labels.of(case))
            np.testing.assert_array_equal(sample["image"], same["image"])
    assert between == pytest.approx({"fine": 2 * 0.8, "usual": 2 * 1.25}, rel=1e-3)  # mm a half-resolution voxel


def test_label_maps_are_read_at_the_voxels_that_torch_calls_nearest():
    rng = np.random.default_rng(4)
    turned = rotation_about(np.array([0.6, 0.0, 0.8]), 0.3)
    half = np.array([20.5, 24.0, 11.5])  # the second one's centre is no voxel's: halves are rounded as torch does
    for matrix, centre in ((np.eye(3), half), (0.5 * np.eye(3), half), (turned, half)):
        knots = None if matrix is not turned else rng.normal(0, 1, (3, 5, 5, 5))
        transform = data.Transform(matrix, centre, (32, 30, 28), knots)
        labels = [rng.integers(0, 8, (40, 50, 24)).astype(np.uint8), np.zeros((40, 50, 24), np.uint8)]
        _, picked = transform.sample(np.zeros((40, 50, 24), np.int16), labels, None)
        place = transform._places(np.array(labels[0].shape))
        source = torch.from_numpy(np.stack(labels).astype(np.float32))[None]
        near = torch.nn.functional.grid_sample(
            source, place[None], mode="nearest", padding_mode="zeros", align_corners=True
        )
        assert np.array_equal(near[0].numpy(), np.stack(picked)) and picked[0].any()
        _, (empty,) = transform.sample(np.zeros((40, 50, 24), np.int16), labels[1:], None)
        assert empty.shape == (32, 30, 28) and not empty.any()


def test_what_a_network_has_nothing_to_do_with_is_not_unpacked(crops, tmp_path):
    path = sorted(crops.glob("case_*.npz"))[0]  # of a full set of points: NaN would differ from itself
    whole, light = cache.load(path), cache.load(path, heart=False)
    assert whole.heart.any() and light.heart.size == 0 and light.heart_known and np.array_equal(light.calc, whole.calc)
    samples = data.CropDataset([path], config(crops, tmp_path))
    made, again = samples.sample(0, whole, data.Labels.of(whole)), samples[0]
    assert made.keys() == again.keys() and all(np.array_equal(made[name], again[name]) for name in made)
    seen = data.CropDataset([path], config(crops, tmp_path, network={"in_channels": 2}))
    assert seen[0]["image"][1].any()


@pytest.mark.parametrize(("given", "threads"), [(None, "1"), ("3", "3")])
def test_numpy_finds_one_thread_unless_the_environment_says_otherwise(given, threads):
    """A product of matrices has other last bits with another number of threads, and so has a sample."""
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    environment |= {"OMP_NUM_THREADS": given} if given else {}
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    code = (
        "import fedkdtavi_training.commands as c, os, sys; print('numpy' in sys.modules, os.environ['OMP_NUM_THREADS'])"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["False", threads]
