"""What crosses is what was sent, to the bit; nothing but numbers, digests and known names can cross."""

from __future__ import annotations

import json

import hospitals
import numpy as np
import pytest
import torch

from fedkdtavi_core.errors import InputError, UsageError
from fedkdtavi_training.federated.config import Stage, Training
from fedkdtavi_training.federated.messages import Task, Teacher, Update
from fedkdtavi_training.federation import wire
from fedkdtavi_training.federation.child import code_of
from fedkdtavi_training.train import TrainingError


@pytest.fixture
def stage() -> Stage:
    return Stage(
        name="student",
        heads=("hps", "ms"),
        training=Training.model_validate(hospitals.training()),
        aggregation={},
        seed=3,
    )


@pytest.fixture
def update() -> Update:
    weights = {"heads.hps.weight": torch.randn(2, 3, generator=torch.Generator().manual_seed(1))}
    return Update("site-1", 4, "ab" * 32, weights, {"hps": 2.6}, {"hps_mm": 1.5, "steps": 2.0}, "cd" * 32)


def test_a_task_comes_back_as_it_was(stage):
    weights = {"body.0.weight": torch.full((3, 2), 1 / 3), "heads.ms.bias": torch.tensor([-0.0, 1e-38])}
    teachers = {"ms": Teacher("teacher", {"channels": [4, 8]}, {"a.b": torch.ones(2)}, "ef" * 32, 0.85)}
    teachers["refiner"] = Teacher("refiner", {"channels": [4, 8, 8]}, {"c": torch.ones(1)}, "01" * 32, 1.0, 48)
    task = Task("train", stage, 7, weights, teachers)
    back = wire.task_from_wire(*wire.task_to_wire(task))
    assert back.stage == stage and (back.kind, back.round_number) == ("train", 7)
    for name, value in weights.items():
        assert back.weights[name].numpy().tobytes() == value.numpy().tobytes()
    assert back.teachers["ms"].network == {"channels": [4, 8]} and back.teachers["ms"].digest == "ef" * 32
    assert (back.teachers["ms"].closer_look_mm, back.teachers["ms"].crop) == (0.85, None)
    assert (back.teachers["refiner"].closer_look_mm, back.teachers["refiner"].crop) == (1.0, 48)
    assert torch.equal(back.teachers["ms"].weights["a.b"], torch.ones(2))


def test_an_update_comes_back_as_it_was(update):
    back = wire.update_from_wire(*wire.update_to_wire(update))
    assert torch.equal(back.weights["heads.hps.weight"], update.weights["heads.hps.weight"])
    assert (back.site, back.round_number, back.base, back.digest) == ("site-1", 4, "ab" * 32, "cd" * 32)
    assert back.head_weights == {"hps": 2.6} and back.metrics == {"hps_mm": 1.5, "steps": 2.0}


@pytest.mark.parametrize(
    "change",
    [
        {"digest": "Müller, Anna"},
        {"base": "/home/anna/ct.nii.gz"},
        {"metrics": {"Müller": 1.0}},
        {"metrics": {"hps": "case-0001"}},
        {"metrics": {"hps": True}},
        {"metrics": ["case-0001"]},
        {"head_weights": {"case": 1.0}},
        {"round": -1},
        {"round": 1.5},
        {"site": None},
        {"path": "x"},
    ],
    ids=str,
)
def test_an_update_that_holds_anything_else_is_refused(update, change):
    header, arrays = wire.update_to_wire(update)
    with pytest.raises(wire.WireError):
        wire.update_from_wire(json.dumps(json.loads(header) | change), arrays)


@pytest.mark.parametrize(
    "array",
    [
        np.array(["name"]), np.array([1]), np.array([{}], object), [1.0], None,
        np.ones(2, ">f4"), np.ones(2, np.longdouble), np.ones(2, np.complex64),
    ],
)  # fmt: skip
def test_arrays_that_are_no_weights_are_refused(update, array):
    header, arrays = wire.update_to_wire(update)
    with pytest.raises(wire.WireError):
        wire.update_from_wire(header, arrays | {"x": array})


def test_a_number_that_is_not_finite_is_kept_for_the_judge_of_updates(update):
    header, arrays = wire.update_to_wire(update)
    changed = json.dumps(json.loads(header) | {"head_weights": {"hps": float("inf")}})
    assert np.isnan(wire.update_from_wire(changed, arrays).head_weights["hps"])


def test_a_number_that_no_float_holds_is_no_crash(update):
    header, arrays = wire.update_to_wire(update)
    told = json.loads(header)
    told["head_weights"] = {"hps": 10**400}
    assert np.isnan(wire.update_from_wire(json.dumps(told), arrays).head_weights["hps"])


@pytest.mark.parametrize(
    "change",
    [{"name": "/tmp/elsewhere"}, {"name": "../student"}, {"name": "Student"}, {"pseudo_set": 3}],
)
def test_a_stage_names_no_place_of_a_site(stage, change):
    header, arrays = wire.task_to_wire(Task("train", stage, 0, {"a.b": torch.ones(2)}))
    told = json.loads(header)
    told["stage"] |= change
    with pytest.raises(wire.WireError):
        wire.task_from_wire(json.dumps(told), arrays)


def test_a_look_that_no_ct_has_is_refused(stage):
    header, arrays = wire.task_to_wire(Task("train", stage, 0, {"a.b": torch.ones(2)}))
    told = json.loads(header)
    told["stage"]["training"]["loss"] = {"spacing_mm": 0.01}
    with pytest.raises(wire.WireError):
        wire.task_from_wire(json.dumps(told), arrays)


@pytest.mark.parametrize("crop", [0, -48, 100_000, 48.5, "48", True])
def test_a_refiner_whose_look_would_fill_the_memory_is_refused(stage, crop):
    last = Teacher("refiner", {"channels": [4, 8, 8]}, {"c": torch.ones(1)}, "01" * 32, 1.0, 48)
    header, arrays = wire.task_to_wire(Task("label", stage, 1, teachers={"refiner": last}))
    told = json.loads(header)
    told["teachers"]["refiner"]["crop"] = crop
    with pytest.raises(wire.WireError):
        wire.task_from_wire(json.dumps(told), arrays)


def test_weights_that_cannot_be_written_to_come_as_a_copy(update):
    header, arrays = wire.update_to_wire(update)
    arrays = {name: np.asfortranarray(value)[::-1] for name, value in arrays.items()}
    for value in arrays.values():
        value.flags.writeable = False
    back = wire.update_from_wire(header, arrays).weights["heads.hps.weight"]
    assert back.is_contiguous() and torch.equal(back.add_(0), update.weights["heads.hps.weight"].flip(0))


@pytest.mark.parametrize("key", ["version", "schema"])
def test_another_version_is_refused_and_both_are_named(stage, key):
    header, arrays = wire.task_to_wire(Task("count", stage))
    with pytest.raises(wire.WireError, match=rf"{key} 99, this site {wire.versions()[key]}") as refused:
        wire.task_from_wire(json.dumps(json.loads(header) | {key: "99"}), arrays)
    assert code_of(refused.value) is wire.Code.VERSION


@pytest.mark.parametrize(
    "change", [{"kind": "shell"}, {"stage": {}}, {"round": "1"}, {"teachers": {"heart": {}}}], ids=str
)
def test_a_task_of_another_kind_is_refused(stage, change):
    header, arrays = wire.task_to_wire(Task("count", stage))
    with pytest.raises(wire.WireError):
        wire.task_from_wire(json.dumps(json.loads(header) | change), arrays)
    with pytest.raises(wire.WireError):
        wire.task_from_wire("no json", arrays)


def test_errors_become_codes_and_their_words_stay():
    full = TrainingError("/secret/Anna cannot be written")
    full.__cause__ = OSError(28, "No space left on device")
    assert code_of(full) is wire.Code.DISK
    assert code_of(TrainingError("loss")) is wire.Code.TRAINING
    assert code_of(InputError("case Anna")) is wire.Code.DATA
    assert code_of(UsageError("no labels")) is wire.Code.NOTHING_TO_LEARN
    assert all("Anna" not in wire.sentence(code) for code in wire.Code)
    assert "Anna" not in wire.sentence("Anna")
