"""The whole chain in small: four hospitals with gaps, three teachers, their pseudo-labels, one student."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import hospitals
import pytest
import torch

from fedkdtavi_core.errors import InputError, UsageError
from fedkdtavi_training import cache, commands, networks, train
from fedkdtavi_training.federated import config, experiment, files, workflow
from fedkdtavi_training.federated.messages import Task, Update
from fedkdtavi_training.federated.plain import PlainDriver

pytestmark = [pytest.mark.torch, pytest.mark.slow]

CONFIGS = Path(__file__).resolve().parents[2] / "training" / "configs" / "distill"


def quiet(_: str) -> None:
    pass


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return hospitals.write(tmp_path_factory.mktemp("hospitals"))


@pytest.fixture(scope="module")
def chain(folders, tmp_path_factory):
    out = tmp_path_factory.mktemp("chain")
    said = []
    settings = hospitals.experiment(folders, out)
    return out, experiment.run(settings, say=said.append)["federated"], said


def test_teachers_learn_where_labels_are_and_the_student_everywhere(chain):
    out, summary, said = chain
    sites = {head: set(link["sites"]) for head, link in summary["teachers"].items()}
    assert sites == {"hps": {"a", "b", "c"}, "ms": {"a", "c"}, "calc": {"a", "b"}}
    student = summary["student"]
    assert set(student["sites"]) == {"a", "b", "c", "d"}
    # Site d has no label at all, and teaches by its pseudo-labels; true labels count 1 a case, those less.
    assert 0 < student["sites"]["d"]["head_weights"]["ms"] <= 3 * 0.7
    assert student["sites"]["a"]["head_weights"]["ms"] > 2
    assert student["taught"] == ["hps", "ms", "calc"] or student["frozen"]
    assert any("d: no labels; 3 cases" in sentence for sentence in said)
    assert json.loads((out / "federated" / "summary.json").read_text()) == summary


def test_the_chain_of_digests_is_kept_with_the_weights(chain):
    out, summary, _ = chain
    network, task, link = networks.load(out / "federated" / "student.safetensors")
    assert task == "teacher"  # the network's kind: this student is a small UNet
    assert train.digest(network.state_dict()) == link["digest"] == summary["student"]["digest"]
    assert link["pseudo_labels"]["teachers"] == {head: t["digest"] for head, t in summary["teachers"].items()}
    assert set(link["pseudo_labels"]["sites"]) == {"a", "b", "c", "d"}


def test_unlabelled_cts_teach_and_the_answer_key_does_not(chain, folders, tmp_path):
    """Without its unlabelled CTs the student is another one, with the same teachers; a key beside is not read."""
    _, whole, _ = chain
    copies = {name: tmp_path / name for name in folders}
    for name, folder in folders.items():
        shutil.copytree(folder, copies[name])
    (copies["a"] / "case_000002.npz").unlink()
    (tmp_path / "key").mkdir()
    less = experiment.run(hospitals.experiment(copies, tmp_path / "less"), say=quiet)["federated"]
    assert {h: t["digest"] for h, t in less["teachers"].items()} == {
        h: t["digest"] for h, t in whole["teachers"].items()
    }
    assert less["student"]["digest"] != whole["student"]["digest"]
    shutil.copy(folders["a"] / "case_000002.npz", copies["a"])
    again = experiment.run(hospitals.experiment(copies, tmp_path / "again"), say=quiet)["federated"]
    assert again["student"]["digest"] == whole["student"]["digest"]
    assert again["chain"] == whole["chain"]
    with pytest.raises(UsageError, match="other cases"):
        experiment.run(hospitals.experiment(copies, tmp_path / "less"), say=quiet)


class NotFinite(PlainDriver):
    """Site a tells no number that is one, whatever it is asked."""

    def send(self, site: str, task: Task) -> Update:
        update = super().send(site, task)
        return replace(update, metrics=dict.fromkeys(update.metrics, math.nan)) if site == "a" else update


def test_a_site_whose_metrics_are_not_finite_teaches_all_the_same(chain, folders, tmp_path):
    _, whole, _ = chain
    said = []
    settings = hospitals.experiment(folders, tmp_path)
    odd = experiment.run(settings, say=said.append, driver=NotFinite)["federated"]
    assert odd["student"]["digest"] == whole["student"]["digest"]
    assert odd["student"]["pseudo_labels"]["certainty"]["a"] == {}
    assert odd["student"]["pseudo_labels"]["certainty"]["b"] == whole["student"]["pseudo_labels"]["certainty"]["b"]
    json.dumps(odd, allow_nan=False)
    assert "federated: a: its cases, unreadable are not finite and not told further" in said
    assert "federated: a: hps 2, ms 2, calc 2; an unknown number of cases" in said
    assert any("student: a counts in round 1, but its " in sentence and "loss" in sentence for sentence in said)


KILLED = """
import os, signal, sys
from pathlib import Path
from fedkdtavi_training import train
from fedkdtavi_training.federated import config, experiment
left = int(sys.argv[2])
def count():
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
advance, fsync = train.Run.advance, os.fsync
def dying_advance(self, *given):
    count()
    return advance(self, *given)
def dying_fsync(handle):  # the new file is complete, the old one not yet replaced
    count()
    return fsync(handle)
train.Run.advance, os.fsync = dying_advance, dying_fsync
experiment.run(config.read(Path(sys.argv[1])), say=lambda text: None)
"""


def test_a_run_killed_again_and_again_ends_in_the_same_weights(folders, tmp_path):
    two = {name: folders[name] for name in ("a", "b")}
    settings = {"task": 0, "student": hospitals.training(ema=0.5)}
    whole = experiment.run(hospitals.experiment(two, tmp_path / "whole", **settings), say=quiet)["federated"]
    cut = hospitals.experiment(two, tmp_path / "cut", **settings)
    path = tmp_path / "cut.json"
    path.write_text(cut.model_dump_json())
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    for events in (9, 30, 24):
        died = subprocess.run([sys.executable, "-c", KILLED, str(path), str(events)], env=environment, check=False)
        assert died.returncode == -signal.SIGKILL
        assert not (tmp_path / "cut" / "federated" / experiment.SUMMARY).exists()
    resumed = experiment.run(cut, say=quiet)["federated"]
    assert resumed["student"]["digest"] == whole["student"]["digest"]
    assert resumed["chain"] == whole["chain"]
    curves = [(tmp_path / name / "federated" / "student" / "curves.csv").read_text() for name in ("whole", "cut")]
    assert curves[0] == curves[1]


def test_arms_hard_labels_and_two_sets(chain, folders, tmp_path):
    out, _, _ = chain
    trained = {head: out / "federated" / f"teacher-{head}.safetensors" for head in ("hps", "ms", "calc")}
    shared = {"teacher_weights": trained, "teacher": None, "student": hospitals.training(rounds=1, local_steps=1)}
    digests = {}
    for name, pseudo in (("soft", {}), ("hard", {"kind": "hard"}), ("two", {"sets": 2}), ("none", None)):
        chosen = None if pseudo is None else {"min_certainty": 0.0, "min_plausibility": 0.0, **pseudo}
        settings = hospitals.experiment(folders, tmp_path / name, pseudo=chosen, **shared)
        summary = experiment.run(settings, say=quiet)["federated"]
        digests[name] = summary["student"]["digest"]
        if name == "two":
            assert [made["set"] for made in summary["pseudo_labels"]] == [1, 2]
            assert len(set(summary["pseudo_labels"][1]["teachers"].values())) == 1
    assert len(set(digests.values())) == 4
    arms = hospitals.experiment(folders, tmp_path / "arms", task=1, arms=("pooled", "local"), test_ratio=0.3)
    summaries = experiment.run(arms, say=quiet)
    assert set(summaries) == {"pooled", "local/a", "local/b", "local/c", "local/d"}
    pooled = summaries["pooled"]["teachers"]["hps"]
    assert pooled["sites"]["pooled"]["head_weights"]["hps"] == 5  # a and b 2, c 1, d none
    assert "no site has labels for hps" in summaries["local/d"]["error"]
    assert summaries["pooled"]["test"]["a"]["cases"] == 1


def test_finetuning_moves_the_heads_alone(chain, folders, tmp_path):
    out, _, _ = chain
    start = out / "federated" / "student.safetensors"
    settings = hospitals.experiment(folders, tmp_path / "tuned", task=1, init=start, pseudo=None, teacher=None)
    path = tmp_path / "finetune.json"
    path.write_text(settings.model_dump_json())
    assert commands.finetune([str(path), "--seed", "5"]) == 0
    before = networks.load(start)[0].state_dict()
    after = networks.load(tmp_path / "tuned" / "federated" / "finetuned.safetensors")[0].state_dict()
    moved = {name.split(".")[1] if "heads" in name else "backbone" for name in before
             if not torch.equal(before[name], after[name])}  # fmt: skip
    assert moved == {"hps"}
    with pytest.raises(UsageError, match="needs `init`"):
        experiment.run(hospitals.experiment(folders, tmp_path / "x"), finetune=True, say=quiet)


class Interrupting(PlainDriver):
    """Is cut off where ``stage`` begins its second round."""

    stage = ""

    def send(self, site, task):
        if (task.stage.name, task.round_number) == (self.stage, 1):
            raise KeyboardInterrupt
        return super().send(site, task)


def test_a_student_that_goes_on_has_its_moments_still(folders, tmp_path, monkeypatch):
    """Pseudo-labels are asked for again when a run goes on: that must not forget what learns from them."""
    two = {name: folders[name] for name in ("a", "b")}
    twice = {"pseudo": {"min_certainty": 0.0, "min_plausibility": 0.0, "sets": 2}}
    whole = experiment.run(hospitals.experiment(two, tmp_path / "whole", **twice), say=quiet)["federated"]
    cut = hospitals.experiment(two, tmp_path / "cut", **twice)
    for stage in ("student-1", "student-2"):
        monkeypatch.setattr(Interrupting, "stage", stage)
        with pytest.raises(KeyboardInterrupt):
            experiment.run(cut, say=quiet, driver=Interrupting)
    assert experiment.run(cut, say=quiet)["federated"]["chain"] == whole["chain"]
    kept = tmp_path / "cut" / "federated" / "sites" / "a" / "state"
    assert [path.name for path in kept.iterdir()] == ["student-2"]


def test_a_run_that_is_refused_leaves_the_configuration_of_the_results_that_lie_there(folders, tmp_path):
    one = {"task": 1, "pseudo": None, "teacher": hospitals.training(rounds=1, local_steps=1)}
    first = hospitals.experiment({"a": folders["a"]}, tmp_path, **one)
    experiment.run(first, say=quiet)
    other = hospitals.experiment({"a": folders["a"]}, tmp_path, **one, seed=9)
    with pytest.raises(UsageError, match=r"was written with other configuration \(seed differs\); give another"):
        experiment.run(other, say=quiet)
    changed = hospitals.training(rounds=1, local_steps=1, lr=0.5, loss={"spacing_mm": 2.0})
    with pytest.raises(UsageError, match=r"\(teacher\.lr, teacher\.loss\.spacing_mm differ\)"):
        experiment.run(hospitals.experiment({"a": folders["a"]}, tmp_path, **one | {"teacher": changed}), say=quiet)
    assert config.read(tmp_path / "config.json") == first


def test_pseudo_labels_of_another_view_are_made_anew(folders, tmp_path, monkeypatch):
    """The first run is cut off before its student begins, the second has a student that sees more: one out folder."""
    two = {name: folders[name] for name in ("a", "b")}
    monkeypatch.setattr(workflow, "run", _but_the_student(workflow.run))
    wider = hospitals.training(loss={"spacing_mm": 2.0})
    with pytest.raises(KeyboardInterrupt):
        experiment.run(hospitals.experiment(two, tmp_path / "one"), say=quiet)
    with pytest.raises(KeyboardInterrupt):
        experiment.run(hospitals.experiment(two, tmp_path / "one", student=wider), say=quiet)
    with pytest.raises(KeyboardInterrupt):
        experiment.run(hospitals.experiment(two, tmp_path / "fresh", student=wider), say=quiet)
    store = "federated/sites/b/pseudo-1"
    for path in sorted((tmp_path / "fresh" / store).iterdir()):
        assert path.read_bytes() == (tmp_path / "one" / store / path.name).read_bytes()


def _but_the_student(run):
    def stopped(stage, *given, **options):
        if stage.name == "student":
            raise KeyboardInterrupt
        return run(stage, *given, **options)

    return stopped


def test_a_transformer_is_distilled_like_any_other(folders, tmp_path):
    """One round of one step at each of two sites: SwinUNETR takes nothing smaller than 64^3."""
    swin = hospitals.training(
        model="student", network={"depths": [1, 1, 1, 1]}, crop=64, rounds=1, local_steps=1, loss={"spacing_mm": 1.25}
    )
    shared = {"student": swin, "teacher": hospitals.training(rounds=1, local_steps=1)}
    two = {name: folders[name] for name in ("a", "d")}
    summary = experiment.run(hospitals.experiment(two, tmp_path, **shared), say=quiet)["federated"]
    network, task, _ = networks.load(tmp_path / "federated" / "student.safetensors")
    assert task == "student"
    assert train.digest(network.state_dict()) == summary["student"]["digest"]
    spilt = files.read_header(tmp_path / "federated" / "student" / "checkpoint.safetensors")
    assert {row["outcome"] for row in spilt["history"]} == {"averaged"}


def test_site_datasets_are_cropped_where_the_coarse_network_sees_the_root(tmp_path):
    """Virtual hospitals as `fedkdtavi phantom` makes them, one CT cut off; the answer key is not read."""
    options = ["--sites", "2", "--cases", "2", "--seed", "5", "--fast", "--spacing", "4", "--kind", "heart", "--quiet"]
    assert commands.phantom(["--out", str(tmp_path / "made"), "--labels", "all", *options]) == 0
    shutil.rmtree(tmp_path / "made" / "key")
    folders = {name: tmp_path / "made" / name for name in ("site-1", "site-2")}
    broken = sorted((folders["site-2"] / "cases").iterdir())[0]
    (broken / "ct.nii.gz").write_bytes(b"cut off")
    settings = hospitals.experiment(folders, tmp_path / "out", task=1, pseudo=None)
    summary = experiment.run(settings, say=quiet)["federated"]
    counted = {name: site["head_weights"] for name, site in summary["teachers"]["hps"]["sites"].items()}
    # Two of site-1's ten points are ostia of arteries that cannot be seen on so coarse a grid.
    assert counted == {"site-1": {"hps": pytest.approx(1.6)}, "site-2": {"hps": 1}}
    assert broken.name in summary["not_cropped"]["site-2"][0]
    again = hospitals.experiment(folders | {"twin": folders["site-1"]}, tmp_path / "twins", task=1, pseudo=None)
    with pytest.raises(InputError, match="one dataset given twice"):
        experiment.run(again, say=quiet)
    twice = hospitals.training(closer_look_mm=0.9)  # who looks twice needs finer crops
    one = hospitals.experiment({"a": folders["site-1"]}, tmp_path / "fine", task=1, pseudo=None, teacher=twice)
    (site,) = experiment.cropped(one, quiet)
    assert {cache.load(path).spacing for path in cache.files(list(site.folders))} == {0.9}
    finer = hospitals.training(loss={"spacing_mm": 1.0})  # and who looks once, more finely than usual
    one = hospitals.experiment({"a": folders["site-1"]}, tmp_path / "finer", task=1, pseudo=None, teacher=finer)
    (site,) = experiment.cropped(one, quiet)
    assert {cache.load(path).spacing for path in cache.files(list(site.folders))} == {1.0}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"mirror": True}, "unknown: mirror"),
        ({"aggregation": {"k": 9}}, "k is 9, but only 4 sites"),
        ({"student": None}, "give `student`"),
        ({"teacher": None}, "pseudo-labels need a teacher for hps"),
        ({"teachers": {"heart": hospitals.training()}}, "no head 'heart'"),
        ({"teacher": hospitals.training(local_epochs=1)}, "either local_steps or local_epochs"),
        ({"sites": [{"name": "a", "folder": "x"}, {"name": "a", "folder": "y"}]}, "same name"),
        ({"sites": [{"name": "../a", "folder": "x"}]}, "sites.0.name"),
    ],
)
def test_a_config_without_sense_is_refused_in_one_sentence(folders, tmp_path, change, sentence):
    entries = json.loads(hospitals.experiment(folders, tmp_path).model_dump_json())
    path = tmp_path / "config.json"
    path.write_text(json.dumps(entries | change))
    with pytest.raises(UsageError) as found:
        config.read(path)
    assert sentence in str(found.value)
    assert "\n" not in str(found.value)


EXPERIMENTS = sorted(set(CONFIGS.glob("*.json")) - {CONFIGS / "arms.json"})


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_every_shipped_experiment_is_valid(path):
    settings = config.read(path)
    assert settings.task == 0
    networks.build(settings.student.model, settings.student.network)


def test_a_place_that_is_not_there_is_named(folders, tmp_path):
    missing = hospitals.experiment(folders | {"e": tmp_path / "nowhere"}, tmp_path / "out")
    with pytest.raises(UsageError, match="nowhere is no folder"):
        experiment.run(missing, say=quiet)
    for text, sentence in (("[1]", "no JSON object"), ("{", "no JSON")):
        (tmp_path / "c.json").write_text(text)
        with pytest.raises(UsageError, match=sentence):
            config.read(tmp_path / "c.json")
