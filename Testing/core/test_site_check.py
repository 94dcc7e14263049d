"""What is wrong with a site is named case by case; what is left to do comes in the order in which it helps."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest
import site_cases

from fedkdtavi_core import errors, schema
from fedkdtavi_core.annotation import Landmark, Status
from fedkdtavi_core.cli.main import main
from fedkdtavi_core.labels.annotated import write_annotation
from fedkdtavi_core.labels.case import output_folder
from fedkdtavi_core.labels.markups import read_landmarks, write_landmarks
from fedkdtavi_core.labels.record import read_record, write_record
from fedkdtavi_core.site.check import ERROR, WARNING, check_site
from fedkdtavi_core.site.dataset import open_case, open_site, settled
from fedkdtavi_core.site.localkey import default_key
from fedkdtavi_core.site.status import counts, worklist

EVERY = dict.fromkeys((*schema.LANDMARK_IDS, "calcification"), Status.CORRECTED)


@pytest.fixture
def site(tmp_path) -> Path:
    folder = site_cases.make_site(tmp_path / "site")
    site_cases.make_case(folder, "a", EVERY, seed=1)
    site_cases.make_case(folder, "b", {"hinge_rcc": Status.CONFIRMED, "hinge_lcc": Status.PREDICTED}, seed=2)
    return folder


def codes(folder: Path) -> dict[tuple[str | None, str], str]:
    return {(one.case, one.code): one.level for one in check_site(folder)}


def test_a_sound_site_has_no_problem(site, capsys):
    assert check_site(site) == []
    assert main(["site", "check", str(site)]) == 0
    assert "0 errors, 0 warnings" in capsys.readouterr().out


def test_a_ct_that_changed_since_labelling(site, capsys):
    path = site / "cases" / "a" / "ct.nii.gz"
    image = nibabel.load(path)
    array = np.asarray(image.dataobj).copy()
    array[3, 3, 3] += 1
    nibabel.save(nibabel.Nifti1Image(array, image.affine), path)
    assert codes(site) == {("a", "ct_changed"): ERROR}
    assert main(["site", "check", str(site), "--json"]) == errors.EXIT_INPUT
    captured = capsys.readouterr()
    result = json.loads(captured.out)
    assert result["exit_code"] == errors.EXIT_INPUT
    assert result["problems"][0]["case"] == "a"
    assert captured.err.count("\n") == 1


def test_labels_of_another_case(site):
    for name in ("labels.json", "landmarks.mrk.json"):
        shutil.copy(site / "cases" / "a" / name, site / "cases" / "b" / name)
    found = {(one.case, one.code): one.message for one in check_site(site)}
    assert "belongs to the CT of a" in found["b", "other_labels"]
    assert ("a", "other_labels") not in found


def test_two_cases_with_one_ct(site):
    shutil.copytree(site / "cases" / "a", site / "cases" / "c")
    assert codes(site) == {("a", "one_ct"): ERROR, ("c", "one_ct"): ERROR}


def test_a_label_outside_the_ct_is_not_truth(site):
    path = site / "cases" / "a" / "landmarks.mrk.json"
    landmarks = read_landmarks(path).landmarks
    landmarks["ms_upper"].position = np.array([0.0, 0.0, 999.0])
    write_landmarks(path, landmarks)
    (problem,) = check_site(site)
    assert (problem.case, problem.level) == ("a", ERROR)
    assert "MS upper lies outside the CT" in problem.message
    case = open_site(site).case("a")
    assert "ms_upper" not in case.read_labels(case.read_grid()).truth
    assert "ms_lower" in case.read_labels(case.read_grid()).truth


def test_truth_without_a_label_file_is_none(site):
    (site / "cases" / "a" / "calcification.seg.nrrd").unlink()
    write_landmarks(
        site / "cases" / "b" / "landmarks.mrk.json",
        {"hinge_lcc": Landmark("hinge_lcc", np.array([-5.0, 15.0, -290.0]))},
    )
    found = check_site(site)
    assert {(one.case, one.code) for one in found} == {("a", "label"), ("b", "label")}
    assert all("in no label file" in one.message for one in found)
    case = open_site(site).case("b")
    assert case.read_labels(case.read_grid()).truth == ()


@pytest.mark.parametrize(
    ("name", "content"), [("labels.json", b"{"), ("ct.nii.gz", b"no CT"), ("landmarks.mrk.json", b"[]")]
)
def test_an_unreadable_case_is_named_and_the_others_are_read(name, content, site, capsys):
    (site / "cases" / "a" / name).write_bytes(content)
    found = check_site(site)
    assert {one.case for one in found} == {"a"}
    assert "skipped" in found[0].message
    assert main(["site", "status", str(site), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["cases"] == (1 if name == "labels.json" else 2)
    assert list(result["skipped"]) == (["a"] if name == "labels.json" else [])
    assert result["labels"]["hinge_rcc"]["truth"] >= 1


def test_a_case_without_labels_json_is_named(site, capsys):
    (site / "cases" / "stray").mkdir()
    assert ("stray", "unreadable") in codes(site)
    assert main(["site", "status", str(site)]) == 0
    assert "skipped stray" in capsys.readouterr().out


def test_a_site_without_labels_or_cases_is_told_so(tmp_path):
    folder = site_cases.make_site(tmp_path / "site")
    assert codes(folder) == {(None, "no_cases"): WARNING}
    site_cases.make_case(folder, "a", {"hinge_rcc": Status.PREDICTED})
    assert codes(folder) == {(None, "no_labels"): WARNING}


def test_identity_is_found_wherever_it_came_from(site):
    path = site / "cases" / "a" / "ct.nii.gz"
    image = nibabel.load(path)
    image.header["descrip"] = b"Muster^Erika"
    nibabel.save(nibabel.Nifti1Image(np.asarray(image.dataobj), image.affine, image.header), path)
    (site / "cases" / "a" / "letter.pdf").write_bytes(b"")
    case = open_case(site / "cases" / "b")
    grid = case.read_grid()
    annotation = site_cases.Annotation(provenance={"ct": {"path": "/clinic/Muster"}})
    annotation.landmarks = case.read_landmarks()
    write_annotation(case.path, annotation, grid, {})
    assert codes(site) == {("a", "identity"): ERROR, ("a", "stranger"): WARNING, ("b", "identity"): ERROR}


def test_labels_changed_by_hand_after_the_export_are_told(site):
    case = open_case(site / "cases" / "b")
    annotation = site_cases.Annotation()
    annotation.landmarks = case.read_landmarks()
    write_annotation(case.path, annotation, case.read_grid(), {})
    assert check_site(site) == []
    annotation.landmarks["hinge_rcc"].position = annotation.landmarks["hinge_rcc"].position + 1
    write_landmarks(case.path / "landmarks.mrk.json", annotation.landmarks)
    (problem,) = check_site(site)
    assert (problem.case, problem.code, problem.level) == ("b", "changed", WARNING)
    assert "RCC" in problem.message


def test_a_case_being_written_is_told_and_still_read(site):
    with output_folder(site / "cases" / "a", force=True, marker="labels.json") as fresh:
        assert codes(site) == {("a", "being_written"): WARNING}
        shutil.copytree(site / "cases" / "a", fresh, dirs_exist_ok=True)
    assert check_site(site) == []


def test_what_a_killed_run_left_is_no_case_and_nobodys_lock(site):
    (site / "cases" / ".a.01234567.partial").mkdir()
    (site / "cases" / ".a.lock").write_bytes(b"")
    assert codes(site) == {(None, "remains"): WARNING}
    assert [case.id for case in open_site(site).cases] == ["a", "b"]


def test_names_that_differ_in_case_only(site):
    shutil.copytree(site / "cases" / "a", site / "cases" / "A")
    assert codes(site)[None, "one_id"] == ERROR


def test_a_read_only_site_can_be_read(site, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: not mode & os.W_OK)  # root may write everywhere
    assert codes(site) == {(None, "read_only"): WARNING}


@pytest.mark.skipif(os.name != "posix", reason="permissions of another kind")
def test_a_key_that_others_may_read(site):
    key = default_key(site)
    key.write_text('{"cases": {}}')
    key.chmod(0o644)
    assert codes(site) == {(None, "key_is_public"): ERROR}
    key.chmod(0o600)
    assert check_site(site) == []


def test_a_broken_site_json(site, capsys):
    (site / "site.json").write_text('{"schema_version": 99, "id": "x"}')
    assert main(["site", "status", str(site)]) == errors.EXIT_INPUT
    assert "schema version is 99" in capsys.readouterr().err
    (site / "site.json").unlink()
    assert open_site(site).info.id == "site"
    assert codes(site) == {(None, "no_site_json"): WARNING}


def test_counts_tell_the_four_states_apart(site):
    site_cases.make_case(site, "c", {"hinge_rcc": Status.ABSENT, "ms_upper": Status.PREDICTED}, seed=3)
    table = counts(open_site(site))
    assert table["hinge_rcc"] == {"truth": 2, "predicted": 0, "absent": 1, "unlabelled": 0}
    assert table["hinge_lcc"] == {"truth": 1, "predicted": 1, "absent": 0, "unlabelled": 1}
    assert table["annulus_contour"]["unlabelled"] == 3
    assert all(sum(row.values()) == 3 for row in table.values())


def test_the_worklist_starts_where_labelling_helps_most(tmp_path, capsys):
    folder = site_cases.make_site(tmp_path / "site")
    predicted = dict.fromkeys(EVERY, Status.PREDICTED)
    sure = dict.fromkeys(schema.LANDMARK_IDS, 0.95)
    site_cases.make_case(folder, "done", EVERY | {"ms_upper": Status.ABSENT}, seed=1)
    site_cases.make_case(folder, "sure", predicted, seed=2, confidence=sure)
    site_cases.make_case(folder, "doubt", predicted, seed=3, confidence=sure | {"ostium_rca": 0.3})
    site_cases.make_case(folder, "seen", predicted | {"ostium_rca": Status.CONFIRMED}, seed=4, confidence=sure)
    site_cases.make_case(folder, "new", {}, seed=5)
    site_cases.make_case(folder, "half", dict.fromkeys(schema.HEADS["hps"], Status.CORRECTED), seed=6)
    items, skipped = worklist(open_site(folder))
    assert [item.case for item in items] == ["new", "half", "doubt", "seen", "sure"]
    assert (items[2].doubtful, items[2].confidence) == ("ostium_rca", pytest.approx(0.3))
    assert skipped == {}
    assert [item.case for item in worklist(open_site(folder), ["hps"])[0]] == ["new", "doubt", "seen", "sure"]
    assert main(["site", "worklist", str(folder), "--most", "2", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert [item["case"] for item in result["worklist"]] == ["new", "half"]
    assert result["left"] == 5
    assert main(["site", "worklist", str(folder)]) == 0
    assert "least sure of RCA (0.30)" in capsys.readouterr().out


def test_a_point_the_network_did_not_find_is_the_most_doubtful(site):
    path = site / "cases" / "b" / "landmarks.mrk.json"
    landmarks = read_landmarks(path).landmarks
    write_landmarks(path, landmarks | {"hinge_lcc": Landmark("hinge_lcc")})
    (item,) = worklist(open_site(site))[0]
    assert (item.doubtful, item.confidence) == ("hinge_lcc", 0.0)


def test_a_prediction_in_labels_json_is_no_truth_whatever_the_point_says(site):
    """The description travels with the point and may be edited; only labels.json says what was reviewed."""
    path = site / "cases" / "b" / "landmarks.mrk.json"
    landmarks = read_landmarks(path).landmarks
    landmarks["hinge_lcc"].status = Status.CONFIRMED
    write_landmarks(path, landmarks)
    case = open_site(site).case("b")
    assert case.read_labels(case.read_grid()).truth == ("hinge_rcc",)


def test_labels_that_changed_since_they_were_listed_are_not_mixed(site):
    case = open_site(site).case("b")
    record = read_record(case.path / "labels.json")
    del record.labels["hinge_rcc"]
    write_record(case.path / "labels.json", record)
    with pytest.raises(errors.InputError, match="changed since they were listed"):
        case.read_labels(case.read_grid())


def test_a_case_that_is_replaced_while_it_is_read_is_read_again(site):
    case, reads = site / "cases" / "a", []

    def read() -> str:
        reads.append(0)
        if len(reads) == 1:
            with output_folder(case, force=True, marker="labels.json") as fresh:
                shutil.copytree(case, fresh, dirs_exist_ok=True)
        return (case / "labels.json").read_text()

    settled(case, read)
    assert len(reads) == 2
