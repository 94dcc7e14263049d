"""Virtual hospitals: who gets which patients and labels, what is written, and that no truth reaches a site."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from fedkdtavi_core import schema
from fedkdtavi_core.labels.markups import read_landmarks
from fedkdtavi_core.labels.record import read_record, volume_digest
from fedkdtavi_core.labels.segmentation import read_segment
from fedkdtavi_core.readers import read_volume
from fedkdtavi_core.volume import Grid
from fedkdtavi_training.phantom import hospital
from fedkdtavi_training.phantom.command import KINDS, main
from fedkdtavi_training.phantom.observers import Observer, dice
from fedkdtavi_training.phantom.plan import (
    LABELLED_KINDS,
    TABLE,
    TEST_MIX,
    TRAINING_MIX,
    fitted,
    outside_training,
    plan,
    scaled_table,
)
from fedkdtavi_training.phantom.render import KINDS as RENDERED_KINDS
from fedkdtavi_training.phantom.render import render_chest

COARSE = ("--fast", "--spacing", "6", "--quiet")


def cases_of(sites):
    return [case for site in sites for case in site.cases]


def files(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


# --- the plan ---


@pytest.mark.parametrize(("sites", "cases"), [(8, 10), (8, 3), (3, 4), (1, 1), (10, 20)])
def test_the_scaled_table_keeps_the_gaps_of_the_published_one(sites, cases):
    rows = scaled_table(sites, cases)
    assert sum(row["cases"] for row in rows) == sites * cases
    for index, row in enumerate(rows):
        published = dict(zip(("hps", "ms", "calc"), TABLE[index % 8][1:], strict=True))
        for head, count in published.items():
            assert (row[head] > 0) == (count > 0)
            assert row[head] <= row["cases"]


def test_large_sites_stay_large_and_mostly_unlabelled():
    rows = scaled_table(8, 10)
    assert max(rows, key=lambda row: row["cases"]) is rows[2]
    assert rows[2]["hps"] / rows[2]["cases"] < 0.2 < 0.9 < rows[7]["hps"] / rows[7]["cases"]
    assert rows[4] == {"cases": rows[4]["cases"], "hps": 0, "ms": 0, "calc": 0}


def test_labelled_cases_follow_the_table():
    rows = scaled_table(8, 10)
    for site, row in zip(plan(5, 8, 10), rows, strict=True):
        assert len(site.cases) == row["cases"]
        for head in ("hps", "ms", "calc"):
            labelled = [case for case in site.cases if head in case.heads]
            assert len(labelled) == row[head]
            assert all(case.kind in LABELLED_KINDS for case in labelled)


def test_no_two_cases_share_a_patient_also_across_splits_and_seeds():
    cases = cases_of(plan(1, 8, 10) + plan(1, 4, 20, test=True) + plan(2, 8, 10))
    assert len({case.anatomy_seed for case in cases}) == len(cases)
    assert len({case.label_seed for case in cases} | {case.anatomy_seed for case in cases}) == 2 * len(cases)


def test_the_plan_follows_from_the_seed():
    first, again, other = ([(c.case, c.kind, c.style) for c in cases_of(plan(s, 4, 5))] for s in (3, 3, 4))
    assert first == again
    assert first != other


def test_test_hospitals_have_no_labels_two_observers_and_every_second_foreign_scanner():
    sites = plan(7, 4, 6, test=True)
    assert [site.site for site in sites] == ["test-in-1", "test-out-1", "test-in-2", "test-out-2"]
    for site in sites:
        assert len(site.cases) == 6
        assert len({observer.name for observer in site.observers}) == 2
        for case in site.cases:
            assert case.heads == ()
            outside = outside_training(case.style, 1.0)
            assert len(outside) >= 3 if "out" in site.site else outside == ()


def test_each_hospital_has_scanners_of_its_own():
    def spread(factor):
        per_site = [[getattr(c.style, factor) for c in site.cases] for site in plan(3, 4, 15)]
        return max(np.ptp(values) for values in per_site), np.ptp(np.concatenate(per_site))

    within, over_all = spread("kvp")
    assert within < 0.7 * over_all


def test_a_kind_can_be_forced_and_no_heart_is_never_labelled():
    cases = cases_of(plan(1, 3, 5, kind="noheart", all_labels=True))
    assert all(case.kind == "noheart" and case.heads == () for case in cases)
    labelled = cases_of(plan(1, 3, 5, kind="bicuspid", all_labels=True))
    assert all(case.heads == ("hps", "ms", "calc") for case in labelled)


def test_kinds_are_those_that_can_be_rendered():
    assert set(KINDS) == set(RENDERED_KINDS)
    assert set(TRAINING_MIX) <= set(KINDS)
    assert set(TEST_MIX) <= set(KINDS)


def test_a_coarse_canvas_hides_fine_pixels_and_slices():
    style = fitted(plan(7, 2, 2, test=True)[1].cases[1].style, 2.0)  # the sharp scanner
    assert style.pixel_mm == style.slice_increment_mm == style.slice_thickness_mm == 1.5


# --- observers ---


@pytest.mark.parametrize("seed", range(5))
def test_an_observer_is_biased_and_noisy_by_millimetres(seed):
    observer = Observer.sample("o", np.random.default_rng(seed))
    assert all(0.5 <= noise <= 2.0 for noise in observer.noise_mm.values())
    truth = {label: np.array([3.0, -20.0, 100.0]) for label in schema.LANDMARK_IDS}
    rng = np.random.default_rng(seed)
    normal = np.array([0.6, 0.0, 0.8])
    readings = [observer.read(truth, normal, rng) for _ in range(400)]
    for label in schema.LANDMARK_IDS:
        errors = np.array([reading[label] - truth[label] for reading in readings])
        limit = 4 * observer.noise_mm[label] / np.sqrt(400)
        assert abs(errors.mean(axis=0) @ normal - observer.bias_mm[label][2]) < limit
        assert np.linalg.norm(errors.mean(axis=0)) == pytest.approx(
            np.linalg.norm(observer.bias_mm[label]), abs=2 * limit
        )
        assert errors.std(axis=0).mean() == pytest.approx(observer.noise_mm[label], rel=0.1)


def test_an_observer_cannot_set_what_is_not_in_the_ct_and_other_readings_stay():
    observer = Observer.sample("o", np.random.default_rng(0))
    truth = {label: np.zeros(3) for label in schema.LANDMARK_IDS}
    full = observer.read(truth, None, np.random.default_rng(1))
    partly = observer.read(truth | {"hinge_rcc": None}, None, np.random.default_rng(1))
    assert partly["hinge_rcc"] is None
    for label in schema.LANDMARK_IDS[1:]:
        assert np.array_equal(full[label], partly[label])


def test_an_observers_calcification_resembles_the_truth_and_differs_from_it():
    grid = np.indices((40, 40, 30))
    truth = np.zeros(grid.shape[1:], np.uint8)
    for centre, radius in (((12, 14, 9), 4), ((25, 20, 18), 3), ((30, 8, 20), 5)):
        truth[sum((g - c) ** 2 for g, c in zip(grid, centre, strict=True)) < radius**2] = 1
    for seed in range(4):
        rng = np.random.default_rng(seed)
        drawn = Observer.sample("o", rng).outline(truth, np.full(3, 0.7), rng)
        assert drawn.dtype == np.uint8
        assert 0.75 < dice(drawn, truth) < 1.0
    empty = np.zeros_like(truth)
    assert not Observer.sample("o", rng).outline(empty, np.full(3, 0.7), rng).any()
    assert dice(empty, empty) is None
    assert dice(truth, truth) == 1.0


# --- on disk ---


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("hospitals") / "out"
    assert main(["--out", str(out), "--sites", "2", "--cases", "2", "--seed", "4", *COARSE]) == 0
    return out


def test_every_case_has_its_files_and_its_answer(made):
    cases = cases_of(plan(4, 2, 2))
    assert {path.name for path in made.glob("*/cases/*")} == {case.case for case in cases}
    for case in cases:
        folder = made / case.site / "cases" / case.case
        names = {"ct.nii.gz", "labels.json"}
        names |= {"landmarks.mrk.json"} if {"hps", "ms"} & set(case.heads) else set()
        names |= {"calcification.seg.nrrd"} if "calc" in case.heads else set()
        assert {path.name for path in folder.iterdir()} == names
        key = json.loads((made / "key" / f"{case.case}.json").read_text())
        assert set(key["points"]) == set(schema.LANDMARK_IDS)
        assert key["has_root"] == (case.kind not in ("noheart", "truncated"))
        assert set(key["observers"]) == {f"{case.site}-observer-1"}
        assert (made / "key" / f"{case.case}_calc.nii.gz").is_file()
    assert json.loads((made / "site-1" / "site.json").read_text())["synthetic"] is True


def test_labels_are_the_observers_not_the_truth(made):
    labelled = [case for case in cases_of(plan(4, 2, 2)) if "hps" in case.heads]
    assert labelled
    for case in labelled:
        folder = made / case.site / "cases" / case.case
        key = json.loads((made / "key" / f"{case.case}.json").read_text())
        landmarks = read_landmarks(folder / "landmarks.mrk.json").landmarks
        record = read_record(folder / "labels.json")
        heads = [head for head in ("hps", "ms") if head in case.heads]
        ids = {label for head in heads for label in schema.HEADS[head]}
        hidden = {label for label in ids if key["points"][label] is None}
        assert hidden <= {"ostium_rca", "ostium_lca"}  # of arteries that cannot be seen
        ids -= hidden
        assert {label for label in schema.LANDMARK_IDS if landmarks[label].position is not None} == ids
        assert set(record.truth()) == ids | ({"calcification"} if "calc" in case.heads else set())
        for label in ids:
            error = np.linalg.norm(landmarks[label].position - np.array(key["points"][label]))
            assert 0.01 < error < 10
            seen = key["observers"][f"{case.site}-observer-1"]["points"][label]
            assert np.allclose(landmarks[label].position, seen, atol=1e-6)


def test_the_digest_is_the_one_of_the_ct_as_it_is_read(made):
    for folder in made.glob("*/cases/*"):
        volume = read_volume(folder / "ct.nii.gz")
        assert volume.array.dtype == np.int16
        assert read_record(folder / "labels.json").ct_sha256 == volume_digest(volume)


def test_calcification_lies_on_the_cts_grid(made):
    case = next(case for case in cases_of(plan(4, 2, 2)) if "calc" in case.heads)
    folder = made / case.site / "cases" / case.case
    grid = read_volume(folder / "ct.nii.gz").grid
    segment = read_segment(folder / "calcification.seg.nrrd", grid)
    assert segment.mask.shape == grid.shape
    assert segment.notes == []


def test_a_site_holds_nothing_of_the_truth(made):
    for case in cases_of(plan(4, 2, 2)):
        key = json.loads((made / "key" / f"{case.case}.json").read_text())
        exact = {f"{x:.6f}" for p in key["points"].values() if p for x in p if abs(x) > 1}
        for path in (made / case.site).rglob("*.json"):
            text = path.read_text()
            assert str(case.anatomy_seed) not in text
            assert not any(number.lstrip("-") in text for number in exact)


def test_a_second_run_makes_only_what_is_missing_and_makes_it_the_same(made, capsys):
    before = files(made)
    victim = made / "site-1" / "cases" / "site-1-0001"
    for path in victim.iterdir():
        path.unlink()
    victim.rmdir()
    kept = {p: p.stat().st_mtime_ns for p in made.glob("site-2/cases/*/ct.nii.gz")}
    assert main(["--out", str(made), "--sites", "2", "--cases", "2", "--seed", "4", *COARSE]) == 0
    assert "3 of them there already" in capsys.readouterr().out
    assert files(made) == before
    assert {p: p.stat().st_mtime_ns for p in kept} == kept


@pytest.mark.slow
def test_several_processes_make_the_same_files(made, tmp_path):
    arguments = ["--sites", "2", "--cases", "2", "--seed", "4", "--processes", "2", *COARSE]
    assert main(["--out", str(tmp_path / "p"), *arguments]) == 0
    assert files(tmp_path / "p") == files(made)


def test_other_settings_and_foreign_folders_are_refused(made, tmp_path, capsys):
    assert main(["--out", str(made), "--sites", "2", "--cases", "3", "--seed", "4", *COARSE]) == 2
    assert "cases" in capsys.readouterr().err
    (tmp_path / "thesis.txt").write_text("mine")
    assert main(["--out", str(tmp_path), "--sites", "1", "--cases", "1", *COARSE]) == 2
    assert "not empty" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_hospitals_of_an_older_phantom_are_not_gone_on_with(made, tmp_path, capsys):
    """The same seed is another patient there, and a hinge point another place."""
    older = tmp_path / "key" / "phantom.json"
    older.parent.mkdir()
    settings = json.loads((made / "key" / "phantom.json").read_text())
    older.write_text(json.dumps({name: value for name, value in settings.items() if name != "phantom"}))
    assert main(["--out", str(tmp_path), "--sites", "2", "--cases", "2", "--seed", "4", *COARSE]) == 2
    assert "another version of FedKDTAVI" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["key"]


def test_a_run_that_fails_leaves_no_half_case(tmp_path, monkeypatch):
    out = tmp_path / "out"
    arguments = ["--out", str(out), "--sites", "1", "--cases", "1", "--kind", "noheart", *COARSE]

    def broken(path, record):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(hospital, "write_record", broken)
        assert main(arguments) == 130
    assert list((out / "site-1" / "cases").iterdir()) == []
    assert main(arguments) == 0
    key = json.loads((out / "key" / "site-1-0001.json").read_text())
    assert key["has_root"] is False
    assert all(point is None for point in key["points"].values())


@pytest.mark.parametrize("orientation", ["RAS", "LAS", "LPS"])
def test_on_the_table_everything_moves_together(orientation):
    chest = render_chest(11, 8.0)
    moved = hospital.on_the_table(chest, orientation, np.random.default_rng(2))
    assert [("L", "R"), ("P", "A"), ("I", "S")][0][int(moved.affine[0, 0] > 0)] == orientation[0]
    assert ("P", "A")[int(moved.affine[1, 1] > 0)] == orientation[1]
    before, after = Grid(chest.hu.shape, chest.affine), Grid(moved.hu.shape, moved.affine)
    shift = moved.points["hinge_rcc"] - chest.points["hinge_rcc"]
    assert np.linalg.norm(shift) > 10
    for label, point in chest.points.items():
        if point is None:  # the ostium of an artery that cannot be seen
            assert moved.points[label] is None
            continue
        assert np.allclose(moved.points[label] - point, shift)
        a, b = (np.rint(g.to_ijk(p)).astype(int) for g, p in ((before, point), (after, moved.points[label])))
        assert chest.hu[tuple(a)] == moved.hu[tuple(b)]
        assert chest.heart[tuple(a)] == moved.heart[tuple(b)]
    contour = np.array(moved.info["annulus_contour"]) - np.array(chest.info["annulus_contour"])
    assert np.allclose(contour, shift)
