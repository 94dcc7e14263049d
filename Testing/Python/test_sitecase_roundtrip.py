"""A case goes out of the scene into a site's folder and comes back: same labels, same who and when."""

from __future__ import annotations

import gzip
import json
import re

import numpy as np
import pytest
import slicer

from fedkdtavi_core.annotation import Status
from fedkdtavi_core.errors import InputError, UsageError
from fedkdtavi_core.labels.annotated import read_annotation
from fedkdtavi_core.labels.record import read_record, volume_digest
from fedkdtavi_core.readers import read_volume
from FedKDTAVILib import calcificationNodes, contourNodes
from FedKDTAVILib.landmarkNodes import pointState, setPointState
from FedKDTAVILib.reviewRecords import signReviews
from FedKDTAVILib.siteCase import exportCase, openCase, siteCases


@pytest.fixture
def reviewed(caseNodes):
    """A case with a corrected, a confirmed and an absent point, painted calcium and a dragged contour."""
    node = caseNodes.landmarks
    moved = pointState(node, "hinge_rcc").position + [1.0, -2.0, 0.5]
    setPointState(node, "hinge_rcc", moved, Status.CORRECTED)
    lcc = pointState(node, "hinge_lcc")
    setPointState(node, "hinge_lcc", lcc.position, Status.CONFIRMED, lcc.confidence)
    setPointState(node, "ms_upper", None, Status.ABSENT)
    mask = calcificationNodes.readMask(caseNodes.segmentation, caseNodes.volume)
    mask[10:14, 20:22, 5:9] = 1
    calcificationNodes.writeMask(caseNodes.segmentation, caseNodes.volume, mask, Status.CORRECTED)
    position = contourNodes.readControlPoints(caseNodes.contour)[3] + [0.0, 1.0, 0.0]
    caseNodes.contour.SetNthControlPointPositionWorld(3, position.tolist())
    contourNodes.setContourStatus(caseNodes.contour, Status.CORRECTED)
    return caseNodes


def same(first, second) -> None:
    for labelId, landmark in first.landmarks.items():
        other = second.landmarks[labelId]
        assert (landmark.position is None) == (other.position is None), labelId
        assert landmark.position is None or np.abs(landmark.position - other.position).max() < 1e-3
        assert landmark.status == other.status, labelId
        assert landmark.flags == other.flags
        assert (landmark.confidence is None) == (other.confidence is None)
    assert np.array_equal(first.calcification, second.calcification)
    assert first.calcification_status == second.calcification_status
    assert first.contour_status == second.contour_status
    assert np.abs(first.annulus_contour - second.annulus_contour).max() < 1e-3


def test_a_case_comes_back_as_it_went(reviewed, tmp_path):
    before = reviewed.toAnnotation()
    folder = exportCase(reviewed, tmp_path, reviewer="R1")
    first = json.loads((folder / "labels.json").read_text())
    slicer.mrmlScene.Clear(0)
    opened = openCase(folder)
    after = opened.toAnnotation()
    same(before, after)
    assert after.landmarks["hinge_rcc"].status is Status.CORRECTED
    assert after.provenance["bundle"] == before.provenance["bundle"]
    assert opened.notes == []
    # Another reviewer goes on: only what changes now is theirs.
    setPointState(opened.landmarks, "ostium_rca", pointState(opened.landmarks, "ostium_rca").position, Status.CONFIRMED)
    assert exportCase(opened, tmp_path, reviewer="R2") == folder
    second = json.loads((folder / "labels.json").read_text())
    changed = [i for i in first["labels"] if first["labels"][i] != second["labels"][i]]
    assert changed == ["ostium_rca"]
    assert second["labels"]["ostium_rca"]["reviewer"] == "R2"
    assert second["labels"]["hinge_rcc"]["reviewer"] == "R1"
    assert second["ct_sha256"] == first["ct_sha256"]


def test_the_prediction_comes_back_too(reviewed, annotation, tmp_path):
    folder = exportCase(reviewed, tmp_path, reviewer="R1")
    predicted = openCase(folder).predictedAnnotation()
    for labelId, landmark in annotation.landmarks.items():
        assert np.abs(predicted.landmarks[labelId].position - landmark.position).max() < 1e-3
        assert np.allclose(predicted.landmarks[labelId].covariance, landmark.covariance)
    assert np.array_equal(predicted.calcification, annotation.calcification)
    assert np.allclose(predicted.annulus_contour, annotation.annulus_contour)


def test_the_core_reads_the_case(reviewed, tmp_path):
    folder = exportCase(reviewed, tmp_path, "case_7", reviewer="R1")
    assert folder == tmp_path / "cases" / "case_7"
    volume = read_volume(folder / "ct.nii.gz")
    record = read_record(folder / "labels.json")
    assert record.ct_sha256 == volume_digest(volume)
    assert record.truth() == ("hinge_rcc", "hinge_lcc", "calcification", "annulus_contour")
    assert record.labels["ms_upper"].status is Status.ABSENT
    assert record.labels["hinge_ncc"].reviewer is None
    found = read_annotation(folder, volume.grid)
    assert found.changed == []
    same(found.annotation, reviewed.toAnnotation())
    assert json.loads((tmp_path / "site.json").read_text())["schema_version"] == 1


def test_nothing_names_the_patient(reviewed, tmp_path):
    reviewed.volume.SetName("MUELLER^HANS")
    reviewed.landmarks.SetName("Mueller points")
    reviewed.volume.SetAttribute("DICOM.instanceUIDs", "1.2.3")
    reviewed.state.update(
        provenance={
            **reviewed.state.read()["provenance"],
            "ct": {"path": "/home/mueller/ct.nii", "series": "Mueller"},
            "notes": ["Mueller"],
        }
    )
    folder = exportCase(reviewed, tmp_path, reviewer="R1")
    for path in folder.iterdir():
        content = path.read_bytes()
        if path.name.endswith(".gz"):
            assert content[4:10] == b"\0\0\0\0\4\xff" or content[4:8] == b"\0\0\0\0"  # no time
            content = gzip.decompress(content)[:352]
        assert not re.search(rb"(?i)mueller|1\.2\.3|vtkMRML|/home", content), path.name


def test_a_ct_under_a_transform_is_written_where_it_lies(caseNodes, tmp_path):
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    import vtk

    matrix = vtk.vtkTransform()
    matrix.RotateX(17)
    matrix.Translate(12, -30, 44)
    transform.SetMatrixTransformToParent(matrix.GetMatrix())
    before = caseNodes.toAnnotation()
    for node in (caseNodes.volume, caseNodes.landmarks, caseNodes.segmentation, caseNodes.contour, caseNodes.ghost):
        node.SetAndObserveTransformNodeID(transform.GetID())
    moved = caseNodes.toAnnotation()
    assert {landmark.status for landmark in moved.landmarks.values()} == {Status.PREDICTED}
    assert moved.contour_status is Status.PREDICTED
    assert np.array_equal(moved.calcification, before.calcification)
    distance = np.linalg.norm(moved.landmarks["hinge_rcc"].position - before.landmarks["hinge_rcc"].position)
    assert distance > 30
    opened = openCase(exportCase(caseNodes, tmp_path, reviewer="R1"))
    same(moved, opened.toAnnotation())
    assert opened.toAnnotation().landmarks["hinge_rcc"].covariance is not None


def test_a_site_lists_its_cases(reviewed, tmp_path):
    folder = exportCase(reviewed, tmp_path, "b", reviewer="R1")
    (tmp_path / "cases" / "a").mkdir()
    (tmp_path / "cases" / ".b.12345678.partial").mkdir()
    broken, good = siteCases(tmp_path)
    assert (broken.caseId, broken.reviewed) == ("a", 0)
    assert "not found" in broken.error
    assert (good.path, good.caseId, good.reviewed, good.total, good.error) == (folder, "b", 5, 9, None)
    with pytest.raises(UsageError, match="holds no cases"):
        siteCases(tmp_path / "cases")


def test_the_next_case_takes_the_place_of_the_last(reviewed, tmp_path):
    folder = exportCase(reviewed, tmp_path, reviewer="R1")
    first = openCase(folder)
    count = slicer.mrmlScene.GetNumberOfNodes()
    second = openCase(folder)
    assert slicer.mrmlScene.GetNumberOfNodes() == count
    assert second.parameterNode is first.parameterNode
    with pytest.raises(InputError, match="not found"):
        openCase(tmp_path)
    assert slicer.mrmlScene.GetNumberOfNodes() == count
    assert second.isComplete


def test_who_decided_counts_and_not_who_exports(reviewed, tmp_path):
    signReviews(reviewed, "R1")
    setPointState(reviewed.landmarks, "ostium_lca", [1, 2, 3], Status.CORRECTED)
    labels = read_record(exportCase(reviewed, tmp_path, reviewer="R2") / "labels.json").labels
    assert {i for i, label in labels.items() if label.reviewer == "R2"} == {"ostium_lca"}
    assert {i for i, label in labels.items() if label.reviewer is None} == {"hinge_ncc", "ostium_rca", "ms_lower"}
