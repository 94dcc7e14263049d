"""A bundle says how its landmarks are read; one that is read as missing is missing all the way."""

import json

import numpy as np
import pytest
import tiny_bundle
from tiny_bundle import CENTER, POINTS

from fedkdtavi_core import bundle as bundles
from fedkdtavi_core import fine, heatmap, looks, pipeline, readout
from fedkdtavi_core.annotation import Status
from fedkdtavi_core.bundle import metadata
from fedkdtavi_core.cli import main as cli
from fedkdtavi_core.errors import BundleError
from fedkdtavi_core.volume import Grid

MM = 2.5
CENTROIDS = {"hps": "centroid", "ms": "centroid"}


def grid(size=24, affine=None):
    return Grid((size,) * 3, np.diag([MM, MM, MM, 1.0]) if affine is None else affine)


def boxes(*corners, size=24):
    """A class for each list of (first, last, logit) cubes; all else is background."""
    logits = np.full((len(corners), size, size, size), -5.0, np.float32)
    for channel, cubes in zip(logits, corners, strict=True):
        for first, last, value in cubes:
            channel[first:last, first:last, first:last] = value
    return logits


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return tiny_bundle.write_bundle(
        tmp_path_factory.mktemp("readout") / "bundle",
        student=tiny_bundle.student_model(classes=True),
        meta=tiny_bundle.described(readouts=CENTROIDS),
    )


def test_the_largest_component_wins_and_an_empty_class_is_missing():
    found, missing = readout.read(readout.CENTROID, boxes([(2, 4, 9.0), (12, 16, 1.0)], []), grid())
    assert found.position == pytest.approx([13.5 * MM] * 3) and missing is None
    assert found.confidence == pytest.approx(np.exp(1) / (1 + np.exp(1) + np.exp(-5)), rel=1e-4)
    assert found.covariance == pytest.approx(np.eye(3) * MM**2 * 4**2 / 12)  # of a box of 4 voxels


def test_one_voxel_has_a_covariance_and_the_grids_axes_are_followed():
    affine = np.array([[0, -MM, 0, 5], [MM, 0, 0, -7], [0, 0, MM, 3], [0, 0, 0, 1.0]])
    logits = boxes([(0, 0, 0)])
    logits[0, 3, 8, 11] = 4.0
    (found,) = readout.centroids(logits, grid(affine=affine))
    assert found.position == pytest.approx([5 - 8 * MM, -7 + 3 * MM, 3 + 11 * MM]) and found.peak_ijk == (3, 8, 11)
    assert np.linalg.eigvalsh(found.covariance) == pytest.approx([MM**2 / 12] * 3)


def test_what_cannot_be_read_is_refused():
    with pytest.raises(ValueError, match="do not fit"):
        readout.centroids(np.zeros((2, 8, 8, 8)), grid())
    with pytest.raises(ValueError, match="channel 1 holds nan"):
        readout.centroids(np.stack([boxes([])[0], np.full((24,) * 3, np.nan)]), grid())
    with pytest.raises(ValueError, match="no read-out 'guess'"):
        readout.read("guess", boxes([]), grid())


def test_a_bundle_that_names_no_read_out_is_what_it_always_was():
    assert "readout" not in json.dumps(tiny_bundle.described())
    assert tiny_bundle.described(readouts=dict.fromkeys(CENTROIDS, "heatmap")) == tiny_bundle.described()
    meta = tiny_bundle.described(readouts=CENTROIDS)
    assert meta["bundle_version"] == 2 and metadata.readouts(meta) == CENTROIDS
    assert meta["network_data_format"]["outputs"]["hps"]["type"] == "segmentation"
    with pytest.raises(BundleError, match="'ms', which is none of its heads"):
        tiny_bundle.described(heads={"hps": ("hinge_rcc",)}, readouts=CENTROIDS)


def test_centroids_come_back_in_millimetres_and_move_the_crop(bundle):
    result = fine.predict(tiny_bundle.blob_volume(), bundle, CENTER + [9.0, -7.0, 6.0], "cpu")
    assert len(result.centers) == 2
    assert max(np.linalg.norm(one.position - POINTS[i]) for i, one in result.predictions.items()) < 0.8
    assert list(result.predictions) == list(POINTS)


def test_a_class_that_wins_nothing_is_a_missing_landmark_in_the_annotation(bundle):
    ct = tiny_bundle.blob_volume(leave_out=("ostium_rca", "hinge_ncc"), noise_hu=3)
    result = pipeline.annotate(ct, bundle, device="cpu")
    gone = [i for i, landmark in result.landmarks.items() if landmark.position is None]
    assert gone == ["hinge_ncc", "ostium_rca"]
    assert result.landmarks["ostium_rca"].status is Status.PREDICTED  # nobody has called it absent
    assert set(result.provenance["fine"]["raw_confidence"]) == set(POINTS) - set(gone)
    assert result.annulus_contour is None  # no plane without its three hinge points


def test_a_view_in_which_it_is_missing_counts_as_no_confidence(tmp_path):
    one = heatmap.Decoded(np.zeros(3), np.eye(3), 0.9, (0, 0, 0))
    assert looks.combine([one], 3)[2] == pytest.approx(0.3)
    assert looks.combine([one, one], 3)[2] == pytest.approx(0.6)
    meta = tiny_bundle.described(readouts=CENTROIDS, views=[[2.0, 1.0, -1.5], [-1.5, 2.0, 1.0]])
    seen = tiny_bundle.write_bundle(tmp_path / "b", student=tiny_bundle.student_model(classes=True), meta=meta)
    result = fine.predict(tiny_bundle.blob_volume(leave_out=("ms_upper",)), seen, CENTER, "cpu")
    assert "ms_upper" not in result.predictions and len(result.predictions) == len(POINTS) - 1


def test_the_read_out_is_shown_and_survives_packing(bundle, tmp_path, capsys):
    packed = bundles.pack(bundle.path, tmp_path / "b.zip")
    assert metadata.readouts(packed.metadata) == CENTROIDS
    assert cli.main(["bundle", "info", str(tmp_path / "b.zip")]) == 0
    assert "head ms: ms_upper, ms_lower (read as centroid)" in capsys.readouterr().out
