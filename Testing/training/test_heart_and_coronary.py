"""The heart's classes as input and as output, the arteries as a last layer, and the second kind of transformer."""

from __future__ import annotations

import dataclasses
import json

import hospitals
import numpy as np
import pytest
import standin
import torch

from fedkdtavi_core.errors import InputError, UsageError
from fedkdtavi_training import cache, data, export, losses, networks
from fedkdtavi_training.config import LossConfig, TrainConfig
from fedkdtavi_training.federated import experiment as federated
from fedkdtavi_training.federated.heads import BACKBONE, part_of, part_weight
from fedkdtavi_training.federated.local_train import local_round
from fedkdtavi_training.federated.site import Site, gather
from fedkdtavi_training.original import command
from fedkdtavi_training.phantom.render import render_crop

QUIET = {"context": 0, "motion": 0, "streaks": 0, "slices": 0, "in_plane": 0, "noise": 0, "contrast": 0}


def config(folder, network, **more):
    return TrainConfig.model_validate(
        {"task": "teacher", "cache": [folder], "out": folder, "held_out": 0, "steps": 2, "crop": 32, "network": network}
        | {"loss": {"spacing_mm": 2.5}, "augment": QUIET}
        | more
    )


def with_arteries(folder, count=2):
    """Stand-ins whose tube's rim stands for arteries."""
    folder.mkdir(parents=True)
    for n in range(count):
        made = standin.make(n, 40, 2.5)
        mask = (made.hu > 380).astype(np.uint8)
        cache.save(folder / f"case_{n:06d}.npz", dataclasses.replace(made, coronary=mask))
    return folder


def without_heart(folder):
    """Every case of a cache as a site's crops were before the coarse network drew the heart."""
    for path in folder.glob("case_*.npz"):
        made = standin.make(int(path.stem[-6:]), 40, 2.5)
        made.info["heart_known"] = False
        cache.save(path, dataclasses.replace(made, heart=np.zeros_like(made.heart)))
    return folder


def test_a_sample_is_the_same_with_and_without_the_heart(tmp_path):
    folder = hospitals.write(tmp_path, {"a": ("hps ms calc",)})["a"]
    plain = data.CropDataset(cache.files([folder]), config(folder, {}))[1]
    seen = data.CropDataset(cache.files([folder]), config(folder, {"in_channels": 2, "heart": True}))[1]
    assert plain["image"].shape == (1, 32, 32, 32) and seen["image"].shape == (2, 32, 32, 32)
    for name, value in plain.items():
        assert np.array_equal(value, seen["image"][:1] if name == "image" else seen[name])
    assert {*np.unique(seen["image"][1])} == {0.0, np.float32(6 / 7)}  # the stand-in's tube is the aorta, class 6 of 7
    assert seen["heart_mask"] == 1 and np.array_equal(seen["heart"] > 0, seen["image"][1] > 0)
    without_heart(folder)
    with pytest.raises(InputError, match="no heart classes"):
        data.CropDataset(cache.files([folder]), config(folder, {"in_channels": 2}))[0]
    assert data.CropDataset(cache.files([folder]), config(folder, {"heart": True}))[0]["heart_mask"] == 0


def test_the_heart_heads_loss_counts_only_what_is_known():
    classes = torch.zeros(2, 8, 8, 8, dtype=torch.int64)
    classes[:, 2:6, 2:6, 2:6] = 6
    right = torch.nn.functional.one_hot(classes, 8).movedim(-1, 1).float()[:, :, ::2, ::2, ::2] * 20
    known, first = torch.ones(2), torch.tensor([1.0, 0.0])
    best = losses.heart_head_loss(right, classes, known)
    assert best < 1e-3 < losses.heart_head_loss(right.flip(1), classes, known)
    spoilt = torch.cat([right[:1], right[1:].flip(1)])
    assert losses.heart_head_loss(spoilt, classes, first) < 1e-3
    assert losses.heart_head_loss(right.flip(1), classes, torch.zeros(2)) == 0


@pytest.mark.parametrize("extra", [{"heart": True}, {"coronary": True}])
def test_an_extra_head_changes_no_other_first_weight(extra):
    plain, more = (networks.build("teacher", {"channels": [4, 8]} | add, seed=3) for add in ({}, extra))
    added = more.state_dict()
    assert all(torch.equal(value, added[name]) for name, value in plain.state_dict().items())
    assert {part_of(name) for name in added.keys() - plain.state_dict().keys()} == {*extra}
    assert plain.arguments == {"in_channels": 1, "channels": [4, 8]}  # and older weights describe themselves as ever


def test_the_heart_head_is_averaged_by_cases_with_classes_and_moves_no_backbone(tmp_path):
    folder = hospitals.write(tmp_path, {"a": ("hps", "hps", "")})["a"]
    site = Site("a", (folder,), tmp_path / "work")
    network = hospitals.NET | {"heart": True}
    stage = hospitals.stage(("hps",), training=hospitals.training(network=network))
    start = networks.build("teacher", network, seed=1).state_dict()
    update = local_round(stage, site, start, 0)
    assert update.head_weights == {"hps": 2.0, "heart": 2.0}  # the case without labels is not learned from
    assert {part_of(name) for name in update.weights} == {"hps", "heart", BACKBONE}
    assert not torch.equal(update.weights["heads.heart.weight"], start["heads.heart.weight"])
    assert part_weight(BACKBONE, update.head_weights) == 2.0
    cases = gather(site, stage).digest
    without_heart(folder)
    assert gather(site, stage).digest != cases
    assert "heart" not in local_round(stage, site, start, 0).head_weights


def flags(tmp_path, *more):
    data_folder = tmp_path / "data"
    if not data_folder.exists():
        hospitals.write(data_folder, {"north": ("hps ms calc", "hps ms calc"), "south": ("hps", "hps")})
    quiet = {"network": {"channels": [4, 8]}, "warmup": 1, "crop": 32, "loss": {"spacing_mm": 2.5}, "augment": QUIET}
    unetr = {"img_size": 32, "feature_size": 2, "hidden_size": 12, "mlp_dim": 12, "num_heads": 2}
    student = quiet | {"model": "unetr", "network": unetr}
    (tmp_path / "base.json").write_text(json.dumps({"teacher": quiet, "student": student}))
    shared = ["--data", data_folder, "--out", tmp_path / "runs", "--base", tmp_path / "base.json", "--batch_maxnum", 1]
    command.main([str(word) for word in (*shared, *more)])


def trained(tmp_path, name):
    return networks.load(tmp_path / "runs" / name / "federated" / "teacher-hps.safetensors")[0]


def test_the_flags_change_what_is_trained(tmp_path, capsys):
    flags(tmp_path, "-t", 1, "--exp_name", "plain")
    flags(
        tmp_path, "-t", 1, "--exp_name", "seen", "--condition_on_seg", "--test_ratio", 0.5, "--test_on_global_updates"
    )
    flags(tmp_path, "-t", 1, "--exp_name", "drawn", "--output_seg")
    flags(tmp_path, "-t", 1, "--exp_name", "unetr", "--model_type", "unetr")
    plain, seen, drawn, unetr = (trained(tmp_path, name) for name in ("plain", "seen", "drawn", "unetr"))
    image = torch.randn(1, 2, 32, 32, 32)
    other = image.clone()
    other[:, 1] = 0
    assert not torch.equal(seen(image)["hps"], seen(other)["hps"])
    assert drawn(image[:, :1])["heart"].shape == (1, 8, 16, 16, 16) and "heart" not in plain(image[:, :1])
    assert isinstance(unetr, networks.Unetr) and unetr(image[:, :1])["hps"].shape == (1, 5, 16, 16, 16)
    assert (tmp_path / "runs" / "seen" / "test_sites.csv").exists()
    with pytest.raises(UsageError, match="takes the CT alone"):
        flags(
            tmp_path, "-t", 1, "--condition_on_seg", "--ckpt", tmp_path / "runs/plain/federated/teacher-hps.safetensors"
        )
    without_heart(tmp_path / "data" / "south")
    with pytest.raises(UsageError, match="no site gave a usable update"):
        flags(tmp_path, "-t", 1, "--exp_name", "old", "-l", "south", "--condition_on_seg", "--local")
    assert "00-case_000000 has no heart classes to condition on" in capsys.readouterr().err


def test_a_whole_distillation_that_sees_the_heart(tmp_path):
    flags(tmp_path, "--exp_name", "all", "--condition_on_seg", "--model_type", "unetr")
    student, kind, _ = networks.load(tmp_path / "runs/all/federated/student.safetensors")
    assert kind == "unetr" and networks.sees_heart(student.arguments)
    with pytest.raises(UsageError, match="is given the CT alone"):
        export._load(tmp_path / "runs/all/federated/student.safetensors", "student")


def test_an_export_leaves_the_extra_heads_out():
    network = networks.build("teacher", {"channels": [4, 8], "heart": True, "coronary": True}).eval()
    onnx = export.to_onnx(export.round_to_half(network), shape=(32, 32, 32), dynamic=False)
    assert export.compare(network, onnx, [(32, 32, 32)]) <= export.TOLERANCE


def test_the_arteries_teach_a_new_last_layer_and_nothing_else(tmp_path):
    first = tmp_path / "trained.safetensors"
    networks.save(networks.build("teacher", hospitals.NET, seed=5), "teacher", first)
    folders = {"a": with_arteries(tmp_path / "a"), "b": hospitals.write(tmp_path, {"b": ("hps ms calc",)})["b"]}
    training = hospitals.training(network=hospitals.NET | {"coronary": True})
    told = federated.run(
        hospitals.experiment(folders, tmp_path / "out", student=training, init=first), finetune=True, say=lambda s: None
    )["federated"]["student"]
    assert [*told["taught"]] == ["coronary"]
    before = networks.load(first)[0].state_dict()
    network, _, _ = networks.load(tmp_path / "out/federated/coronary.safetensors")
    after = network.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    start = networks.build("teacher", training["network"], seed=0).state_dict()
    moved = {name for name in after.keys() - before.keys() if not torch.equal(after[name], start[name])}
    assert moved == {"heads.coronary.weight", "heads.coronary.bias"}
    pooled = hospitals.experiment(folders, tmp_path / "pooled", student=training, init=first, arms=["pooled"])
    link = federated.run(pooled, finetune=True, say=lambda s: None)["pooled"]["student"]
    assert link["sites"]["pooled"]["head_weights"] == {"coronary": 2.0}
    with pytest.raises(UsageError, match="no site has labels for coronary"):
        only = {"b": folders["b"]}
        federated.run(hospitals.experiment(only, tmp_path / "none", student=training, init=first), finetune=True)


def test_a_phantoms_arteries_begin_at_the_ostia_and_change_nothing_else(tmp_path):
    plain, labelled = (render_crop([3, 4], size=48, spacing=2.5, coronary=wanted) for wanted in (False, True))
    assert plain.coronary is None and np.array_equal(plain.hu, labelled.hu)
    voxels = np.argwhere(labelled.coronary) @ labelled.grid.affine[:3, :3].T + labelled.grid.affine[:3, 3]
    for name in ("ostium_rca", "ostium_lca"):
        assert np.linalg.norm(voxels - labelled.points[name], axis=1).min() < 2.5
    assert 20 < len(voxels) < 0.02 * labelled.hu.size
    cache.write(tmp_path / "c", "crop", 1, 3, size=32, coronary=True)
    assert cache.load(tmp_path / "c" / "case_000000.npz").coronary is not None
    with pytest.raises(UsageError, match="holds another cache"):
        cache.write(tmp_path / "c", "crop", 1, 3, size=32)


def test_phantoms_of_two_versions_are_not_mixed(tmp_path):
    for name in ("old", "new"):
        cache.write(tmp_path / name, "crop", 1, 3, size=32)
    assert len(cache.files([tmp_path / "old", tmp_path / "new"])) == 2
    label = tmp_path / "old" / "cache.json"
    said = json.loads(label.read_text())
    del said["phantom"]
    label.write_text(json.dumps(said))
    with pytest.raises(UsageError, match=r"old was made by an older phantom than .*new"):
        cache.files([tmp_path / "new", tmp_path / "old"])
    assert len(cache.files([tmp_path / "old"])) == 1


def test_what_was_added_leaves_older_digests_alone():
    assert "coronary" not in LossConfig().model_dump() and LossConfig(coronary=0).model_dump()["coronary"] == 0
