"""`server next-round`: a project that starts from a bundle's own student, and a bundle of it that names its parent."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import hospitals
import projects
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "core"))

import tiny_bundle

from fedkdtavi_core.bundle import seal, verify
from fedkdtavi_core.errors import BundleError, UsageError
from fedkdtavi_training import commands, export, networks, train
from fedkdtavi_training.federated import experiment
from fedkdtavi_training.federation import command, next_plan, project

pytestmark = pytest.mark.torch


@pytest.fixture(scope="module")
def parent(tmp_path_factory):
    """A student that looks twice, at other sizes than the usual ones."""
    folder = tmp_path_factory.mktemp("parent") / "bundle"
    train.prepare_torch()
    tiny_bundle.write_bundle(folder, meta=tiny_bundle.described(crop_size=32, closer_look_mm=0.85))
    network = export.round_to_half(networks.build("teacher", {"channels": [4, 8]}, seed=1).eval())
    (folder / "models/student.onnx").write_bytes(export.to_onnx(network, shape=(32,) * 3, dynamic=False))
    networks.save(network.half(), "teacher", folder / "models/student.safetensors")
    return seal(folder)


def planned(tmp_path: Path, parent, **changes) -> Path:
    file, out = projects.write(tmp_path / "project.json", **changes), tmp_path / "next.json"
    assert command.main(["server", "next-round", str(file), "--parent", str(parent.path), "--out", str(out)]) == 0
    return out


def test_the_project_starts_from_the_bundle_and_is_fed_as_it_is(tmp_path, parent):
    plan = project.read(planned(tmp_path, parent))
    fed = parent.metadata["preprocessing"]
    assert plan.held_out == 0.2  # on these cases `bundle compare` can judge
    assert plan.jobs == (0,) and [site.name for site in plan.sites] == list(projects.LABELS)
    assert (plan.student.model, plan.student.network["channels"]) == ("teacher", [4, 8])
    assert (plan.student.crop, plan.student.closer_look_mm) == (fed["crop_size"], fed["closer_look_mm"]) == (32, 0.85)
    assert plan.student.loss.spacing_mm == fed["crop_spacing_mm"]
    start, _, told = networks.load(plan.init)
    held, _, _ = networks.load(parent.path / "models/student.safetensors")
    assert train.digest(start.state_dict()) == train.digest(held.state_dict())
    assert told["closer_look_mm"] == 0.85  # so it labels with both of its looks
    assert set(plan.teacher_weights.values()) == {plan.init} and plan.init.is_absolute()
    earlier = {"hps": tmp_path / "teacher-hps.safetensors"}  # of an earlier round, in the same server's folder
    assert set(plan.experiment(0, tmp_path, {}, earlier).teacher_weights.values()) == {plan.init}


def test_reviewed_labels_alone_where_the_project_says_so(tmp_path, parent):
    plan = project.read(planned(tmp_path, parent, pseudo=None, held_out=0.0))
    assert (plan.pseudo, plan.teacher_weights, plan.held_out) == (None, {}, 0.0)


def test_what_cannot_be_planned_is_one_sentence_and_leaves_nothing(tmp_path, parent):
    file, out = projects.write(tmp_path / "project.json", pseudo={"sets": 2}), tmp_path / "next.json"
    with pytest.raises(UsageError, match=r"one set, the parent's"):
        next_plan.write(file, parent.path, out, print)
    with pytest.raises(BundleError, match="there is no such bundle"):
        next_plan.write(projects.write(file), tmp_path / "none", out, print)
    assert [path.name for path in tmp_path.iterdir()] == ["project.json"]
    out.write_text("{}")
    with pytest.raises(UsageError, match="is there already; give another --out"):
        next_plan.write(file, parent.path, out, print)
    assert out.read_text() == "{}"


def test_its_job_trains_the_student_on_and_the_bundle_names_its_parent(tmp_path, parent, capsys):
    folders = hospitals.write(tmp_path / "data", dict.fromkeys(("site-1", "site-2", "site-3"), ("hps ms calc", "")))
    entries = json.loads(planned(tmp_path, parent, sites=projects.entries()["sites"][:3]).read_text())
    said = capsys.readouterr().err
    entries["student"] |= {"rounds": 1, "local_epochs": 0, "local_steps": 1, "batch": 1}
    plan = project.Project.model_validate(entries)
    made = experiment.run(plan.experiment(0, tmp_path / "out", folders, {}), say=lambda text: None)["federated"]
    start, _, _ = networks.load(plan.init)
    assert made["student"]["first_weights"] == train.digest(start.state_dict()) != made["student"]["digest"]
    words = next(line for line in said.splitlines() if line.startswith("fedkdtavi export")).split()[2:]
    given = {"server/out/task-0/federated/student.safetensors": tmp_path / "out" / "federated" / "student.safetensors"}
    given |= {"bundle": tmp_path / "new", "X.Y": "2"}
    assert commands.export([str(given.get(word, word)) for word in words]) == 0
    child = verify(tmp_path / "new")
    assert child.provenance["parent"] == {"digest": parent.digest, "name": "tiny", "version": "1"}
    assert child.provenance["taught"] == {"held_out": 0.2, "sites": {"*": {"id": "*"}}}
    for key in ("preprocessing", "thresholds"):
        assert child.metadata[key] == parent.metadata[key]


def test_its_job_trains_the_calcium_network_on_as_the_runbook_says(tmp_path, parent):
    folders = hospitals.write(tmp_path / "data", dict.fromkeys(("site-1", "site-2", "site-3"), ("hps ms calc", "")))
    calcium, tiny = tmp_path / "calcium.safetensors", {"channels": [4, 8, 8]}
    networks.save(networks.build("calcium", tiny, seed=5), "calcium", calcium)
    entries = json.loads(planned(tmp_path, parent, sites=projects.entries()["sites"][:3]).read_text())
    entries["student"] |= {"rounds": 1, "local_epochs": 0, "local_steps": 1, "batch": 1}
    del entries["teacher_weights"]["calc"]
    entries |= {
        "teacher_init": {"calc": str(calcium)},
        "teachers": {"calc": hospitals.training(model="calcium", network=tiny, rounds=1, local_steps=1)},
    }
    plan = project.Project.model_validate(entries)
    made = experiment.run(plan.experiment(0, tmp_path / "out", folders, {}), say=lambda text: None)["federated"]
    link = made["teachers"]["calc"]
    assert link["first_weights"] == train.digest(networks.load(calcium)[0].state_dict()) != link["digest"]
    assert networks.load(tmp_path / "out/federated/teacher-calc.safetensors")[1] == "calcium"
    assert made["pseudo_labels"][0]["teachers"]["calc"] == link["digest"]
