"""Plain files of Slicer put onto a case: what a person changed in them is told from the case's own prediction."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import site_cases
from site_import import points, records, take, two_cases, volume

from fedkdtavi_core import errors
from fedkdtavi_core.annotation import Landmark, Status
from fedkdtavi_core.labels.annotated import read_annotation, write_annotation
from fedkdtavi_core.labels.segmentation import write_segment
from fedkdtavi_core.site.dataset import open_site


@pytest.fixture
def site(tmp_path) -> Path:
    return two_cases(tmp_path / "site")


def slicer_copy(site: Path, path: Path, **shifts: float) -> Path:
    """The case's landmarks file as Slicer saves it elsewhere: points dragged by so many mm, statuses left alone."""
    content = json.loads((site / "cases" / "one" / "landmarks.mrk.json").read_text())
    for point in content["markups"][0]["controlPoints"]:
        shift = shifts.get(json.loads(point["description"])["id"])
        if shift is not None:
            point["position"][2] += shift
    path.write_text(json.dumps(content))
    return path


def test_a_point_moved_in_a_plain_file_that_says_predicted_is_not_the_prediction(site, tmp_path):
    take(site, site_cases.annotated(tmp_path / "a", volume(site)))
    place, before = site_cases.inside(volume(site))["hinge_rcc"], records(site)
    mine = slicer_copy(site, tmp_path / "p.mrk.json", hinge_rcc=2.0, hinge_lcc=0.02)
    with pytest.raises(errors.UsageError, match=r"predicted of RCC, but .* --reviewer PSEUDONYM"):
        take(site, mine)
    assert records(site) == before
    assert take(site, mine, reviewer="rev1").taken == {"hinge_rcc": "corrected"}
    after = records(site)
    assert (after["hinge_rcc"].status, after["hinge_rcc"].reviewer) == (Status.CORRECTED, "rev1")
    assert after | {"hinge_rcc": before["hinge_rcc"]} == before
    landmarks = open_site(site).case("one").read_landmarks()
    assert np.allclose(landmarks["hinge_rcc"].position, place + [0.0, 0.0, 2.0])
    assert landmarks["hinge_rcc"].confidence is None
    assert landmarks["hinge_lcc"].confidence == pytest.approx(0.8)
    # The prediction, come again, says nothing against the review.
    again = take(site, tmp_path / "a" / "landmarks.mrk.json")
    assert (again.taken, again.kept) == ({}, ["hinge_rcc"])


def with_contour(folder: Path, ct) -> Path:
    """What annotate writes when the annulus can be traced."""
    annotation = read_annotation(site_cases.annotated(folder, ct), ct.grid).annotation
    annotation.annulus_contour = ct.grid.to_ras([[6, 6, 9], [14, 6, 9], [14, 14, 9], [6, 14, 9]])
    shutil.rmtree(folder)
    folder.mkdir()
    write_annotation(folder, annotation, ct.grid, {})
    return folder


def edited(folder: Path, ct, label_id: str) -> Path:
    """A file of annotate's as Slicer saves it after a person's edit: the status is left alone."""
    if label_id == "calcification":
        mask = site_cases.mask(ct)
        mask[8, 8, 8] = 0
        write_segment(folder / "edited.seg.nrrd", mask, ct.grid, status=Status.PREDICTED)
        return folder / "edited.seg.nrrd"
    content = json.loads((folder / "annulus.mrk.json").read_text())
    content["markups"][0]["controlPoints"][2]["position"][0] += 1.5
    (folder / "edited.mrk.json").write_text(json.dumps(content))
    return folder / "edited.mrk.json"


@pytest.mark.parametrize(("label_id", "name"), [("calcification", "Calcification"), ("annulus_contour", "Annulus")])
def test_a_segment_or_contour_edited_in_a_plain_file_that_says_predicted_is_corrected(site, tmp_path, label_id, name):
    ct = volume(site)
    folder = with_contour(tmp_path / "a", ct)
    take(site, folder)
    grid = ct.grid
    before, mine = records(site), edited(folder, ct, label_id)
    old = open_site(site).case("one").read_labels(grid)
    assert before[label_id].status is Status.PREDICTED
    with pytest.raises(errors.UsageError, match=r"--reviewer PSEUDONYM"):
        take(site, mine)
    elsewhere = shutil.copy(mine, tmp_path / mine.name)  # not beside the prediction: compared with the case's own
    with pytest.raises(errors.UsageError, match=rf"predicted of {name}, but .* --reviewer PSEUDONYM"):
        take(site, Path(elsewhere))
    assert records(site) == before
    assert take(site, mine, reviewer="rev1").taken == {label_id: "corrected"}
    after = records(site)[label_id]
    assert (after.status, after.reviewer, after.bundle) == (Status.CORRECTED, "rev1", None)
    labels = open_site(site).case("one").read_labels(grid)
    assert labels.truth == (label_id,)
    if label_id == "calcification":
        assert labels.mask.sum() == old.mask.sum() - 1
    else:
        assert np.abs(labels.contour - old.contour).max() == pytest.approx(1.5)
    # Each of the old files says nothing against the review, and is itself no edit of another label.
    again = take(site, folder / "annulus.mrk.json", folder / "calcification.seg.nrrd")
    assert (again.taken, again.kept) == ({}, [label_id])


def test_a_plain_file_for_a_case_without_a_prediction_stays_predicted(site, tmp_path):
    place = site_cases.inside(volume(site))["hinge_rcc"]
    mine = points(tmp_path / "p.mrk.json", hinge_rcc=Landmark("hinge_rcc", place, 0.7))
    assert take(site, mine).taken == {"hinge_rcc": "predicted"}


def test_a_plain_file_beside_its_prediction_is_compared_with_that(site, tmp_path):
    """The case has no labels yet; the file lies in the folder that annotate wrote, as Slicer saves it there."""
    folder = site_cases.annotated(tmp_path / "a", volume(site))
    content = json.loads((folder / "landmarks.mrk.json").read_text())
    content["markups"][0]["controlPoints"][0]["position"][2] += 2.0
    moved = json.loads(content["markups"][0]["controlPoints"][0]["description"])["id"]
    (folder / "landmarks.mrk.json").write_text(json.dumps(content))
    taken = take(site, folder / "landmarks.mrk.json", reviewer="rev1").taken
    assert taken[moved] == "corrected" and set(taken.values()) == {"corrected", "predicted"}
    mask = site_cases.mask(volume(site))
    mask[8, 8, 8] = 0
    write_segment(folder / "calcification.seg.nrrd", mask, volume(site).grid, status=Status.PREDICTED)
    assert take(site, folder / "calcification.seg.nrrd", reviewer="rev1").taken == {"calcification": "corrected"}


def test_a_reviewers_file_that_says_predicted_throughout_and_has_nothing_to_be_compared_with_is_refused(site, tmp_path):
    place = site_cases.inside(volume(site))["hinge_rcc"]
    mine = points(tmp_path / "p.mrk.json", hinge_rcc=Landmark("hinge_rcc", place, 0.7))
    with pytest.raises(errors.UsageError, match="no prediction to compare them with; import the folder"):
        take(site, mine, reviewer="rev1")


def test_plain_files_that_are_the_prediction_leave_its_bundle_and_time(site, tmp_path):
    folder = site_cases.annotated(tmp_path / "a", volume(site))
    take(site, folder)
    case = site / "cases" / "one" / "labels.json"
    content = json.loads(case.read_text())
    for record in content["labels"].values():
        record["time"] = "2020-01-01T00:00:00+00:00"
    case.write_text(json.dumps(content))
    before = records(site)
    assert take(site, folder / "landmarks.mrk.json", folder / "calcification.seg.nrrd").taken == {}
    assert records(site) == before
    place = site_cases.inside(volume(site))["ms_lower"]
    mine = points(tmp_path / "p.mrk.json", ms_lower=Landmark("ms_lower", place, status=Status.CONFIRMED))
    assert take(site, mine, reviewer="r1").taken == {"ms_lower": "confirmed"}
    after = records(site)["ms_lower"]
    # Confirmed now, but it is still the bundle's place.
    assert (after.bundle, after.reviewer, after.time != before["ms_lower"].time) == ("ab12", "r1", True)


def test_points_that_a_plain_file_does_not_hold_are_left_as_they_are(site, tmp_path):
    take(site, site_cases.annotated(tmp_path / "a", volume(site)))
    before, mine = records(site), slicer_copy(site, tmp_path / "p.mrk.json")
    content = json.loads(mine.read_text())
    del content["markups"][0]["controlPoints"][1:]
    mine.write_text(json.dumps(content))
    (note,) = take(site, mine).notes
    assert "holds no point for" in note
    assert note.endswith("; left as they are.")
    assert records(site) == before
