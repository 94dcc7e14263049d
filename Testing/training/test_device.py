"""Where a training runs: what it says reaches every network, digests on the CPU are as ever, no GPU is one sentence."""

from __future__ import annotations

import json
from pathlib import Path

import hospitals
import pytest
import torch

from fedkdtavi_core.errors import UsageError
from fedkdtavi_training import config as plain
from fedkdtavi_training import losses, networks, train
from fedkdtavi_training.federated import config, experiment, pseudo, site_state
from fedkdtavi_training.federated.messages import Teacher
from fedkdtavi_training.federated.site import Site
from fedkdtavi_training.federation import wire
from fedkdtavi_training.federation.child import code_of
from fedkdtavi_training.original import args, plan
from fedkdtavi_training.seed_recipe import spheres

pytestmark = pytest.mark.torch
GPU = Path(__file__).parents[2] / "training" / "configs" / "gpu"
without_cuda = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")


def stage(device="cpu"):
    return hospitals.stage(training=hospitals.training(device=device))


def test_digests_on_the_cpu_are_as_before_there_was_a_device():
    before = hospitals.stage()
    assert before.digest() == "0b6445c72ed621ce7c56ccfae5378732918eccbfe85c8a8561087d5a4fa7ae12"
    assert "device" not in before.training.model_dump() and "device" not in json.loads(before.model_dump_json())
    assert stage("cpu").digest() == before.digest() != stage("cuda").digest()
    assert config.Stage.model_validate_json(stage("cuda").model_dump_json()) == stage("cuda")


def test_the_device_reaches_the_training_of_every_site(tmp_path):
    assert stage("cuda").for_site("a", 3, tmp_path).device == "cuda"
    assert stage().for_site("a", 3, tmp_path).device == "cpu"


def test_the_published_command_line_takes_it_from_its_base(tmp_path):
    hospitals.write(tmp_path / "data", {"north": ("hps",)})
    (tmp_path / "base.json").write_text(json.dumps({"teacher": {"device": "cuda"}}))
    words = ["--data", tmp_path / "data", "--base", tmp_path / "base.json"]
    made = plan.experiment_of(args.parse([str(word) for word in words]))
    assert (made.teacher.device, made.student.device, made.devices) == ("cuda", "cpu", {"cpu", "cuda"})


def test_the_shipped_configurations_ask_for_cuda():
    student, distill = plain.read(GPU / "student.json"), config.read(GPU / "distill.json")
    assert student.device == "cuda" and student.digest() != student.model_copy(update={"device": "cpu"}).digest()
    assert distill.devices == {"cuda"}
    networks.build(distill.teacher.model, distill.teacher.network)


@without_cuda
def test_without_a_cuda_device_it_is_refused_before_anything_is_done(tmp_path):
    folders = hospitals.write(tmp_path / "data")
    for which in ("teacher", "student"):
        asked = hospitals.experiment(folders, tmp_path / "out", **{which: hospitals.training(device="cuda")})
        with pytest.raises(UsageError, match="torch sees no CUDA device here"):
            experiment.run(asked, say=lambda text: None)
    assert not (tmp_path / "out").exists()
    with pytest.raises(train.NoDeviceError, match="torch sees no CUDA device here"):
        train.Run(stage("cuda").for_site("a", 3, tmp_path))
    teacher = Teacher("teacher", hospitals.NET, networks.build("teacher", hospitals.NET).state_dict(), "t")
    with pytest.raises(train.NoDeviceError) as refused:
        pseudo.label_site(Site("a", (folders["a"],), tmp_path / "work"), stage("cuda"), 1, {"hps": teacher})
    assert code_of(refused.value) is wire.Code.DEVICE and "no CUDA device" in wire.sentence("device")


def test_the_teachers_look_where_they_are_told_and_the_rest_stays_here(tmp_path, monkeypatch):
    """``meta`` stands in for a GPU: a network that stayed on the CPU would give numbers, one that moved cannot."""
    monkeypatch.setattr(train, "check_device", lambda device: None)
    folders = hospitals.write(tmp_path)
    teacher = Teacher("teacher", hospitals.NET, networks.build("teacher", hospitals.NET).state_dict(), "t")
    site = Site("a", (folders["a"],), tmp_path / "work")
    training = stage().training.model_copy(update={"device": "meta"})
    with pytest.raises(NotImplementedError, match="meta tensor"):
        pseudo.label_site(site, stage().model_copy(update={"training": training}), 1, {"hps": teacher})


def test_only_the_cpu_is_asked_for_deterministic_kernels():
    try:
        train.prepare_torch("cuda")
        assert not torch.are_deterministic_algorithms_enabled()
    finally:
        train.prepare_torch()
    assert torch.are_deterministic_algorithms_enabled()


def test_no_loss_makes_its_own_tensors_elsewhere():
    """``meta`` stands in for a GPU: it has no numbers, and refuses tensors of the CPU."""
    points, mask = torch.zeros(2, 5, 3, device="meta"), torch.ones(2, 5, device="meta")
    logits, target = (torch.zeros(2, 5, 8, 8, 8, device="meta") for _ in range(2))
    mm, distance = losses.landmark_loss(logits, target, points, mask, 2.5)
    found = [mm, distance, spheres.sphere_loss(logits, points, mask, 2.5)]
    volume, known = torch.zeros(2, 1, 16, 16, 16, device="meta"), torch.ones(2, device="meta")
    found += [losses.calcium_loss(volume, volume, known), spheres.mask_loss(volume, volume, known)]
    assert {value.device.type for value in found} == {"meta"}


def test_a_site_keeps_its_gradient_scale_between_rounds(tmp_path):
    """The scaler of a CPU stands in for that of a GPU: both keep the same state."""

    def run() -> train.Run:
        made = train.Run(stage().for_site("a", 3, tmp_path))
        made.scaler, made.on_gpu = torch.amp.GradScaler("cpu", init_scale=65536.0), True
        return made

    forgetful = hospitals.stage(training=hospitals.training(moments="reset"))
    for settings in (stage(), forgetful):
        before = run()
        before.scaler.load_state_dict(before.scaler.state_dict() | {"scale": 128.0})
        site_state.keep(before, tmp_path / settings.training.moments, settings, 0)
        after = run()
        site_state.restore(after, tmp_path / settings.training.moments, settings, 1)
        assert after.scaler.get_scale() == 128.0
