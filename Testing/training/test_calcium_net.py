"""The calcium network: what it learns from, its loss, and its place in a bundle."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "core"))

import hospitals
import tiny_bundle

from fedkdtavi_core.bundle import verify
from fedkdtavi_core.errors import UsageError
from fedkdtavi_training import augment, bundle_weights, cache, data, export, losses, networks, train
from fedkdtavi_training.config import AugmentConfig, LossConfig, TrainConfig
from fedkdtavi_training.federated import experiment, pseudo

pytestmark = pytest.mark.torch
TINY = {"channels": [4, 8, 8]}


def config(crops, out, **changes):
    usual = {"steps": 2, "crop": 48, "network": TINY, "held_out": 6}
    return TrainConfig(task="calcium", cache=[crops], out=out, **usual | changes)


def test_it_gives_calcium_alone_voxel_by_voxel():
    network = networks.build("calcium", TINY)
    outputs = network(torch.zeros(1, 1, 48, 48, 48))
    assert {head: tuple(value.shape) for head, value in outputs.items()} == {"calc": (1, 1, 48, 48, 48)}
    assert outputs["calc"].sigmoid().mean() < 0.05  # calcium is rare
    one = torch.zeros(1, 1, 48, 48, 48)
    one[0, 0, 21, 24, 25] = 1.0
    with torch.no_grad():
        network.stem.bias.zero_()
        seen = network.stem(one)[0].abs().sum(0)
    assert seen[10, 12, 12] > 0 and seen[20, 12, 12] == 0


def test_it_learns_calcium_and_no_landmark(crops, tmp_path):
    chosen = config(crops, tmp_path)
    sample = data.dataset(chosen, cache.files([crops]))[0]
    batch = {name: torch.from_numpy(np.asarray(value))[None] for name, value in sample.items()}
    logit = torch.zeros(1, 1, 48, 48, 48, requires_grad=True)
    loss, parts = losses.total("calcium", {"calc": logit}, batch, chosen.loss)
    assert list(parts) == ["calc"]
    loss.backward()
    assert torch.all((logit.grad < 0) == (batch["calc"] > 0))


def test_each_sample_counts_alike_or_each_voxel():
    """A large deposit that is all wrong and a small one that is all right, each in a sample of its own."""
    target = torch.zeros(2, 1, 24, 24, 24)
    target[0, 0, 4:16, 4:16, 4:16] = 1
    target[1, 0, 4:9, 4:9, 4:9] = 1
    logit = torch.where(target > 0, 20.0, -20.0)
    logit[0] = -20.0
    ones = torch.ones(2)
    by_sample = losses.calcium_loss(logit, target, ones, entropy=0.0, dice="sample")
    by_voxel = losses.calcium_loss(logit, target, ones, entropy=0.0)
    assert float(by_sample) == pytest.approx(0.5, abs=0.02) and float(by_voxel) > 0.85
    empty = losses.calcium_loss(torch.full_like(logit, -20.0), 0 * target, ones, dice="sample")
    assert float(empty) < 1e-6
    unknown = losses.calcium_loss(logit, target, torch.zeros(2), dice="sample")
    assert float(unknown) == 0
    half = losses.calcium_loss(logit, target, torch.tensor([0.0, 1.0]), entropy=0.0, dice="sample")
    assert float(half) < 0.02
    assert losses.calcium_loss(logit, target, ones, 20.0) > losses.calcium_loss(logit, target, ones, 10.0)


def test_usual_weights_leave_a_configurations_digest_as_it_was():
    assert not {"calc_entropy", "calc_dice"} & LossConfig().model_dump().keys()
    assert "voxels" not in AugmentConfig().model_dump()
    assert LossConfig(calc_dice="sample").model_dump()["calc_dice"] == "sample"
    assert AugmentConfig(voxels=0.3).model_dump()["voxels"] == 0.3


def test_large_voxels_keep_the_mean_and_lose_what_is_fine():
    rng = np.random.default_rng(3)
    fine = rng.normal(0, 100, (40, 40, 40)).astype(np.float32) + 200
    quiet = AugmentConfig(contrast=0, context=0, noise=0, voxels=1)
    seen = augment.apply(fine, np.zeros((0, 3)), 0.85, quiet, np.random.default_rng(5))
    assert seen.mean() == pytest.approx(200, abs=5) and seen.std() < 60
    broad = np.full((40, 40, 40), 50.0, np.float32)
    broad[:, :, 20:] = 450.0
    seen = augment.apply(broad, np.zeros((0, 3)), 0.85, quiet, np.random.default_rng(5))
    assert np.all(np.abs(seen[:, :, :15] - 50) < 1) and np.all(np.abs(seen[:, :, 25:] - 450) < 1)


def test_it_is_trained_validated_and_comes_into_a_bundle(crops, tmp_path):
    summary = train.train(config(crops, tmp_path / "run"), echo=False)
    assert not any(key.endswith("_mm_median") for key in summary["validation"])
    assert train.train(config(crops, tmp_path / "again"), echo=False)["digest"] == summary["digest"]

    coarse = tiny_bundle.write_bundle(tmp_path / "tiny")
    student = tmp_path / "student.safetensors"
    networks.save(networks.build("teacher", {"channels": [4, 8]}), "teacher", student)
    weights = tmp_path / "run" / train.WEIGHTS
    given = {"name": "x", "version": "1", "thresholds": {"calcium_score": 0.6}}
    made = export.assemble(tmp_path / "made", coarse, student, calcium=weights, **given)
    assert made["calcium"]["difference"] <= export.TOLERANCE
    found = verify(tmp_path / "made")
    assert found.metadata["preprocessing"]["calcium_look"] == {"size": 48, "spacing_mm": 1.25}
    assert (found.metadata["bundle_version"], found.metadata["thresholds"]["calcium_score"]) == (5, 0.6)
    card = found.read("docs/README.md").decode()
    assert "at a crop of 60 mm at 1.25 mm, and by how far a voxel's HU are" in card
    assert found.session("calcium", "cpu")(np.zeros((1, 1, 48, 48, 48), np.float32))["calc"].shape == (1, 1) + (48,) * 3

    # Its weights can be read back, to be trained on.
    bundle_weights.write(found, "calcium", tmp_path / "back.safetensors")
    again, task, told = networks.load(tmp_path / "back.safetensors")
    trained = export.round_to_half(networks.load(weights)[0]).state_dict()
    assert task == "calcium" and all(torch.equal(value, trained[name]) for name, value in again.state_dict().items())
    assert (told["crop_size"], told["crop_spacing_mm"]) == (48, 1.25)

    # Another bundle takes it over as it is, with the share that belongs to it.
    export.assemble(tmp_path / "next", coarse, student, calcium=found, name="x", version="2")
    kept = verify(tmp_path / "next")
    assert kept.read("models/calcium.onnx") == found.read("models/calcium.onnx")
    assert kept.metadata["thresholds"]["calcium_score"] == 0.6
    export.assemble(tmp_path / "none", found, student, calcium=coarse, name="x", version="3")
    assert "calcium" not in verify(tmp_path / "none").scans

    with pytest.raises(UsageError, match="holds a teacher network, a calcium network is needed"):
        export.assemble(tmp_path / "b", coarse, student, calcium=student, **given)
    with pytest.raises(UsageError, match="holds a calcium network, a student network is needed"):
        export.assemble(tmp_path / "b", coarse, weights, **given)


def test_a_federation_trains_it_as_the_teacher_of_calcium(tmp_path):
    folders = hospitals.write(tmp_path / "hospitals")
    how = hospitals.training(model="calcium", network=TINY)
    made = hospitals.experiment(folders, tmp_path / "out", teachers={"calc": how})
    found = experiment.run(made, say=lambda text: None)["federated"]
    weights = tmp_path / "out/federated/teacher-calc.safetensors"
    network, task, told = networks.load(weights)
    assert task == "calcium" and train.digest(network.state_dict()) == found["teachers"]["calc"]["digest"]
    assert found["pseudo_labels"][0]["teachers"]["calc"] == told["digest"]
    assert (told["crop_size"], told["crop_spacing_mm"]) == (32, hospitals.SPACING) and "untaught" not in told

    # Task 3 makes the same teacher, and one that was made before is taken.
    alone = hospitals.experiment(folders, tmp_path / "alone", teachers={"calc": how}, task=3)
    teacher = experiment.run(alone, say=lambda text: None)["federated"]["teachers"]["calc"]
    assert teacher["digest"] == told["digest"]
    given = hospitals.experiment(folders, tmp_path / "given", teacher_weights={"calc": weights})
    again = experiment.run(given, say=lambda text: None)["federated"]
    assert again["pseudo_labels"][0]["sites"] == found["pseudo_labels"][0]["sites"]

    for wrong, words in (
        ({"teacher": how}, "teacher.model is 'calcium', which knows calcium alone: give it as `teachers.calc`"),
        ({"student": how}, "student.model is 'calcium'"),
        ({"teachers": {"ms": how}}, "a teacher of ms is a 'calcium' network, which knows calcium alone"),
    ):
        with pytest.raises(ValueError, match=words):
            hospitals.experiment(folders, tmp_path, **wrong)


def test_its_pseudo_labels_are_seen_as_closely_as_it_has_learned(tmp_path):
    """Its one look is centred on the root that the teacher of hinge points sees, or else on the crop."""
    hospitals.save(tmp_path / "case_000000.npz", 3, ["hps"])
    case = cache.load(tmp_path / "case_000000.npz")
    network = networks.build("calcium", TINY)
    alone = pseudo.look(case, {"calc": network.eval()}, 32, 5.0, closer={"calc": hospitals.SPACING})
    assert alone["calc"].shape == case.hu.shape and alone["calc"][20, 20, 20] > 0
    assert alone["calc"][0, 0, 0] == 0  # 40 mm from the middle: outside its crop, where nothing is the valve's
    assert np.isnan(alone["mean"]).all()
    coarse = pseudo.look(case, {"calc": network}, 32, 5.0, closer={"calc": hospitals.SPACING / 2})
    assert coarse["calc"] is None  # the case is not cached as finely as it has to be seen
