"""The refiner: shown roots that all lie alike, trained on landmarks alone, and part of a bundle that has one."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "core"))

import hospitals
import tiny_bundle

from fedkdtavi_core import schema
from fedkdtavi_core.bundle import verify
from fedkdtavi_core.errors import UsageError
from fedkdtavi_training import cache, data, export, networks, train
from fedkdtavi_training.config import AugmentConfig, TrainConfig
from fedkdtavi_training.federated import experiment

pytestmark = pytest.mark.torch
TINY = {"channels": [4, 8, 8]}
STILL = AugmentConfig(
    rotation_deg=0, scale=0, shear=0, elastic_mm=0, jitter_near_mm=0, jitter_far_share=0, contrast=0, motion=0,
    slices=0, in_plane=0, noise=0, streaks=0, context=0,
)  # fmt: skip


def quiet(_: str) -> None:
    pass


def config(crops, out, **changes):
    usual = {"steps": 2, "crop": 48, "network": TINY, "held_out": 6}
    return TrainConfig(task="refiner", cache=[crops], out=out, **usual | changes)


def test_every_root_is_shown_in_the_same_pose(crops, tmp_path):
    samples = data.dataset(config(crops, tmp_path, augment=STILL), cache.files([crops]))
    for n in range(3):
        sample = samples[n]
        hinges = 2 * sample["points"][:3] + 0.5  # voxels of the crop, 1.25 mm each
        middle = hinges.mean(axis=0)
        np.testing.assert_allclose(middle, [23.5, 23.5, 23.5 - 8 / 1.25], atol=0.01)  # its centre is 8 mm above
        np.testing.assert_allclose(hinges[:, 2], middle[2], atol=0.01)  # the annulus plane lies flat
        assert hinges[0, 0] > middle[0] + 5  # the right cusp's hinge point is always on the same side
        turn = np.cross(hinges[1] - hinges[0], hinges[2] - hinges[0])
        assert turn[2] > 0  # not mirrored: right, left, non-coronary are counter-clockwise from the aorta
        for target, point, mask in zip(sample["target"], sample["points"], sample["mask"], strict=True):
            if mask:
                assert np.abs(np.unravel_index(target.argmax(), target.shape) - point).max() <= 0.51


def test_a_root_whose_pose_nobody_knows_teaches_nothing(crops, tmp_path):
    samples = data.CropDataset([], config(crops, tmp_path))
    case = cache.load(cache.files([crops])[0])
    assert samples.sample(0, case, data.Labels.of(case))["mask"].sum() >= 5
    points = case.points.copy()
    points[schema.LANDMARK_IDS.index("hinge_lcc")] = np.nan
    lost = replace(case, points=points)
    assert samples.sample(0, lost, data.Labels.of(lost))["mask"].sum() == 0


def test_it_has_the_landmark_heads_alone():
    network = networks.build("refiner", TINY)
    outputs = network(torch.zeros(1, 1, 48, 48, 48))
    assert {head: tuple(value.shape) for head, value in outputs.items()} == {
        "hps": (1, 5, 24, 24, 24),
        "ms": (1, 2, 24, 24, 24),
    }


def test_it_is_trained_validated_and_comes_into_a_bundle(crops, tmp_path):
    summary = train.train(config(crops, tmp_path / "run"), echo=False)
    assert summary["validation"]["hinge_rcc_mm_median"] > 0 and "calc_dice_median" not in summary["validation"]
    again = train.train(config(crops, tmp_path / "again"), echo=False)
    assert again["digest"] == summary["digest"]

    tiny_bundle.write_bundle(tmp_path / "tiny")
    student = tmp_path / "student.safetensors"
    networks.save(networks.build("teacher", {"channels": [4, 8]}), "teacher", student)
    weights = tmp_path / "run" / train.WEIGHTS
    coarse = verify(tmp_path / "tiny")
    made = export.assemble(tmp_path / "made", coarse, student, refiner=weights, name="x", version="1")
    assert made["refiner"]["difference"] <= export.TOLERANCE
    found = verify(tmp_path / "made")
    assert found.metadata["preprocessing"]["aligned_look"] == {"size": 48, "spacing_mm": 1.25}
    assert found.metadata["bundle_version"] == 4
    card = found.read("docs/README.md").decode()
    assert (
        "last look: at a crop of 60 mm at 1.25 mm" in card
        and f"| refiner | 2 steps | 2 phantoms | {summary['digest'][:16]}" in card
    )
    assert found.session("refiner", "cpu")(np.zeros((1, 1, 48, 48, 48), np.float32))["ms"].shape == (1, 2, 24, 24, 24)

    # Another bundle takes it over as it is.
    export.assemble(tmp_path / "next", found, student, refiner=found, name="x", version="2")
    kept = verify(tmp_path / "next")
    assert kept.read("models/refiner.onnx") == found.read("models/refiner.onnx")
    assert kept.provenance["networks"]["refiner"] == found.provenance["networks"]["refiner"]
    export.assemble(tmp_path / "none", found, student, refiner=coarse, name="x", version="3")
    assert "refiner" not in verify(tmp_path / "none").scans

    with pytest.raises(UsageError, match="holds a teacher network, a refiner network is needed"):
        export.assemble(tmp_path / "b", coarse, student, refiner=student, name="x", version="1")
    with pytest.raises(UsageError, match="holds a refiner network, a student network is needed"):
        export.assemble(tmp_path / "b", coarse, weights, name="x", version="1")
    silent = tmp_path / "silent.safetensors"
    networks.save(networks.build("refiner", TINY), "refiner", silent)
    with pytest.raises(UsageError, match="does not say what crops it learned from"):
        export.assemble(tmp_path / "b", coarse, student, refiner=silent, name="x", version="1")


def test_a_federation_trains_it_after_the_student_from_the_same_labels(tmp_path):
    folders = hospitals.write(tmp_path / "hospitals")
    how = hospitals.training(model="refiner", network=TINY)
    plain = experiment.run(hospitals.experiment(folders, tmp_path / "plain"), say=quiet)["federated"]
    both = experiment.run(hospitals.experiment(folders, tmp_path / "both", refiner=how), say=quiet)["federated"]
    assert both["student"]["digest"] == plain["student"]["digest"] and "refiner" not in plain
    link = both["refiner"]
    network, task, told = networks.load(tmp_path / "both/federated/refiner.safetensors")
    assert task == "refiner" and train.digest(network.state_dict()) == link["digest"] == told["digest"]
    assert link["digest"] != link["first_weights"]
    assert link["pseudo_labels"] == both["pseudo_labels"][0]
    assert (told["crop_size"], told["crop_spacing_mm"]) == (32, hospitals.SPACING)
    assert both["chain"] != plain["chain"]

    # From the weights it has now, and from true labels alone.
    on = hospitals.experiment(
        folders, tmp_path / "on", refiner=how, refiner_init=tmp_path / "both/federated/refiner.safetensors", pseudo=None
    )
    assert experiment.run(on, say=quiet)["federated"]["refiner"]["first_weights"] == link["digest"]

    for wrong, words in (
        ({"refiner": hospitals.training()}, "refiner.model is 'teacher'"),
        ({"student": how}, "student.model is 'refiner'"),
        ({"teachers": {"ms": how}}, "a teacher of ms is a 'refiner'"),
        ({"refiner": how, "task": 1}, "leave `refiner` out"),
    ):
        with pytest.raises(ValueError, match=words):
            hospitals.experiment(folders, tmp_path, **wrong)
