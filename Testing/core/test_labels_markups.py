"""Landmark and contour files: what Slicer writes is read, what we write Slicer reads."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from fedkdtavi_core import schema
from fedkdtavi_core.annotation import Landmark, Status
from fedkdtavi_core.errors import InputError
from fedkdtavi_core.labels import markups


def landmarks() -> dict[str, Landmark]:
    generator = np.random.default_rng(4)
    found = {i: Landmark(i, generator.normal(0, 60, 3), 0.75) for i in schema.LANDMARK_IDS}
    found["ostium_rca"] = Landmark("ostium_rca")
    found["ms_upper"] = Landmark("ms_upper", None, None, None, Status.ABSENT)
    found["hinge_lcc"].status = Status.CONFIRMED
    found["hinge_ncc"].status, found["hinge_ncc"].confidence = Status.CORRECTED, None
    return found


def write(path: Path, *points: dict, **markup) -> Path:
    content = {"type": "Fiducial", "coordinateSystem": "LPS", "controlPoints": list(points), **markup}
    path.write_text(json.dumps({"@schema": markups.SCHEMA_URL, "markups": [content]}), encoding="utf-8")
    return path


def test_landmarks_read_back_equal(tmp_path):
    path = tmp_path / "Müller Ж.mrk.json"
    wanted = landmarks()
    markups.write_landmarks(path, wanted)
    read = markups.read_landmarks(path)
    assert read.notes == []
    assert list(read.landmarks) == list(schema.LANDMARK_IDS)
    for label_id, landmark in wanted.items():
        back = read.landmarks[label_id]
        assert (back.status, back.confidence) == (landmark.status, landmark.confidence)
        if landmark.position is None:
            assert back.position is None
        else:
            np.testing.assert_array_equal(back.position, landmark.position)


def test_file_is_what_slicer_writes(tmp_path):
    path = tmp_path / "landmarks.mrk.json"
    markups.write_landmarks(path, {"hinge_rcc": Landmark("hinge_rcc", np.array([1.0, 2.0, 3.0]), 0.5)})
    markup = json.loads(path.read_text())["markups"][0]
    first, second = markup["controlPoints"][:2]
    assert (markup["type"], markup["coordinateSystem"], markup["coordinateUnits"]) == ("Fiducial", "LPS", "mm")
    assert first["label"] == "RCC"
    assert first["position"] == [-1.0, -2.0, 3.0]
    assert json.loads(first["description"]) == {"id": "hinge_rcc", "status": "predicted", "confidence": 0.5}
    assert (second["position"], second["positionStatus"]) == ("", "undefined")


@pytest.mark.parametrize(
    ("system", "wanted"),
    [("LPS", [-1, -2, 3]), ("RAS", [1, 2, 3]), ("0", [1, 2, 3]), ("1", [-1, -2, 3]), (0, [1, 2, 3]), (1, [-1, -2, 3])],
)
def test_coordinate_systems(tmp_path, system, wanted):
    path = write(tmp_path / "a.mrk.json", {"label": "RCC", "position": [1, 2, 3]}, coordinateSystem=system)
    np.testing.assert_array_equal(markups.read_landmarks(path).landmarks["hinge_rcc"].position, wanted)


def test_point_set_by_hand_counts_as_corrected(tmp_path):
    path = write(tmp_path / "a.mrk.json", {"label": "RCC", "position": [1, 2, 3]}, {"label": "LCC", "position": ""})
    read = markups.read_landmarks(path)
    assert read.landmarks["hinge_rcc"].status is Status.CORRECTED
    assert read.landmarks["hinge_lcc"].status is Status.PREDICTED
    assert read.landmarks["hinge_lcc"].position is None
    assert any("NCC, RCA, LM" in note for note in read.notes)


def test_missing_in_slicer_means_absent(tmp_path):
    described = json.dumps({"id": "hinge_rcc", "status": "predicted"})
    path = write(
        tmp_path / "a.mrk.json", {"label": "RCC", "description": described, "position": "", "positionStatus": "missing"}
    )
    assert markups.read_landmarks(path).landmarks["hinge_rcc"].status is Status.ABSENT


def test_preview_has_no_position(tmp_path):
    path = write(tmp_path / "a.mrk.json", {"label": "RCC", "position": [1, 2, 3], "positionStatus": "preview"})
    assert markups.read_landmarks(path).landmarks["hinge_rcc"].position is None


def test_renamed_and_extra_points_are_said(tmp_path):
    described = json.dumps({"id": "hinge_rcc", "status": "corrected"})
    path = write(
        tmp_path / "a.mrk.json",
        {"label": "my point", "description": described, "position": [1, 2, 3]},
        {"label": "F-7", "position": [4, 5, 6], "description": "free text"},
    )
    read = markups.read_landmarks(path)
    assert read.landmarks["hinge_rcc"].position is not None
    assert any("'my point' carries the id of RCC" in note for note in read.notes)
    assert any("'F-7' is not in the schema" in note for note in read.notes)


def test_id_beats_a_namesake(tmp_path):
    described = json.dumps({"id": "hinge_rcc"})
    path = write(
        tmp_path / "a.mrk.json",
        {"label": "RCC", "position": [9, 9, 9]},
        {"label": "RCC", "description": described, "position": [-1, -2, 3]},
    )
    np.testing.assert_array_equal(markups.read_landmarks(path).landmarks["hinge_rcc"].position, [1, 2, 3])


REFUSED = {
    "empty": b"",
    "cut": b'{"markups": [',
    "list": b"[]",
    "no markups": b"{}",
    "binary": bytes(range(256)),
    "deep": b"[" * 100_000,
    "none of ours": json.dumps({"markups": [{"type": "Fiducial", "controlPoints": []}]}).encode(),
    "curve": json.dumps({"markups": [{"type": "Curve", "controlPoints": []}]}).encode(),
}


@pytest.mark.parametrize("content", REFUSED.values(), ids=REFUSED.keys())
def test_what_is_no_landmark_file_is_refused(tmp_path, content):
    path = tmp_path / "a.mrk.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"a\.mrk\.json: .*; ") as error:
        markups.read_landmarks(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("position", [[1, 2], [1, 2, float("nan")], ["a", 2, 3], {"x": 1}, [[1, 2, 3]]])
def test_broken_positions_are_refused(tmp_path, position):
    path = write(tmp_path / "a.mrk.json", {"label": "RCC", "position": position})
    with pytest.raises(InputError, match="position of 'RCC'"):
        markups.read_landmarks(path)


@pytest.mark.parametrize("word", ["done", "Confirmed", "", None, 3, ["predicted"]])
def test_a_status_that_is_none_is_refused_and_names_the_point(tmp_path, word):
    """Read as predicted, a person's correction would be lost without a word."""
    described = json.dumps({"id": "hinge_lcc", "status": word})
    point = {"label": "LCC", "description": described, "position": [1, 2, 3]}
    path = write(tmp_path / "a.mrk.json", point)
    with pytest.raises(InputError, match=r"a\.mrk\.json: the status .* of the point 'LCC' is not known; .*confirmed"):
        markups.read_landmarks(path)
    markups.write_contour(path, np.eye(3))
    path.write_text(path.read_text().replace('\\"predicted\\"', json.dumps(json.dumps(word))[1:-1]))
    with pytest.raises(InputError, match=r"the status .* of the point 'Annulus-1'"):
        markups.read_contour(path)


def test_two_points_for_one_landmark_are_refused(tmp_path):
    path = write(
        tmp_path / "a.mrk.json", {"label": "RCC", "position": [1, 2, 3]}, {"label": "RCC", "position": [1, 2, 4]}
    )
    with pytest.raises(InputError, match="two points for RCC"):
        markups.read_landmarks(path)


def test_other_units_and_systems_are_refused(tmp_path):
    point = {"label": "RCC", "position": [1, 2, 3]}
    with pytest.raises(InputError, match="'cm'"):
        markups.read_landmarks(write(tmp_path / "a.mrk.json", point, coordinateUnits="cm"))
    with pytest.raises(InputError, match="'IJK'"):
        markups.read_landmarks(write(tmp_path / "b.mrk.json", point, coordinateSystem="IJK"))
    with pytest.raises(InputError, match="not found"):
        markups.read_landmarks(tmp_path / "c.mrk.json")


def test_contour_reads_back_equal(tmp_path):
    angle = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    contour = np.stack([12 * np.cos(angle), 10 * np.sin(angle), -30 + 3 * np.cos(angle)], axis=1)
    path = tmp_path / "annulus.mrk.json"
    markups.write_contour(path, contour, Status.CONFIRMED)
    back, status = markups.read_contour(path)
    np.testing.assert_array_equal(back, contour)
    assert status is Status.CONFIRMED
    markups.write_contour(path, contour[:2])
    with pytest.raises(InputError, match="needs three"):
        markups.read_contour(path)


@pytest.fixture(scope="module")
def slicer():
    return pytest.importorskip("slicer", reason="slicer-core is not installed", exc_type=ImportError)


def storage(slicer, node, path: Path):
    scene = slicer.vtkMRMLScene()
    node = scene.AddNode(node)
    writer = scene.AddNode(slicer.vtkMRMLMarkupsJsonStorageNode())
    writer.SetFileName(str(path))
    return scene, node, writer


def test_slicer_reads_and_writes_our_landmarks(slicer, tmp_path):
    wanted = landmarks()
    markups.write_landmarks(tmp_path / "ours.mrk.json", wanted)
    _scene, node, file = storage(slicer, slicer.vtkMRMLMarkupsFiducialNode(), tmp_path / "ours.mrk.json")
    assert file.ReadData(node)
    assert node.GetNumberOfControlPoints() == 7
    assert node.GetNumberOfDefinedControlPoints() == 5
    assert node.GetFixedNumberOfControlPoints()
    for index, label in enumerate(schema.LANDMARKS):
        assert node.GetNthControlPointLabel(index) == label.name
        position = wanted[label.id].position
        if position is not None:
            np.testing.assert_allclose(node.GetNthControlPointPosition(index), position, atol=1e-9)
    assert node.GetNthControlPointPositionStatus(schema.LANDMARK_IDS.index("ms_upper")) == node.PositionMissing
    assert node.GetNthControlPointPositionStatus(schema.LANDMARK_IDS.index("ostium_rca")) == node.PositionUndefined

    # A person moves one point and takes another away, then saves.
    node.SetNthControlPointPosition(0, 1.0, 2.0, 3.0)
    node.SetNthControlPointPositionMissing(1)
    file.SetFileName(str(tmp_path / "slicers.mrk.json"))
    assert file.WriteData(node)
    read = markups.read_landmarks(tmp_path / "slicers.mrk.json")
    assert read.notes == []
    np.testing.assert_array_equal(read.landmarks["hinge_rcc"].position, [1, 2, 3])
    assert read.landmarks["hinge_lcc"].status is Status.ABSENT
    np.testing.assert_allclose(read.landmarks["ms_lower"].position, wanted["ms_lower"].position, atol=1e-9)
    assert read.landmarks["ms_lower"].confidence == 0.75


def test_slicer_reads_and_writes_our_contour(slicer, tmp_path):
    contour = np.array([[10.0, 0, 5], [0, 12, 5], [-11, 0, 5], [0, -9, 6]])
    markups.write_contour(tmp_path / "ours.mrk.json", contour)
    _scene, node, file = storage(slicer, slicer.vtkMRMLMarkupsClosedCurveNode(), tmp_path / "ours.mrk.json")
    assert file.ReadData(node)
    file.SetFileName(str(tmp_path / "slicers.mrk.json"))
    assert file.WriteData(node)
    back, status = markups.read_contour(tmp_path / "slicers.mrk.json")
    np.testing.assert_allclose(back, contour, atol=1e-9)
    assert status is Status.PREDICTED


def test_points_nobody_is_known_to_have_reviewed_are_refused(tmp_path):
    """Outside its result folder a moved point cannot be told from a prediction: dropping it silently would be worse."""
    from fedkdtavi_core.annotation import Annotation
    from fedkdtavi_core.errors import UsageError
    from fedkdtavi_core.labels.annotated import read_points

    annotation = Annotation()
    for number, landmark in enumerate(annotation.landmarks.values()):
        landmark.position = np.array([1.0, 2.0, 3.0]) + number
    markups.write_landmarks(tmp_path / "moved.mrk.json", annotation.landmarks)
    with pytest.raises(UsageError, match=r"moved\.mrk\.json: all its points say that they are predicted"):
        read_points(tmp_path / "moved.mrk.json")
