"""The published recipe: spheres as classes, Dice and cross-entropy, centroids of the largest component."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import standin
import torch

from fedkdtavi_core.volume import Grid
from fedkdtavi_training import networks
from fedkdtavi_training.config import LossConfig
from fedkdtavi_training.federated import config, experiment
from fedkdtavi_training.federated.config import Experiment
from fedkdtavi_training.seed_recipe import readout, spheres

MM = 2.5


def grid(size=24):
    return Grid((size,) * 3, np.diag([MM, MM, MM, 1.0]))


def drawn(points, known=None):
    points = torch.tensor(points)[None]
    known = torch.ones(points.shape[:2], dtype=torch.bool) if known is None else torch.tensor(known)[None]
    return spheres.classes(points, known, (24, 24, 24), MM)


def test_a_sphere_has_the_volume_of_one_of_4_mm_and_its_own_class():
    found = drawn([[6.0, 6.0, 6.0], [16.3, 15.1, 14.7]])
    count = torch.bincount(found.flatten(), minlength=3)[1:] * MM**3
    assert count.numpy() == pytest.approx(4 / 3 * np.pi * 4**3, rel=0.3)
    assert found[0, 6, 6, 6] == 1 and found[0, 16, 15, 15] == 2
    assert drawn([[6.0, 6.0, 6.0], [float("nan")] * 3], [True, False]).max() == 1


def test_what_is_drawn_is_read_back_to_a_third_of_a_voxel():
    points = np.array([[6.2, 7.1, 8.3], [16.3, 15.1, 14.7]], np.float32)
    logits = (torch.nn.functional.one_hot(drawn(points), 3).movedim(-1, 1)[0, 1:].float() * 20 - 10).numpy()
    for point, found in zip(points, readout.read(readout.SPHERES, logits, grid()), strict=True):
        assert np.linalg.norm(found.position - point * MM) < MM / 3 and found.confidence > 0.99


def test_the_loss_falls_with_the_truth_and_only_labelled_heads_count():
    points = torch.tensor([[[6.0, 6, 6], [16, 15, 14]]]).repeat(2, 1, 1)
    mask = torch.tensor([[1.0, 1.0], [0.0, 0.0]])
    logits = torch.zeros(2, 2, 24, 24, 24, requires_grad=True)
    at_first = spheres.sphere_loss(logits, points, mask, MM)
    at_first.backward()
    assert logits.grad[0].abs().max() > 0 and logits.grad[1].abs().max() == 0
    right = torch.nn.functional.one_hot(drawn(points[0].tolist()), 3).movedim(-1, 1)[:, 1:].float() * 20 - 10
    assert spheres.sphere_loss(right.repeat(2, 1, 1, 1, 1), points, mask, MM) < 0.02 < at_first
    assert spheres.sphere_loss(logits, points, 0 * mask, MM) == 0


def test_the_usual_recipe_leaves_no_trace_in_a_config():
    assert "recipe" not in LossConfig().model_dump() and "recipe" not in LossConfig().model_dump_json()
    assert LossConfig.model_validate(LossConfig(recipe="spheres").model_dump()).recipe == "spheres"


def test_the_arm_runs_in_the_same_rounds(tmp_path):
    tiny = {"rounds": 1, "local_steps": 2, "warmup": 1, "crop": 32, "loss": {"recipe": "spheres"}}
    network = {"model": "teacher", "network": {"channels": [4, 8, 8, 8]}}
    standin.write_cache(tmp_path / "north", 2, "crop")
    made = experiment.run(
        Experiment(
            sites=[{"name": "north", "folder": tmp_path / "north"}], out=tmp_path / "out",
            teacher={**tiny, **network}, student={**tiny, **network}, pseudo={"kind": "hard"}, test_ratio=0.5,
        )
    )["federated"]  # fmt: skip
    assert set(made["teachers"]) == {"hps", "ms", "calc"} and made["student"]["taught"] == ["hps", "ms", "calc"]
    assert made["test"]["north"]["cases"] == 1
    for name in ("student", "teacher-ms"):  # export puts it into the bundle
        assert networks.load(tmp_path / "out" / "federated" / f"{name}.safetensors")[2]["readout"] == "centroid"


def test_its_configuration_differs_in_the_recipe_alone():
    folder = Path(__file__).resolve().parents[2] / "training" / "configs" / "distill"
    ours, theirs = (json.loads((folder / name).read_text()) for name in ("phantoms.json", "seed-recipe.json"))
    for made in (ours, theirs):
        made.pop("out")
        made.pop("pseudo")
        for training in (made["teacher"], made["student"], *made["teachers"].values()):
            training.pop("loss", None)
    assert ours == theirs
    seed = config.read(folder / "seed-recipe.json")
    assert {one.loss.recipe for one in (seed.teacher, seed.student, *seed.teachers.values())} == {"spheres"}
    assert seed.pseudo.kind == "hard"
