"""Weights that a configuration names are looked at before a single CT is cropped for it."""

from __future__ import annotations

import pickle

import hospitals
import pytest

from fedkdtavi_core.errors import UsageError
from fedkdtavi_core.site.dataset import SiteInfo, write_site
from fedkdtavi_training import networks
from fedkdtavi_training.federated import experiment

pytestmark = pytest.mark.torch
REFINER = {"model": "refiner", "network": {"channels": [4, 8, 8]}}


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    for name, task, network in (
        ("teacher", "teacher", hospitals.NET),
        ("wider", "teacher", {"channels": [8, 16]}),
        ("refiner", "refiner", REFINER["network"]),
        ("coarse", "coarse", {"channels": [4, 8]}),
    ):
        networks.save(networks.build(task, network), task, folder / f"{name}.safetensors")
    (folder / "pickle.safetensors").write_bytes(pickle.dumps({"a": 1}))
    return folder


TAUGHT = {"pseudo": {}, "teacher": hospitals.training()}


@pytest.mark.parametrize(
    ("finetune", "changes", "words"),
    [
        (True, {"init": "none"}, r"none\.safetensors: is no file; give weights"),
        (True, {"init": "pickle"}, "is not a safetensors file"),
        (True, {"init": "refiner"}, "holds a refiner network, not the teacher that the configuration asks for"),
        (True, {"init": "wider"}, r"with channels \[8, 16\], not with channels \[4, 8\] as the configuration asks for"),
        (True, {}, "Finetuning needs `init`"),
        (False, {"init": "wider", "pseudo": None}, "holds a teacher network with channels"),
        (False, {"init": "wider", "task": 1}, "holds a teacher network with channels"),
        (False, {"task": 1, "teacher": None, "pseudo": None}, "Task 1 trains a teacher of hps: give `teacher`"),
        (False, {"teacher_weights": {"ms": "pickle"}, **TAUGHT}, "is not a safetensors file"),
        (False, {"teacher_weights": {"ms": "none"}, **TAUGHT}, "is no file; give weights"),
        (False, {"teacher_weights": {"ms": "coarse"}, **TAUGHT}, "holds a coarse network, which cannot teach ms"),
        (
            False,
            {"refiner": hospitals.training(**REFINER), "refiner_init": "teacher", "pseudo": None},
            "holds a teacher network, not the refiner",
        ),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_cropped(
    weights, tmp_path, monkeypatch, finetune, changes, words
):
    def path(name):
        return weights / f"{name}.safetensors"

    entries = dict(changes)
    for key in {"init", "refiner_init"} & entries.keys():
        entries[key] = path(entries[key])
    if "teacher_weights" in entries:
        entries["teacher_weights"] = {head: path(name) for head, name in entries["teacher_weights"].items()}
    monkeypatch.setattr(experiment, "cropped", lambda *given: pytest.fail("cropped"))
    settings = hospitals.experiment({"a": tmp_path}, tmp_path / "out", **entries)
    with pytest.raises(UsageError, match=words) as refused:
        experiment.run(settings, finetune=finetune, say=lambda text: None)
    assert "\n" not in str(refused.value) and not (tmp_path / "out").exists()


def test_a_site_without_cases_says_so_and_leaves_no_crops(tmp_path):
    write_site(tmp_path / "north", SiteInfo("clinic"))
    settings = hospitals.experiment({"north": tmp_path / "north"}, tmp_path / "out", pseudo=None)
    with pytest.raises(UsageError, match=r"north holds no cases; add CTs with `fedkdtavi site add .*north CT`"):
        experiment.run(settings, say=lambda text: None)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["config.json"]


def test_weights_say_which_heads_nobody_has_taught(tmp_path):
    """One hospital labels hinge points and ostia, later another one the septum: calcium is never learned."""
    folders = hospitals.write(tmp_path / "hospitals", {"a": ("hps",), "b": ("ms",)})
    short = {"student": hospitals.training(rounds=1, local_steps=1), "pseudo": None}
    first = hospitals.experiment({"a": folders["a"]}, tmp_path / "first", **short)
    link = experiment.run(first, say=lambda text: None)["federated"]["student"]
    student = tmp_path / "first/federated/student.safetensors"
    told = networks.load(student)[2]
    assert told == link | {"untaught": ["ms", "calc"]} and link["taught"] == ["hps"]
    second = hospitals.experiment({"b": folders["b"]}, tmp_path / "second", init=student, **short)
    experiment.run(second, finetune=True, say=lambda text: None)
    told = networks.load(tmp_path / "second/federated/finetuned.safetensors")[2]
    assert (told["taught"], told["untaught"]) == (["ms"], ["calc"])
