"""Cases that were changed outside, or never came from here: read as far as they are sound, refused in one sentence."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import slicer

from fedkdtavi_core.annotation import Status
from fedkdtavi_core.errors import InputError
from fedkdtavi_core.labels.record import read_record
from FedKDTAVILib.landmarkNodes import pointState, setPointState
from FedKDTAVILib.siteCase import exportCase, openCase


@pytest.fixture
def folder(caseNodes, tmp_path) -> Path:
    position = pointState(caseNodes.landmarks, "hinge_lcc").position + 1.0
    setPointState(caseNodes.landmarks, "hinge_lcc", position, Status.CORRECTED)
    return exportCase(caseNodes, tmp_path, "one", reviewer="R1")


def edit(folder: Path, change) -> None:
    """Let ``change`` alter the control points and the markup of the landmarks file."""
    path = folder / "landmarks.mrk.json"
    content = json.loads(path.read_text())
    markup = content["markups"][0]
    change(markup["controlPoints"], markup)
    path.write_text(json.dumps(content))


def test_moved_in_the_file_by_a_person(folder, tmp_path):
    before = openCase(folder).toAnnotation().landmarks["hinge_rcc"].position

    def move(points, _markup):
        points[0]["position"][0] += 2.0

    edit(folder, move)
    opened = openCase(folder)
    found = opened.toAnnotation().landmarks["hinge_rcc"]
    assert found.status is Status.CORRECTED
    assert np.allclose(found.position - before, [-2, 0, 0], atol=1e-6)  # files are LPS
    exportCase(opened, tmp_path, reviewer="R2")
    labels = read_record(folder / "labels.json").labels
    assert (labels["hinge_rcc"].reviewer, labels["hinge_lcc"].reviewer) == ("R2", "R1")


def test_a_corrected_point_moved_again_has_a_new_reviewer(folder, tmp_path):
    def move(points, _markup):
        points[1]["position"][2] += 2.0

    edit(folder, move)
    exportCase(openCase(folder), tmp_path, reviewer="R2")
    assert read_record(folder / "labels.json").labels["hinge_lcc"].reviewer == "R2"


def test_in_ras_the_points_lie_where_they_lay(folder):
    before = openCase(folder).toAnnotation()

    def turn(points, markup):
        markup["coordinateSystem"] = "RAS"
        for point in points:
            point["position"] = [-point["position"][0], -point["position"][1], point["position"][2]]

    edit(folder, turn)
    after = openCase(folder).toAnnotation()
    for labelId, landmark in before.landmarks.items():
        assert np.abs(after.landmarks[labelId].position - landmark.position).max() < 1e-6
        assert after.landmarks[labelId].status is landmark.status


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda points, _: points.pop(3), "holds no point for RCA; taken as missing"),
        (lambda points, _: points[2].update(label="John"), "carries the id of NCC and was read as NCC"),
        (lambda points, _: points.append({"label": "X", "position": [1, 2, 3]}), "'X' is not in the schema"),
    ],
)
def test_missing_renamed_and_extra_points_are_told(folder, change, sentence):
    edit(folder, change)
    (note,) = openCase(folder).notes
    assert sentence in note


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda _, markup: markup.update(coordinateSystem="IJK"), "is neither LPS nor RAS"),
        (lambda _, markup: markup.update(coordinateUnits="cm"), "must be in mm"),
        (lambda points, _: points[0].update(position=[1, "a", 2]), "is not three numbers"),
        (lambda points, _: points.append(dict(points[0])), "two points for RCC"),
        (lambda _, markup: markup.update(type="Line"), "where a Fiducial markup is needed"),
    ],
)
def test_what_cannot_be_read_is_refused(folder, change, sentence):
    edit(folder, change)
    nodes = slicer.mrmlScene.GetNumberOfNodes()
    with pytest.raises(InputError, match=sentence):
        openCase(folder)
    assert slicer.mrmlScene.GetNumberOfNodes() == nodes


def test_labels_of_another_ct(folder):
    path = folder / "labels.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "ct_sha256": "0" * 64}))
    with pytest.raises(InputError, match="belong to another CT"):
        openCase(folder)


@pytest.mark.parametrize("content", [b"", b"no gzip", None])
def test_a_ct_that_is_broken_or_gone(folder, content):
    path = folder / "ct.nii.gz"
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"ct\.nii\.gz"):
        openCase(folder)


def test_a_case_with_some_labels_and_no_prediction(folder, tmp_path):
    """As the phantom's virtual hospitals write them, and other programs."""
    labels = json.loads((folder / "labels.json").read_text())
    for name in ("provenance.json", "calcification.seg.nrrd", "annulus.mrk.json"):
        (folder / name).unlink()
    labels["labels"] = {
        "hinge_rcc": {"status": "corrected", "time": None, "reviewer": "O1", "bundle": None},
        "ms_upper": {"status": "absent", "time": None, "reviewer": "O1", "bundle": None},
    }
    (folder / "labels.json").write_text(json.dumps(labels))

    def keepTwo(points, _markup):
        points[:] = [points[0], {**points[5], "position": "", "positionStatus": "missing"}]

    edit(folder, keepTwo)
    opened = openCase(folder)
    found = opened.toAnnotation()
    assert found.landmarks["hinge_rcc"].status is Status.CORRECTED
    assert found.landmarks["ms_upper"].status is Status.ABSENT
    assert found.calcification is None
    exportCase(opened, tmp_path, reviewer="R2")
    after = read_record(folder / "labels.json")
    assert {i: label.reviewer for i, label in after.labels.items()} == {"hinge_rcc": "O1", "ms_upper": "O1"}
