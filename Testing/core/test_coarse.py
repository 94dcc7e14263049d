"""The coarse look finds the root, tells when there is none or it is cut off, and says so in one sentence."""

import numpy as np
import pytest
import tiny_bundle

from fedkdtavi_core import coarse
from fedkdtavi_core.errors import BundleError, Cancelled, NoRootError
from fedkdtavi_core.progress import Progress
from fedkdtavi_core.volume import Grid, Volume


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return tiny_bundle.write_bundle(tmp_path_factory.mktemp("coarse") / "bundle")


@pytest.fixture(scope="module")
def ct():
    return tiny_bundle.blob_volume()


def test_the_root_is_found_where_it_is(bundle, ct):
    result = coarse.locate(ct, bundle, "cpu")
    assert np.linalg.norm(result.center_ras - tiny_bundle.CENTER) < 2
    assert result.found and result.covered and result.reason is None
    assert 0.9 < result.score <= 1
    ball = 4 / 3 * np.pi * tiny_bundle.HEART_MM**3 / 1000
    assert result.heart_volume_ml["aorta"] == pytest.approx(ball, rel=0.15)
    assert result.heart_volume_ml["left_ventricle"] == 0
    assert result.device == "cpu" and result.labels is None


def test_heart_classes_come_on_request(bundle, ct):
    result = coarse.locate(ct, bundle, "cpu", labels=True)
    inside = np.argwhere(result.labels == 6)
    ras = inside @ result.labels_affine[:3, :3].T + result.labels_affine[:3, 3]
    np.testing.assert_allclose(ras.mean(axis=0), tiny_bundle.CENTER, atol=1.5)


def test_a_ct_without_heart_is_told(bundle):
    with pytest.raises(NoRootError, match=r"blobs\.nii\.gz: no heart was found"):
        coarse.locate(tiny_bundle.blob_volume(heart=False), bundle, "cpu")


def test_air_alone_is_told(bundle):
    air = Volume(np.full((40, 40, 40), -1024, np.int16), np.diag([2.0, 2, 2, 1]))
    result = coarse.examine(air, bundle, "cpu")
    assert result.center_ras is None and not result.found and "no heart" in result.reason


@pytest.mark.parametrize(("keep", "side"), [(slice(42, None), "lower"), (slice(None, 54), "upper")])
def test_a_cut_root_is_not_covered_and_the_side_is_named(bundle, ct, keep, side):
    affine = ct.affine.copy()
    affine[:3, 3] += affine[:3, 2] * (keep.start or 0)
    cut = Volume(ct.array[:, :, keep], affine, ct.info)
    with pytest.raises(NoRootError, match=rf"ends \d+ mm .* {side} side|cut off at the {side} end"):
        coarse.locate(cut, bundle, "cpu")
    assert not coarse.examine(cut, bundle, "cpu").covered


@pytest.mark.parametrize(
    ("axis", "position", "side"),
    [(0, 3.0, "right"), (0, 37.0, "left"), (1, 3.0, "lower"), (1, 37.0, "upper"), (2, 37.0, "anterior")],
)
def test_faces_have_anatomical_names_in_any_orientation(axis, position, side):
    grid = Grid((20, 20, 20), np.array([[-2.0, 0, 0, 0], [0, 0, 2, 0], [0, 2, 0, 0], [0, 0, 0, 1]]))
    ijk = np.full(3, 9.5)
    ijk[axis] = position / 2 - 0.5
    margin, name = coarse._margin(grid, grid.to_ras(ijk))
    assert (margin, name) == (pytest.approx(3.0), side)
    ijk[axis] = -3
    assert coarse._margin(grid, grid.to_ras(ijk))[0] == pytest.approx(-5.0)


def test_a_heart_without_root_is_told_apart_from_no_heart(bundle, ct, tmp_path):
    strict = tiny_bundle.described(thresholds={"root_score": 1.0, "heart_ml": 20.0})
    other = tiny_bundle.write_bundle(tmp_path / "b", meta=strict)
    with pytest.raises(NoRootError, match=r"a heart was found but no aortic root \(score 0\.\d\d\); the scan range"):
        coarse.locate(ct, other, "cpu")


def test_a_long_ct_in_blocks_gives_what_one_run_gives(bundle, monkeypatch):
    affine = np.diag([3.0, 3, 3, 1])
    shape = (48, 48, 150)
    affine[:3, 3] = tiny_bundle.CENTER - 3.0 * np.array([24, 23, 100])
    ct = tiny_bundle.blob_volume(affine, shape)
    whole = coarse.locate(ct, bundle, "cpu", labels=True)
    monkeypatch.setattr(coarse, "_BLOCK", 64)
    blocks = coarse.locate(ct, bundle, "cpu", labels=True)
    np.testing.assert_array_equal(whole.labels, blocks.labels)
    np.testing.assert_allclose(whole.center_ras, blocks.center_ras, atol=0.05)


def test_an_unusable_output_is_the_bundles_fault(bundle, ct, monkeypatch):
    session = bundle.session("coarse", "cpu")

    class Broken:
        device, notes = "cpu", ()

        def __init__(self, change):
            self.change = change

        def __call__(self, image):
            return self.change(session(image))

    def without_classes(outputs):
        return outputs | {"heart": outputs["heart"][:, :5]}

    def with_nan(outputs):
        return outputs | {"root": outputs["root"] * np.nan}

    for change, words in ((without_classes, "'heart' is"), (with_nan, "'root' is not finite")):
        monkeypatch.setattr(type(bundle), "session", lambda *_, change=change: Broken(change))
        with pytest.raises(BundleError, match=words):
            coarse.locate(ct, bundle, "cpu")


def test_it_can_be_cancelled(bundle, ct):
    with pytest.raises(Cancelled):
        coarse.locate(ct, bundle, "cpu", Progress(cancelled=lambda: True))
