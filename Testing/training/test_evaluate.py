"""Evaluation: every failure counts, the product's own way is taken, an interrupted run goes on."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "core"))

import tiny_bundle

from fedkdtavi_core import schema
from fedkdtavi_core.errors import InputError, UsageError
from fedkdtavi_training import evaluate, tally


def write_case(folder: Path, case: str, volume, points, *, has_root: bool = True, in_range: bool = True) -> None:
    ct = folder / "site-1" / "cases" / case
    ct.mkdir(parents=True)
    hu = volume.array.astype(np.int16)
    hu[:12] = -1000  # air beside the body, without which a reader takes it for no CT
    nibabel.save(nibabel.Nifti1Image(hu, volume.affine), ct / "ct.nii.gz")
    (folder / "key").mkdir(exist_ok=True)
    key = {
        "site": "site-1",
        "kind": "heart",
        "points": {i: None if p is None else list(map(float, p)) for i, p in points.items()},
        "plane_normal": None,
        "annulus_area_mm2": None,
        "style_in_range": in_range,
        "has_root": has_root,
    }
    (folder / "key" / f"{case}.json").write_text(json.dumps(key))
    empty = np.zeros(volume.array.shape, np.uint8)
    nibabel.save(nibabel.Nifti1Image(empty, volume.affine), folder / "key" / f"{case}_calc.nii.gz")


@pytest.fixture(scope="module")
def hospital(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hospital")
    shifted = {i: p + [3.0, 4.0, 0.0] for i, p in tiny_bundle.POINTS.items()}
    write_case(folder, "a-good", tiny_bundle.blob_volume(noise_hu=5), tiny_bundle.POINTS)
    write_case(folder, "b-shifted", tiny_bundle.blob_volume(noise_hu=5), shifted, in_range=False)
    write_case(folder, "c-missed", tiny_bundle.blob_volume(heart=False, noise_hu=5), tiny_bundle.POINTS)
    write_case(
        folder,
        "d-none",
        tiny_bundle.blob_volume(heart=False, noise_hu=5),
        dict.fromkeys(schema.LANDMARK_IDS),
        has_root=False,
    )
    return folder


@pytest.fixture(scope="module")
def rows(hospital, tmp_path_factory):
    bundle = tiny_bundle.write_bundle(tmp_path_factory.mktemp("bundle") / "b")
    out = tmp_path_factory.mktemp("results") / "cases.csv"
    found = evaluate.evaluate(bundle, hospital, out, device="cpu")
    assert [row["case"] for row in found] == ["a-good", "b-shifted", "c-missed", "d-none"]
    done = []
    again = evaluate.evaluate(bundle, hospital, out, device="cpu", report=lambda *_: done.append(1))
    assert again == found
    assert not done  # nothing was computed twice
    return {row["case"]: row for row in found}


def test_errors_are_distances_to_the_key(rows):
    for label in schema.HINGE_IDS:
        assert rows["a-good"][f"{label}_mm"] < 1.5
        assert rows["b-shifted"][f"{label}_mm"] == pytest.approx(5.0, abs=1.5)
    assert rows["a-good"]["plane_deg"] < 5
    assert abs(rows["a-good"]["ostium_lca_height_error_mm"]) < 2


def test_a_missed_root_loses_all_its_landmarks(rows):
    missed = rows["c-missed"]
    assert missed["status"] == "no_root"
    assert all(np.isinf(missed[f"{label}_mm"]) for label in schema.LANDMARK_IDS)
    assert np.isinf(missed["plane_deg"])
    assert rows["d-none"]["hinge_rcc_mm"] is None


def test_a_landmark_that_a_bundle_reads_as_missing_is_infinitely_far_off(hospital, tmp_path):
    seen = tiny_bundle.student_model(classes=True)
    for node in seen.graph.node:  # the class of this sphere is looked for where no sphere is
        if node.op_type == "Concat":
            node.input[-1] = node.input[0]
    meta = tiny_bundle.described(readouts={"hps": "centroid", "ms": "centroid"})
    bundle = tiny_bundle.write_bundle(tmp_path / "b", student=seen, meta=meta)
    key = next(key for key in evaluate.read_keys(hospital) if key.case == "a-good")
    row = evaluate.evaluate_case(key, bundle, "cpu")
    assert row["status"] == "annotated" and row["hinge_rcc_mm"] < 1.5
    assert np.isinf(row["ostium_lca_mm"]) and np.isinf(row["ostium_lca_height_error_mm"])
    assert row["ostium_lca_raw"] is None and row["ostium_lca_confidence"] is None
    measures = tally.summarise([row])["all"]
    assert measures["hinges and ostia"]["missing"] == 1 and measures["ostium_lca"]["median"] is None


def test_the_summary_counts_failures_and_keeps_styles_apart(rows):
    summary = tally.summarise(list(rows.values()))
    presence = summary["all"]["presence"]
    assert (presence["roots_found"], presence["roots_missed"]) == (2, 1)
    assert (presence["rightly_refused"], presence["wrongly_annotated"]) == (1, 0)
    hinge = summary["all"]["hinge_rcc"]
    assert (hinge["n"], hinge["missing"]) == (3, 1)
    assert hinge["p95"] is None  # infinite: one of three is missing
    assert summary["out_of_range"]["hinge_rcc"]["median"] == pytest.approx(5.0, abs=1.5)
    assert "missing" in tally.as_text(summary)


def test_wrong_folders_are_named(tmp_path):
    with pytest.raises(UsageError, match="no answer key"):
        evaluate.read_keys(tmp_path)
    (tmp_path / "key").mkdir()
    (tmp_path / "key" / "x.json").write_text("{}")
    with pytest.raises(InputError, match=r"x\.json"):
        evaluate.read_keys(tmp_path)
