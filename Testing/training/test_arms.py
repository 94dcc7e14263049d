"""The comparison arms in small: real rounds, exports and evaluations, results that a later run goes on from."""

from __future__ import annotations

import csv
import json
import shutil
import sys
from pathlib import Path

import hospitals
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "core"))

import tiny_bundle
from test_evaluate import write_case

from fedkdtavi_core.bundle import metadata, verify
from fedkdtavi_core.errors import UsageError
from fedkdtavi_training import tally
from fedkdtavi_training.arms import command, matrix, table
from fedkdtavi_training.report import command as report
from fedkdtavi_training.report import results
from fedkdtavi_training.train import TrainingError

pytestmark = pytest.mark.torch
CONFIGS = Path(__file__).resolve().parents[2] / "training" / "configs" / "distill"
SPHERES = {"loss": {"recipe": "spheres", "spacing_mm": hospitals.SPACING}}


def entries(base, **changes):
    return {
        "arms": {
            "soft": {"config": str(base / "config.json"), "about": "the usual"},
            "hard": {
                "config": str(base / "config.json"), "changes": {"pseudo": {"kind": "hard"}}, "teachers_from": "soft",
            },
            "recipe": {
                "config": str(base / "config.json"),
                "changes": {"teacher": SPHERES, "student": SPHERES, "pseudo": {"kind": "hard"}},
            },
            "alone": {
                "config": str(base / "config.json"), "changes": {"pseudo": None}, "federation": "local/a",
            },
        },
        "seeds": [1],
        "cases": str(base / "test"),
        "bundle": str(base / "coarse"),
        "pairs": [["soft", "hard"], ["recipe", "soft"], ["alone", "soft"]],
        "runs": str(base / "runs"),
        "results": str(base / "results"),
    } | changes  # fmt: skip


def write(base, **changes):
    (base / "matrix.json").write_text(json.dumps(entries(base, **changes)))
    return str(base / "matrix.json")


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """All four units run; what was said."""
    base = tmp_path_factory.mktemp("arms")
    quick = hospitals.training(rounds=1)
    folders = hospitals.write(base / "sites", {"a": ("hps ms calc", ""), "b": ("hps",)})
    made = hospitals.experiment(folders, base / "unused", teacher=quick, student=quick)
    (base / "config.json").write_text(made.model_dump_json())
    tiny_bundle.write_bundle(base / "coarse")
    for n, name in enumerate(("first", "second", "without")):
        ct = tiny_bundle.blob_volume(heart=name != "without", noise_hu=5, shape=(100, 100, 96 + n))
        write_case(base / "test", name, ct, tiny_bundle.POINTS)
    said = []
    assert command.main([write(base)], said.append) == 0
    return base, said


def told(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_each_unit_ends_in_one_small_csv(ran):
    base, _ = ran
    names = {"soft-s1.csv", "hard-s1.csv", "recipe-s1.csv", "alone-s1.csv", "paired.csv", "README.md"}
    assert {path.name for path in (base / "results").iterdir()} == names
    for name in ("soft", "recipe"):
        rows = told(base / "results" / f"{name}-s1.csv")
        assert [row["case"] for row in rows] == ["first", "second", "without"]
        assert {row["arm"] for row in rows} == {name} and rows[2]["hinge_rcc_mm"] == "inf"
        assert str(base) not in (base / "results" / f"{name}-s1.csv").read_text()
    assert len({row["test_set"] for path in (base / "results").glob("*-s1.csv") for row in told(path)}) == 1


def test_the_report_draws_them(ran, tmp_path):
    base, _ = ran
    arms = [f"{arm}={base / 'results' / f'{arm}-s1.csv'}" for arm in ("soft", "recipe")]
    assert report.main([*arms, "--out", str(tmp_path / "report.html")]) == 0
    assert "recipe against soft" in (tmp_path / "report.html").read_text()


def test_the_recipes_arm_goes_the_products_way_with_its_own_read_out(ran):
    base, _ = ran
    ways = {
        arm: metadata.readouts(verify(base / "runs" / f"{arm}-s1" / "bundle").metadata)["hps"]
        for arm in ("soft", "recipe")
    }
    assert ways == {"soft": "heatmap", "recipe": "centroid"}
    bundle = verify(base / "runs" / "recipe-s1" / "bundle")
    assert bundle.read("models/coarse.onnx") == verify(base / "coarse").read("models/coarse.onnx")
    assert bundle.metadata["thresholds"] == verify(base / "coarse").metadata["thresholds"]


def test_teachers_are_trained_once_and_the_result_is_the_same(ran):
    base, said = ran
    assert "hard-s1: teacher-hps is that of soft-s1" in said
    summaries = [
        json.loads((base / "runs" / f"{arm}-s1/federated/summary.json").read_text()) for arm in ("soft", "hard")
    ]
    assert summaries[0]["teachers"] == summaries[1]["teachers"]
    assert summaries[0]["student"]["digest"] != summaries[1]["student"]["digest"]


def test_results_alone_are_enough_to_go_on(ran, tmp_path, capsys):
    base, _ = ran
    results_only = tmp_path / "results"
    shutil.copytree(base / "results", results_only)
    said = []
    path = write(base, results=str(results_only), runs=str(tmp_path / "none"))
    before = (results_only / "README.md").read_text()
    assert command.main([path], said.append) == 0
    assert said == [f"{arm}-s1: done before" for arm in ("soft", "hard", "recipe", "alone")]
    assert (results_only / "README.md").read_text() == before and not (tmp_path / "none").exists()
    capsys.readouterr()
    assert command.main([path, "--list"]) == 0
    assert capsys.readouterr().out.splitlines() == [f"{arm}-s1: done" for arm in ("soft", "hard", "recipe", "alone")]
    alone = results_only / "alone-s1.csv"
    alone.write_text(alone.read_text().replace(told(alone)[0]["unit"], "of other settings"))
    assert command.main([path, "--list", "--arm", "alone"]) == 0
    assert capsys.readouterr().out == "alone-s1: done, with another configuration\n"
    assert "| hard against soft | Hinge points + ostia | 1 | 3 | too few cases (3, at least 8 are needed) |" in before


def test_a_unit_that_was_cut_off_does_only_what_is_left(ran, tmp_path):
    base, _ = ran
    (tmp_path / "results").mkdir()
    said = []
    path = write(base, results=str(tmp_path / "results"))
    assert command.main([path, "--arm", "soft"], said.append) == 0
    assert said == [f"soft-s1: done, {tmp_path / 'results' / 'soft-s1.csv'}"]  # trained, exported and evaluated before
    assert (tmp_path / "results" / "soft-s1.csv").read_bytes() == (base / "results" / "soft-s1.csv").read_bytes()
    text = (tmp_path / "results" / "README.md").read_text()
    assert "Not run yet: hard-s1, recipe-s1, alone-s1." in text


def test_a_changed_arm_is_not_taken_for_the_old_one_and_stops_no_other(ran, tmp_path):
    base, _ = ran
    shutil.copytree(base / "results", tmp_path / "results")
    changed = entries(base)["arms"] | {"hard": entries(base)["arms"]["soft"]}
    said = []
    with pytest.raises(TrainingError, match=r"1 of 4 units failed; the first, hard-s1: .* another configuration"):
        command.main([write(base, arms=changed, results=str(tmp_path / "results"))], said.append)
    assert said[-1] == "alone-s1: done before"
    (tmp_path / "results" / "hard-s1.csv").unlink()
    with pytest.raises(TrainingError, match="holds a run with another configuration; remove it"):
        command.main([write(base, arms=changed, results=str(tmp_path / "results"))], said.append)


def test_other_test_cases_are_not_paired(ran, tmp_path):
    base, _ = ran
    shutil.copytree(base / "results", tmp_path / "results")
    path = tmp_path / "results" / "hard-s1.csv"
    rows = tally.read_rows(path)
    tally.write_rows(path, [row | {"test_set": "other"} for row in rows])
    with pytest.raises(UsageError, match="different test cases"):
        command.main([write(base, results=str(tmp_path / "results")), "--table"])


def arm(shift, seed, cases=20):
    rng = np.random.default_rng(seed)
    empty = dict.fromkeys(results._COLUMNS)
    rows = [empty | {"case": str(n), "hinge_rcc_mm": float(3 + shift + rng.normal(0, 0.3))} for n in range(cases)]
    return results.Arm("x", Path("x"), tuple(rows))


def test_seeds_make_no_more_cases(tmp_path):
    many = table.compare({s: arm(0, s) for s in (1, 2, 3)}, {s: arm(-0.5, 10 + s) for s in (1, 2, 4)})
    unit, found = many["Hinge points + ostia"]
    assert (unit, found.cases, found.values) == ("mm", 20, 40)  # two seeds that both have
    assert found.verdict == "better" and found.mean == pytest.approx(0.5, abs=0.15)
    assert many["Calcium"][1].values == 0


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"pairs": [["soft", "nobody"]]}, "no arm 'nobody'"),
        ({"seeds": [1, 1]}, "a seed is given twice"),
        ({"arms": {"a": {"config": "c.json", "seeds": [2]}}, "pairs": []}, "a seed that is none of the matrix's"),
        ({"arms": {"Big Arm": {"config": "c.json"}}}, "no name of an arm"),
        ({"speed": 1}, "speed"),
    ],
)
def test_a_matrix_without_sense_is_one_sentence(tmp_path, changes, words):
    with pytest.raises(UsageError, match=words):
        command.main([write(tmp_path, **changes)])


def test_the_shipped_matrix_asks_for_what_the_project_promises():
    chosen = matrix.read(CONFIGS / "arms.json")
    made = {name: matrix.Unit(chosen, name, 1).experiment() for name in chosen.arms}
    assert made["soft"].pseudo.kind == "soft" and made["hard"].pseudo.kind == "hard"
    assert made["no-pseudo"].pseudo is None and made["cnn"].student.model == "teacher"
    assert made["seed-recipe"].student.loss.recipe == "spheres"
    assert made["local"].arms == ("local",) and len(made["local"].sites) == 1
    same = {"out", "arms", "sites", "pseudo", "student"}
    for name in ("hard", "no-pseudo", "cnn", "local"):
        assert made[name].model_dump(exclude=same) == made["soft"].model_dump(exclude=same), name
    assert len({matrix.Unit(chosen, name, 1).digest("x") for name in chosen.arms}) == len(chosen.arms)
    assert len(list(chosen.units())) == 18  # six arms with three seeds
    steps = {  # of the student over all sites, and of the teachers in a round: the same budget for all
        name: (
            one.student.rounds * one.student.local_steps * len(one.sites),
            one.teacher.rounds,
            one.teacher.local_steps,
        )
        for name, one in made.items()
    }
    assert len(set(steps.values())) == 1, steps
