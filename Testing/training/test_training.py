"""The loop: the same digest every time, after a kill too; what is wrong is refused in one sentence."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from fedkdtavi_core.errors import InputError, UsageError
from fedkdtavi_training import commands, config, networks, train

pytestmark = pytest.mark.torch
TINY = Path(__file__).resolve().parents[2] / "training" / "configs" / "tiny.json"


def tiny(out: Path, folder: Path, **changes) -> config.TrainConfig:
    entries = json.loads(TINY.read_text()) | {"out": out, "cache": [folder]} | changes
    return config.TrainConfig.model_validate(entries)


KILLED = """
import os, signal, sys
from fedkdtavi_training import config, train
save = train.Run.save
def dying(self, path):
    save(self, path)
    os.kill(os.getpid(), signal.SIGKILL)
train.Run.save = dying
train.train(config.read(__import__("pathlib").Path(sys.argv[1])), echo=False)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "optimizer"), [("student", "adamw"), ("coarse", "adamw"), ("teacher", "adamw"), ("student", "muon")]
)
def test_a_killed_run_ends_in_the_same_weights(task, optimizer, crops, chests, tmp_path):
    folder = chests if task == "coarse" else crops
    whole = train.train(tiny(tmp_path / "whole", folder, task=task, optimizer=optimizer), echo=False)
    assert whole["skipped"] == 0
    cut = tiny(tmp_path / "cut", folder, task=task, optimizer=optimizer)
    path = tmp_path / "cut.json"
    path.write_text(cut.model_dump_json())
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    died = subprocess.run([sys.executable, "-c", KILLED, str(path)], env=environment, check=False)
    assert died.returncode == -signal.SIGKILL
    assert not (tmp_path / "cut" / train.WEIGHTS).exists()
    resumed = train.train(cut, echo=False)
    assert resumed["digest"] == whole["digest"]
    curves = [(tmp_path / name / "curve.csv").read_text() for name in ("whole", "cut")]
    assert curves[0] == curves[1]
    assert len(curves[0].splitlines()) == 5
    other = train.train(tiny(tmp_path / "other", folder, task=task, seed=8, steps=1), echo=False)
    assert other["digest"] != whole["digest"]


def test_weights_come_back_with_their_description(crops, tmp_path):
    network = networks.build("teacher", {"channels": [4, 8]}, seed=3)
    networks.save(network, "teacher", tmp_path / "w.safetensors", {"steps": 5})
    back, task, metadata = networks.load(tmp_path / "w.safetensors")
    assert (task, metadata) == ("teacher", {"steps": 5})
    assert train.digest(back.state_dict()) == train.digest(network.state_dict())
    (tmp_path / "broken.safetensors").write_bytes(b"no weights")
    with pytest.raises(ValueError, match=r"broken\.safetensors"):
        networks.load(tmp_path / "broken.safetensors")


@pytest.mark.parametrize(("task", "size"), [("student", 64), ("teacher", 32), ("coarse", 32)])
def test_outputs_have_the_layout_of_the_bundle(task, size):
    network = networks.build(task).eval()
    with torch.inference_mode():
        outputs = {k: tuple(v.shape) for k, v in network(torch.zeros(1, 1, size, size, size)).items()}
    half, whole = (size // 2,) * 3, (size,) * 3
    if task == "coarse":
        assert outputs == {"heart": (1, 8, *whole), "root": (1, 1, *whole)}
    else:
        assert outputs == {"hps": (1, 5, *half), "ms": (1, 2, *half), "calc": (1, 1, *whole)}


def test_a_step_without_a_number_changes_nothing_and_many_stop_the_run(crops, tmp_path):
    settings = tiny(tmp_path, crops, task="teacher", network={"channels": [4, 8]}, bad_steps=2)
    run = train.Run(settings)
    before = train.digest(run.network.state_dict())
    batch = {
        "image": torch.full((1, 1, 16, 16, 16), float("nan")),
        "target": torch.zeros(1, 7, 8, 8, 8),
        "points": torch.zeros(1, 7, 3),
        "mask": torch.ones(1, 7),
        "calc": torch.zeros(1, 1, 16, 16, 16),
        "calc_mask": torch.ones(1),
    }
    assert run.advance(batch) is None
    assert train.digest(run.network.state_dict()) == before
    with pytest.raises(train.TrainingError, match="2 times in a row"):
        run.advance(batch)


def test_a_checkpoint_of_another_configuration_is_refused(crops, tmp_path):
    settings = tiny(tmp_path, crops, task="teacher", network={"channels": [4, 8]})
    train.Run(settings).save(tmp_path / train.CHECKPOINT)
    with pytest.raises(UsageError, match="another configuration; give"):
        train.Run(settings.model_copy(update={"lr": 0.5})).resume(tmp_path / train.CHECKPOINT)
    (tmp_path / "config.json").write_text(settings.model_dump_json())
    with pytest.raises(UsageError, match=r"another configuration \(lr, ema differ\); give"):
        train.Run(settings.model_copy(update={"lr": 0.5, "ema": 0.5})).resume(tmp_path / train.CHECKPOINT)
    train.Run(settings.model_copy(update={"log_every": 1})).resume(tmp_path / train.CHECKPOINT)


def test_a_full_disk_keeps_the_older_checkpoint(crops, tmp_path):
    run = train.Run(tiny(tmp_path, crops, task="teacher", network={"channels": [4, 8]}))
    path = tmp_path / train.CHECKPOINT
    run.save(path)
    before, limits = path.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    run.step = 3
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(train.TrainingError, match=r"checkpoint\.safetensors cannot be written .* older one stays"):
            run.save(path)
        with pytest.raises(OSError, match="too large"):
            networks.save(run.network, "teacher", path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_what_is_no_checkpoint_is_named(crops, tmp_path):
    settings = tiny(tmp_path, crops, task="teacher", network={"channels": [4, 8]})
    path = tmp_path / train.CHECKPOINT
    torch.save({"step": 1}, path)
    with pytest.raises(InputError, match="is no checkpoint of a training"):
        train.Run(settings).resume(path)
    networks.save(networks.build("teacher", {"channels": [4, 8]}), "teacher", path)
    with pytest.raises(InputError, match="is no checkpoint of a training"):
        train.Run(settings).resume(path)
    torch.save({"step": 1}, tmp_path / "first.pt")
    for init, words in ((tmp_path / "first.pt", "not a safetensors file"), (tmp_path / "none", "is no file; give")):
        with pytest.raises(UsageError, match=words):
            train.Run(settings.model_copy(update={"init": init}))


def test_a_run_that_is_refused_leaves_the_configuration_of_the_one_that_lies_there(crops, tmp_path):
    settings = tiny(tmp_path, crops, task="teacher", network={"channels": [4, 8]})
    train.Run(settings).save(tmp_path / train.CHECKPOINT)
    (tmp_path / "config.json").write_text(settings.model_dump_json())
    with pytest.raises(UsageError, match="another configuration"):
        train.train(settings.model_copy(update={"lr": 0.5}), echo=False)
    assert config.read(tmp_path / "config.json") == settings


def test_a_run_does_not_go_on_with_other_cases(crops, tmp_path):
    own = tmp_path / "crops"
    shutil.copytree(crops, own)
    settings = tiny(tmp_path / "run", own, task="teacher", network={"channels": [4, 8]}, steps=2, held_out=1)
    train.train(settings, echo=False)
    train.train(settings, echo=False)
    first = sorted(own.glob("case_*.npz"))[0]
    shutil.copy(first, own / "case_000900.npz")
    with pytest.raises(UsageError, match="holds other cases than when this run began"):
        train.train(settings, echo=False)


def test_what_is_held_out_is_learned_from_under_no_name(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    for folder, names in ((first, "ab"), (second, "cd")):
        folder.mkdir()
        for name in names:
            (folder / f"case_{name}.npz").touch()
    again = tmp_path / "again"
    again.mkdir()
    for number, path in enumerate((first / "case_b.npz", second / "case_d.npz")):
        (again / f"case_{number}.npz").symlink_to(path)
    paths = train.cache.files([first, second, second, again])
    learning, held_out = train.part(paths, 1)
    assert [path.resolve() for path in held_out] == [second / "case_d.npz"]
    assert [path.resolve().name[5] for path in learning] == ["a", "b", "c", "c", "b"]
    assert train.part(paths, 0) == (paths, [])
    with pytest.raises(UsageError, match="holds 4 cases, 4 are held out"):
        train.part(paths, 4)


def test_an_unknown_key_is_refused_by_name(tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(TINY.read_text()) | {"mirror": True}))
    with pytest.raises(UsageError, match=r"config\.json: unknown: mirror"):
        config.read(path)
    entries = json.loads(TINY.read_text())
    path.write_text(json.dumps({key: value for key, value in entries.items() if key not in ("task", "steps")}))
    with pytest.raises(UsageError, match=r"config\.json: missing: task, steps"):
        config.read(path)
    path.write_text(json.dumps(entries))
    for word in ("--steps", "--seed"):
        with pytest.raises(UsageError, match=rf"config\.json: {word[2:]}: should be greater"):
            commands.train([str(path), word, "-1"])
    path.write_text(json.dumps(entries | {"held_out": -1}))
    with pytest.raises(UsageError, match=r"config\.json: held_out: should be greater"):
        config.read(path)
    with pytest.raises(UsageError, match="cannot be read"):
        config.read(tmp_path / "nothing.json")


SHIPPED = sorted(path for path in TINY.parent.glob("*.json") if path.stem not in ("next-round", "finetune"))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.stem)
def test_every_shipped_configuration_is_valid(path):
    settings = config.read(path)
    networks.build(settings.task, settings.network)


def test_the_shipped_finetuning_and_experiments_are_valid():
    from fedkdtavi_training.federated import config as federated

    for path in (TINY.parent / "finetune.json", TINY.parent / "distill" / "tiny.json"):
        assert federated.read(path).student.rounds >= 1


def test_learning_rate_warms_up_and_ends_low():
    settings = config.TrainConfig(task="student", cache=["x"], out="y", steps=1000, lr=1.0, warmup=100)
    rates = [train.learning_rate(settings, step) for step in range(1001)]
    assert rates[0] == pytest.approx(0.01)
    assert max(rates) == pytest.approx(1.0)
    assert rates[-1] == pytest.approx(0.01)
    assert all(a >= b for a, b in pairwise(rates[100:]))
