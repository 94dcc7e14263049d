"""Labels put onto a case: statuses kept, reviews never lost, and nothing taken for truth that nobody looked at."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import site_cases
from site_import import ALL, points, records, take, two_cases, volume

from fedkdtavi_core import errors, schema
from fedkdtavi_core.annotation import Landmark, Status
from fedkdtavi_core.cli.main import main
from fedkdtavi_core.labels.annotated import read_annotation, write_annotation
from fedkdtavi_core.labels.case import output_folder
from fedkdtavi_core.labels.markups import write_contour
from fedkdtavi_core.labels.segmentation import write_segment
from fedkdtavi_core.site.add import add_ct
from fedkdtavi_core.site.dataset import open_site
from fedkdtavi_core.site.localkey import default_key


@pytest.fixture
def site(tmp_path) -> Path:
    return two_cases(tmp_path / "site")


def test_predictions_stay_predictions(site, tmp_path):
    done = take(site, site_cases.annotated(tmp_path / "a", volume(site)), case=None)
    assert done.case == "one"
    found = records(site)
    assert found.keys() == ALL
    assert {record.status for record in found.values()} == {Status.PREDICTED}
    assert {record.reviewer for record in found.values()} == {None}
    assert {record.bundle for record in found.values()} == {"ab12"}
    labels = open_site(site).case("one").read_labels(volume(site).grid)
    assert labels.truth == ()
    assert labels.landmarks["hinge_rcc"].confidence == pytest.approx(0.8)
    assert records(site, "other") == {}


def test_a_reviewer_of_untouched_results_is_told_how_to_confirm(site, tmp_path, capsys):
    """Without 3D Slicer, by the status in the points' descriptions."""
    folder = site_cases.annotated(tmp_path / "a", volume(site))
    words = ["site", "import", str(site), str(folder), "--case", "one", "--reviewer", "reader-1"]
    assert main(words) == 0
    note = next(line for line in capsys.readouterr().out.splitlines() if "note:" in line)
    assert "nothing in it was confirmed or corrected, so reader-1 has reviewed nothing: to confirm" in note
    assert open_site(site).case("one").record.truth() == ()
    before, after = (rf"\"status\":\"{word}\"" for word in ("predicted", "confirmed"))
    path = folder / "landmarks.mrk.json"
    text = path.read_text(encoding="utf-8")
    assert text.count(before) == 7
    path.write_text(text.replace(before, after), encoding="utf-8")
    assert main(words) == 0
    assert "has reviewed nothing" not in capsys.readouterr().out
    assert set(open_site(site).case("one").record.truth()) == set(schema.LANDMARK_IDS)


def test_no_path_of_the_hospital_comes_along(site, tmp_path):
    take(site, site_cases.annotated(tmp_path / "a", volume(site)))
    texts = [path.read_bytes() for path in (site / "cases" / "one").iterdir() if path.suffix == ".json"]
    assert len(texts) == 3
    assert not any(b"patients" in text or b"path" in text for text in texts)


def test_what_was_moved_since_is_corrected_by_a_named_reviewer(site, tmp_path):
    folder = site_cases.annotated(tmp_path / "a", volume(site), confirmed=["ostium_lca"])
    found = read_annotation(folder, volume(site).grid).annotation.landmarks
    found["hinge_ncc"].position = found["hinge_ncc"].position + [1.0, 0.0, 0.0]
    points(folder / "landmarks.mrk.json", **found)
    with pytest.raises(errors.UsageError, match="--reviewer"):
        take(site, folder)
    assert records(site) == {}
    with pytest.raises(errors.UsageError, match=r"'Dr\. John Smith' may be a name"):
        take(site, folder, reviewer="Dr. John Smith")
    take(site, folder, reviewer="r7")
    after = records(site)
    assert open_site(site).case("one").record.truth() == ("hinge_ncc", "ostium_lca")
    assert (after["hinge_ncc"].status, after["ostium_lca"].status) == (Status.CORRECTED, Status.CONFIRMED)
    assert after["hinge_ncc"].reviewer == "r7"
    assert after["hinge_rcc"].reviewer is None
    assert after["hinge_ncc"].time is not None


def test_a_new_prediction_never_replaces_a_review(site, tmp_path):
    place = site_cases.inside(volume(site))["hinge_rcc"] + [0.0, 1.0, 0.0]
    mine = points(
        tmp_path / "p.mrk.json",
        hinge_rcc=Landmark("hinge_rcc", place, status=Status.CORRECTED),
        ms_lower=Landmark("ms_lower", status=Status.ABSENT),
    )
    take(site, mine, reviewer="r1")
    assert records(site).keys() == {"hinge_rcc", "ms_lower"}
    done = take(site, site_cases.annotated(tmp_path / "a", volume(site)))
    assert done.kept == ["hinge_rcc", "ms_lower"]
    labels = open_site(site).case("one").read_labels(volume(site).grid)
    assert labels.truth == ("hinge_rcc",)
    assert np.allclose(labels.landmarks["hinge_rcc"].position, place)
    assert labels.landmarks["ms_lower"].position is None
    assert records(site)["ms_lower"].status is Status.ABSENT
    assert records(site)["hinge_lcc"].status is Status.PREDICTED


def test_another_review_needs_force_and_the_same_one_changes_nothing(site, tmp_path):
    place = site_cases.inside(volume(site))["hinge_rcc"]
    first = points(tmp_path / "1.mrk.json", hinge_rcc=Landmark("hinge_rcc", place, status=Status.CORRECTED))
    second = points(tmp_path / "2.mrk.json", hinge_rcc=Landmark("hinge_rcc", place + 2, status=Status.CONFIRMED))
    take(site, first, reviewer="r1")
    before = (site / "cases" / "one" / "labels.json").read_bytes()
    assert take(site, first, reviewer="r2").taken == {}
    with pytest.raises(errors.UsageError, match="RCC of this case: reviewed already"):
        take(site, second, reviewer="r2")
    assert (site / "cases" / "one" / "labels.json").read_bytes() == before
    assert take(site, second, reviewer="r2", force=True).taken == {"hinge_rcc": "confirmed"}
    assert records(site)["hinge_rcc"].reviewer == "r2"


def test_plain_files_of_slicer_are_corrected_labels(site, tmp_path):
    ct = volume(site)
    landmarks = points(tmp_path / "p.mrk.json", ostium_rca=Landmark("ostium_rca", site_cases.inside(ct)["ostium_rca"]))
    content = json.loads(landmarks.read_text())
    for point in content["markups"][0]["controlPoints"]:
        point["description"] = ""  # as a person makes them
    landmarks.write_text(json.dumps(content))
    segment, curve = tmp_path / "c.seg.nrrd", tmp_path / "a.mrk.json"
    write_segment(segment, site_cases.mask(ct), ct.grid, status=Status.CORRECTED)
    ring = ct.grid.to_ras([[6, 6, 9], [14, 6, 9], [14, 14, 9], [6, 14, 9]])
    write_contour(curve, ring)
    content = json.loads(curve.read_text())
    for point in content["markups"][0]["controlPoints"]:
        point["description"] = ""
    curve.write_text(json.dumps(content))
    done = take(site, landmarks, segment, curve, reviewer="r1")
    assert done.taken == dict.fromkeys(("ostium_rca", "calcification", "annulus_contour"), "corrected")
    labels = open_site(site).case("one").read_labels(ct.grid)
    assert labels.truth == ("ostium_rca", "calcification", "annulus_contour")
    assert np.array_equal(labels.mask, site_cases.mask(ct))
    assert np.allclose(labels.contour, ring)


def test_a_plain_file_needs_a_case(site, tmp_path, capsys):
    path = points(tmp_path / "p.mrk.json", hinge_rcc=Landmark("hinge_rcc", np.zeros(3)))
    assert main(["site", "import", str(site), str(path)]) == errors.EXIT_USAGE
    assert "--case" in capsys.readouterr().err
    assert main(["site", "import", str(site), str(path), "--case", "nobody"]) == errors.EXIT_USAGE
    said = capsys.readouterr().err
    assert "no case nobody" in said
    assert "site worklist" in said


def test_a_source_that_is_not_there_is_told_so_and_stops_none_of_the_others(site, tmp_path, capsys):
    folder = site_cases.annotated(tmp_path / "a", volume(site))
    assert main(["site", "import", str(site), str(tmp_path / "gone"), str(folder)]) == errors.EXIT_INPUT
    assert "gone: not found" in capsys.readouterr().err
    assert records(site).keys() == ALL


def test_labels_of_another_ct_are_refused(site, tmp_path):
    folder = site_cases.annotated(tmp_path / "a", site_cases.ct(seed=9))
    with pytest.raises(errors.InputError, match="is not in this site"):
        take(site, folder, case=None)
    with pytest.raises(errors.InputError, match="labels of another CT than one"):
        take(site, folder)


def test_labels_outside_the_ct_are_refused(site, tmp_path):
    far = Landmark("hinge_rcc", np.array([900.0, 0.0, 0.0]), status=Status.CORRECTED)
    with pytest.raises(errors.InputError, match="RCC would lie outside the CT"):
        take(site, points(tmp_path / "p.mrk.json", hinge_rcc=far), reviewer="r1")
    ct = volume(site)
    moved = ct.affine.copy()
    moved[:3, 3] += [15.0, 0.0, 0.0]
    write_segment(tmp_path / "c.seg.nrrd", np.ones(ct.array.shape, np.uint8), type(ct)(ct.array, moved).grid)
    with pytest.raises(errors.InputError, match="partly outside the CT"):
        take(site, tmp_path / "c.seg.nrrd")
    assert records(site) == {}


def test_a_ct_that_changed_takes_no_labels(site, tmp_path):
    folder = site_cases.annotated(tmp_path / "a", volume(site))
    shutil.copy(site / "cases" / "other" / "ct.nii.gz", site / "cases" / "one" / "ct.nii.gz")
    with pytest.raises(errors.InputError, match="changed since the case was made"):
        take(site, folder)


def test_the_key_finds_the_case_of_the_ct_as_it_was_before(site, tmp_path):
    import ct_files

    from fedkdtavi_core.readers import read_volume

    source = ct_files.nifti(tmp_path / "float.nii.gz", ct_files.chest(seed=3).astype(np.float32) + 0.4)
    case = add_ct(site, source).case  # rounded: another digest
    folder = site_cases.annotated(tmp_path / "a", read_volume(source))
    assert take(site, folder, case=None).case == case
    default_key(site).unlink()
    with pytest.raises(errors.InputError, match="is not in this site"):
        take(site, folder, case=None)


def test_a_case_that_somebody_writes_is_left_alone(site, tmp_path):
    folder = site_cases.annotated(tmp_path / "a", volume(site))
    with (
        output_folder(site / "cases" / "one", force=True, marker="labels.json") as fresh,
        pytest.raises(errors.UsageError, match="another run is writing it"),
    ):
        shutil.copytree(site / "cases" / "one", fresh, dirs_exist_ok=True)
        take(site, folder)
    assert records(site) == {}


def test_an_exported_case_does_not_look_changed_by_hand_after_an_import(site, tmp_path):
    ct, case = volume(site), site / "cases" / "one"
    before = read_annotation(site_cases.annotated(tmp_path / "a", ct), ct.grid).annotation
    write_annotation(case, before, ct.grid, {})
    moved = before.landmarks["ms_upper"].position + [0.0, 0.0, 2.0]
    mine = points(tmp_path / "p.mrk.json", ms_upper=Landmark("ms_upper", moved, status=Status.CORRECTED))
    take(site, mine, reviewer="r1")
    after = read_annotation(case, ct.grid)
    # The site knows this label alone of the exported ones: the others are not labelled in labels.json.
    assert "ms_upper" not in after.changed
    assert after.annotation.landmarks["ms_upper"].status is Status.CORRECTED
    assert np.allclose(after.annotation.landmarks["ms_upper"].position, moved)


def test_the_old_case_is_not_written_into(site, tmp_path):
    """Files are linked, not copied: a copy of the old case that somebody holds must stay as it was."""
    take(site, site_cases.annotated(tmp_path / "a", volume(site)))
    kept = tmp_path / "backup"
    shutil.copytree(site / "cases" / "one", kept, copy_function=lambda a, b: Path(b).hardlink_to(a))
    before = {path.name: path.read_bytes() for path in kept.iterdir()}
    far = site_cases.inside(volume(site))["hinge_rcc"] + 1.0
    mine = points(tmp_path / "p.mrk.json", hinge_rcc=Landmark("hinge_rcc", far, status=Status.CORRECTED))
    take(site, mine, reviewer="r1")
    assert {path.name: path.read_bytes() for path in kept.iterdir()} == before


def test_the_command_tells_what_it_took(site, tmp_path, capsys):
    folder = site_cases.annotated(tmp_path / "a", volume(site), confirmed=["hinge_rcc"])
    assert main(["site", "import", str(site), str(folder), "--reviewer", "r1", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    (one,) = result["inputs"]
    assert one["case"] == "one"
    assert one["taken"]["hinge_rcc"] == "confirmed"
    assert one["taken"]["hinge_lcc"] == "predicted"
