"""An annotation folder read back: unchanged when nobody touched it, else what was changed and by whom."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest

from fedkdtavi_core import schema
from fedkdtavi_core.annotation import Annotation, Landmark, Status
from fedkdtavi_core.cli.main import main
from fedkdtavi_core.errors import InputError, UsageError
from fedkdtavi_core.labels import annotated, markups, segmentation
from fedkdtavi_core.labels.case import output_folder
from fedkdtavi_core.labels.record import volume_digest
from fedkdtavi_core.readers import read_volume
from fedkdtavi_core.volume import Volume

RADIUS = 12.0
ANGLES = {"hinge_rcc": 0.5, "hinge_lcc": 2.6, "hinge_ncc": 4.7}


@pytest.fixture(scope="module")
def ct(tmp_path_factory) -> Path:
    """A tube of contrast, 24 mm wide, along S."""
    shape, spacing = (72, 72, 60), 0.8
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:3, 3] = -spacing * (np.array(shape) - 1) / 2
    i, j, _ = np.meshgrid(
        *(np.arange(n) * spacing + a for n, a in zip(shape, affine[:3, 3], strict=True)), indexing="ij"
    )
    hu = np.where(np.hypot(i, j) < RADIUS, 400.0, 40.0) + np.random.default_rng(0).normal(0, 8, shape)
    hu[:3] = -1000.0
    path = tmp_path_factory.mktemp("tube") / "tube.nii.gz"
    nibabel.save(nibabel.Nifti1Image(hu.round().astype(np.int16), affine), path)
    return path


def annotation(volume: Volume) -> Annotation:
    result = Annotation()
    for label_id, angle in ANGLES.items():
        position = np.array([RADIUS * np.cos(angle), RADIUS * np.sin(angle), 0.0])
        result.landmarks[label_id] = Landmark(label_id, position, 0.9, np.eye(3), flags=["look here"])
    result.landmarks["ostium_lca"] = Landmark("ostium_lca", np.array([-12.0, 0.0, 13.0]), 0.8, 2 * np.eye(3))
    result.calcification = np.zeros(volume.array.shape, np.uint8)
    result.calcification[30:33, 30:33, 30:32] = 1
    angle = np.linspace(0, 2 * np.pi, 36, endpoint=False)
    result.annulus_contour = np.stack([RADIUS * np.cos(angle), RADIUS * np.sin(angle), 0 * angle], axis=1)
    result.warnings = ["thick slices"]
    result.provenance = {"ct": {"sha256": volume_digest(volume)}, "bundle": {"digest": "ab"}}
    return result


@pytest.fixture
def folder(ct, tmp_path) -> Path:
    volume = read_volume(ct)
    with output_folder(tmp_path / "case") as fresh:
        annotated.write_annotation(fresh, annotation(volume), volume.grid, {"path": str(ct)})
    return tmp_path / "case"


def test_untouched_reads_back_equal(ct, folder):
    volume = read_volume(ct)
    wanted, found = annotation(volume), annotated.read_annotation(folder, volume.grid)
    back = found.annotation
    assert found.changed == []
    for label_id, landmark in wanted.landmarks.items():
        other = back.landmarks[label_id]
        assert (other.confidence, other.flags, other.status) == (landmark.confidence, landmark.flags, landmark.status)
        for name in ("position", "covariance"):
            one, two = getattr(landmark, name), getattr(other, name)
            assert (one is None) == (two is None)
            np.testing.assert_array_equal(one, two) if one is not None else None
    np.testing.assert_array_equal(back.calcification, wanted.calcification)
    np.testing.assert_array_equal(back.annulus_contour, wanted.annulus_contour)
    assert back.warnings == ["thick slices"]
    assert found.provenance["bundle"] == {"digest": "ab"}
    assert found.provenance["ct"] == {"sha256": volume_digest(volume), "path": str(ct)}


def test_what_a_person_changed_is_found(ct, folder):
    grid = read_volume(ct).grid
    with pytest.raises(UsageError, match="no point in it has been moved or confirmed since it was predicted"):
        annotated.read_points(folder / "landmarks.mrk.json")
    points = markups.read_landmarks(folder / "landmarks.mrk.json").landmarks
    points["hinge_rcc"].position[2] += 0.5
    points["hinge_lcc"].position[2] += 0.01  # not moved: within what saving rounds away
    points["ostium_lca"] = Landmark("ostium_lca", None, None, None, Status.ABSENT)
    points["ms_lower"] = Landmark("ms_lower", np.array([8.0, 8.0, -3.0]))
    points["hinge_ncc"].status = Status.CONFIRMED
    markups.write_landmarks(folder / "landmarks.mrk.json", points)
    mask = segmentation.read_segment(folder / "calcification.seg.nrrd", grid).mask
    mask[10, 10, 10] = 1
    segmentation.write_segment(folder / "calcification.seg.nrrd", mask, grid)
    contour, _ = markups.read_contour(folder / "annulus.mrk.json")
    markups.write_contour(folder / "annulus.mrk.json", contour * 1.1)

    found = annotated.read_annotation(folder, grid)
    landmarks = found.annotation.landmarks
    changed = {"hinge_rcc", "hinge_ncc", "ostium_lca", "ms_lower", "calcification", "annulus_contour"}
    assert set(found.changed) == changed
    moved = landmarks["hinge_rcc"]
    assert (moved.status, moved.confidence, moved.covariance, moved.flags) == (Status.CORRECTED, None, None, [])
    assert landmarks["hinge_lcc"].status is Status.PREDICTED
    assert landmarks["hinge_ncc"].status is Status.CONFIRMED
    assert landmarks["hinge_ncc"].covariance is not None
    assert landmarks["ostium_lca"].status is Status.ABSENT
    assert landmarks["ms_lower"].status is Status.CORRECTED
    assert found.annotation.calcification_status is Status.CORRECTED
    assert found.annotation.contour_status is Status.CORRECTED


def test_points_moved_beside_their_prediction_count_as_set(folder):
    points = markups.read_landmarks(folder / "landmarks.mrk.json").landmarks
    points["hinge_rcc"].position[2] += 0.5
    markups.write_landmarks(folder / "landmarks.mrk.json", points)
    found = annotated.read_points(folder / "landmarks.mrk.json")
    assert found.landmarks["hinge_rcc"].status is Status.CORRECTED
    assert found.landmarks["hinge_lcc"].status is Status.PREDICTED
    assert "nobody has reviewed LCC, NCC" in found.notes[-1]


def test_what_is_no_annotation_is_refused(ct, folder, tmp_path):
    grid = read_volume(ct).grid
    with pytest.raises(InputError, match="is no folder"):
        annotated.read_annotation(tmp_path / "nothing", grid)
    with pytest.raises(InputError, match=r"holds no provenance\.json"):
        annotated.read_annotation(tmp_path, grid)
    (folder / "landmarks.mrk.json").unlink()
    with pytest.raises(InputError, match=r"landmarks\.mrk\.json: not found"):
        annotated.read_annotation(folder, grid)


def area(folder: Path) -> float:
    rows = json.loads((folder / "measurements.json").read_text(encoding="utf-8"))["rows"]
    (value,) = [row["value"] for row in rows if row["unit"] == "mm2" and "area" in row["id"]]
    return value


def test_annulus_is_traced_again_until_a_person_corrects_it(folder):
    assert main(["measure", str(folder), "--no-report"]) == 0
    assert area(folder) == pytest.approx(np.pi * RADIUS**2, rel=0.03)
    # Tilted by moving one hinge point: the curve of the old plane no longer holds, the new one is larger.
    points = markups.read_landmarks(folder / "landmarks.mrk.json").landmarks
    points["hinge_rcc"].position[2] += 8.0
    markups.write_landmarks(folder / "landmarks.mrk.json", points)
    assert main(["measure", str(folder), "--no-report"]) == 0
    tilted, status = markups.read_contour(folder / "annulus.mrk.json")
    assert status is Status.PREDICTED
    assert np.ptp(tilted[:, 2]) > 5.0
    assert area(folder) > 1.03 * np.pi * RADIUS**2
    # A curve that a person drew stays and is measured as it is.
    angle = np.linspace(0, 2 * np.pi, 72, endpoint=False)
    own = np.stack([10 * np.cos(angle), 10 * np.sin(angle), 0 * angle], axis=1)
    markups.write_contour(folder / "annulus.mrk.json", own, Status.CORRECTED)
    assert main(["measure", str(folder), "--no-report"]) == 0
    assert area(folder) == pytest.approx(np.pi * 100, rel=0.01)
    np.testing.assert_array_equal(markups.read_contour(folder / "annulus.mrk.json")[0], own)
    assert set(schema.LANDMARK_IDS) <= set(json.loads((folder / "provenance.json").read_text())["landmarks"])


def test_points_that_were_moved_are_judged_anew(folder, capsys):
    assert main(["measure", str(folder), "--no-report", "--json"]) == 0
    before = json.loads(capsys.readouterr().out)["flags"]
    points = markups.read_landmarks(folder / "landmarks.mrk.json").landmarks
    middle = points["hinge_rcc"].position + points["hinge_lcc"].position
    points["hinge_rcc"].position = RADIUS * middle / np.linalg.norm(middle)  # half the way to the left cusp's
    markups.write_landmarks(folder / "landmarks.mrk.json", points)
    assert main(["measure", str(folder), "--no-report", "--json"]) == 0
    after = json.loads(capsys.readouterr().out)["flags"]
    assert any("angle RCC to LCC" in flag for flag in after["hinge_rcc"])
    assert not any("angle RCC to LCC" in flag for flag in before.get("hinge_rcc", []))


def test_what_a_person_called_absent_stays_absent_without_a_file_of_its_own(ct, folder, tmp_path):
    volume = read_volume(ct)
    mine = read_back(folder, volume)
    mine.calcification, mine.calcification_status = None, Status.ABSENT
    mine.annulus_contour, mine.contour_status = None, Status.ABSENT
    with output_folder(tmp_path / "absent") as fresh:
        annotated.write_annotation(fresh, mine, volume.grid, {"path": str(ct)})
    again = read_back(tmp_path / "absent", volume)
    assert (again.calcification_status, again.contour_status) == (Status.ABSENT, Status.ABSENT)
    assert main(["measure", str(tmp_path / "absent"), "--no-report"]) == 0
    told = json.loads((tmp_path / "absent" / "measurements.json").read_text())
    assert told["annulus_contour"]["reason"].endswith("marked so by the reviewer")
    assert read_back(tmp_path / "absent", volume).contour_status is Status.ABSENT
    # Who paints into it after all has assessed it.
    mask = np.zeros(volume.array.shape, np.uint8)
    mask[30, 30, 30] = 1
    segmentation.write_segment(tmp_path / "absent" / annotated.CALCIFICATION, mask, volume.grid)
    assert read_back(tmp_path / "absent", volume).calcification_status is Status.CORRECTED


def read_back(folder, volume):
    return annotated.read_annotation(folder, volume.grid).annotation


@pytest.mark.parametrize("when", ["measuring", "drawing"])
def test_what_a_person_saves_while_it_is_measured_again_is_not_lost(folder, monkeypatch, capsys, when):
    import fedkdtavi_core.measurements as measurements
    from fedkdtavi_core.cli import options

    angle = np.linspace(0, 2 * np.pi, 72, endpoint=False)
    own = np.stack([10 * np.cos(angle), 10 * np.sin(angle), 0 * angle], axis=1)
    place, name = (measurements, "measure") if when == "measuring" else (options, "draw_report")
    usual = getattr(place, name)

    def saved_meanwhile(*given):
        markups.write_contour(folder / "annulus.mrk.json", own, Status.CORRECTED)
        return usual(*given)

    monkeypatch.setattr(place, name, saved_meanwhile)
    assert main(["measure", str(folder)]) == 2
    assert "saved anew meanwhile; nothing was replaced" in capsys.readouterr().err
    kept, status = markups.read_contour(folder / "annulus.mrk.json")
    assert status is Status.CORRECTED
    np.testing.assert_array_equal(kept, own)
    monkeypatch.undo()
    assert main(["measure", str(folder), "--no-report"]) == 0
    assert area(folder) == pytest.approx(np.pi * 100, rel=0.01)


def test_what_tracing_says_of_a_contour_stays_with_it_when_it_is_measured_again(folder):
    (folder / "annulus.mrk.json").unlink()  # traced anew
    provenance = folder / "provenance.json"
    content = json.loads(provenance.read_text())
    provenance.write_text(json.dumps(content | {"contour": {"warning": "calcium hides the edge: check it"}}))
    told = []
    for _ in range(2):
        assert main(["measure", str(folder), "--no-report"]) == 0
        told.append(json.loads((folder / "measurements.json").read_text())["rows"])
    first, second = ({row["id"]: row["warning"] for row in rows} for rows in told)
    assert first["annulus_area"] == second["annulus_area"] and "calcium hides" not in second["annulus_area"]


def test_a_warning_of_the_whole_ct_is_told_when_it_is_measured_again(folder, capsys):
    assert main(["measure", str(folder), "--no-report", "--json"]) == 0
    assert "thick slices" in json.loads(capsys.readouterr().out)["warnings"]
