"""``train_federated.py`` on two small hospitals: what is trained, tested, printed and written."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import hospitals
import pytest
import standin

from fedkdtavi_core.errors import UsageError
from fedkdtavi_training import networks
from fedkdtavi_training.federated.heads import floating
from fedkdtavi_training.original import command, table, testing

SCRIPT = Path(__file__).resolve().parents[2] / "training" / "train_federated.py"
TINY = {"teacher": {"network": {"channels": [4, 8, 8, 8]}, "warmup": 1, "crop": 32}}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("place")
    for name in ("north", "south"):
        standin.write_cache(folder / "data" / name, 4, "crop")
    (folder / "base.json").write_text(json.dumps(TINY))
    return folder


def run(place, *more):
    shared = ["--data", place / "data", "--out", place / "runs", "--base", place / "base.json", "-t", 1]
    return command.main([str(word) for word in (*shared, *more)])


@pytest.fixture(scope="module")
def trained(place):
    run(place, "--num_rounds", 2, "--batch_maxnum", 1, "--test_ratio", 0.5, "--exp_name", "both",
        "--test_on_gobal_updates", "--test_on_local_updates")  # fmt: skip
    return place / "runs" / "both"


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_updates_are_tested_before_each_round_after_each_site_and_at_the_end(trained):
    found = {(row["round"], row["update"], row["site"]) for row in rows(trained / "test_sites.csv")}
    sites = ("north", "south", "all sites")
    wanted = {(number, "global", site) for number in "012" for site in sites}
    assert found == wanted | {(number, "local", site) for number in "12" for site in sites}
    cases = rows(trained / "test_cases.csv")
    assert {row["case"] for row in cases} == {"000002", "000003"}  # the half that nothing learns from
    assert all(float(row["hinge_rcc_mm"]) >= 0 and row["ms_upper_mm"] == "" for row in cases)


def test_testing_changes_nothing_that_is_learned(place, trained):
    run(place, "--num_rounds", 2, "--batch_maxnum", 1, "--test_ratio", 0.5, "--exp_name", "untested")
    digests = [
        json.loads((folder / "federated" / "summary.json").read_text())["chain"]
        for folder in (trained, place / "runs" / "untested")
    ]
    assert digests[0] == digests[1]
    assert not (place / "runs" / "untested" / "test_sites.csv").exists()


def test_an_update_of_the_transformer_comes_without_its_integer_buffers_and_is_tested_all_the_same(tmp_path):
    hospitals.save(tmp_path / "case_000000.npz", 1, ["hps", "ms", "calc"])
    stage = hospitals.stage(training=hospitals.training(model="student", network={}, crop=64))
    weights = floating(networks.build("student", seed=1).state_dict())
    row = testing.look_at(tmp_path / "case_000000.npz", stage, weights)
    assert row["hinge_rcc_mm"] >= 0 and row["case"] == "000000"


def test_mode_test_prints_and_writes_the_per_site_table(place, trained, capsys):
    run(place, "-m", "test", "--test_ratio", 1, "--exp_name", "both", "-l", "south")
    printed = capsys.readouterr().out
    made = rows(trained / "test" / "test_sites.csv")
    assert [(row["site"], row["update"], row["hps_n"]) for row in made] == [
        ("south", "global", "20"), ("all sites", "global", "20"),
    ]  # fmt: skip
    assert "south" in printed and made[0]["hps_median_mm"] in printed and "not for clinical use" in printed


def test_mode_test_can_train_one_round_first_and_keeps_the_weights(place, trained):
    path = trained / "federated" / "teacher-hps.safetensors"
    before = path.read_bytes()
    local = ("-m", "test", "--exp_name", "both", "--test_on_local_updates", "--test_on_global_updates", "-e", 1)
    run(place, *local, "--batch_maxnum", 1, "--test_ratio", 0.5)
    made = {(row["site"], row["update"]): row for row in rows(trained / "test" / "test_sites.csv")}
    assert made["north", "global"]["hps_median_mm"] != made["north", "local"]["hps_median_mm"]
    assert path.read_bytes() == before
    run(place, "-m", "test", "--exp_name", "both", "-l", "south")
    assert {row["site"] for row in rows(trained / "test" / "test_cases.csv")} == {"south"}  # nothing of earlier tests


def test_local_trains_every_hospital_alone_from_given_weights(place, trained):
    given = trained / "federated" / "teacher-hps.safetensors"
    run(place, "--local", "--batch_maxnum", 1, "--exp_name", "alone", "--ckpt", given, "-l", "north", "south",
        "--test_on_local_updates")  # fmt: skip
    summaries = {
        n: json.loads((place / "runs/alone/local" / n / "summary.json").read_text()) for n in ("north", "south")
    }
    links = {name: summary["teachers"]["hps"] for name, summary in summaries.items()}
    assert links["north"]["digest"] != links["south"]["digest"]
    assert links["north"]["first_weights"] == json.loads((trained / "federated/summary.json").read_text())["teachers"][
        "hps"]["digest"]  # fmt: skip


def test_weights_that_have_not_learned_the_task(place, trained):
    given = trained / "federated" / "teacher-hps.safetensors"
    with pytest.raises(UsageError, match="has not learned ms"):
        run(place, "-m", "test", "-t", 2, "--ckpt", given)
    with pytest.raises(UsageError, match="holds no trained network"):
        run(place, "-m", "test", "--exp_name", "never")


def test_missing_counts_and_is_not_left_out():
    def row(*errors):
        ids = ("hinge_rcc", "hinge_lcc", "hinge_ncc", "ostium_rca", "ostium_lca", "ms_upper", "ms_lower")
        return {f"{i}_mm": e for i, e in zip(ids, errors, strict=True)} | {"calc_dice": None}

    inf = float("inf")
    made = table.table({("a", "s", "1", "global", "x"): [row(1.0, 2.0, inf, inf, inf, None, None)]})
    assert (made[0]["hps_n"], made[0]["hps_missing"], made[0]["hps_median_mm"], made[0]["ms_n"]) == (5, 3, None, 0)
    assert "-" in table.as_text(made)


def test_the_script_says_wrong_use_in_one_sentence():
    done = subprocess.run([sys.executable, SCRIPT, "--finetune"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "--ckpt" in done.stderr
