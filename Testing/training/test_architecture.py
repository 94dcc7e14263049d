"""What a configuration may say of its networks: as much as their constructors take, and nothing else."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys

import hospitals
import pytest

from fedkdtavi_core.errors import UsageError
from fedkdtavi_training import architecture, networks
from fedkdtavi_training.config import TrainConfig, read
from fedkdtavi_training.federated import config

pytestmark = pytest.mark.torch


@pytest.mark.parametrize("task", networks.NETWORKS)
def test_what_is_known_is_what_the_constructor_takes(task):
    taken = inspect.signature(networks.NETWORKS[task].__init__).parameters
    known = architecture.ARGUMENTS[task].model_fields
    assert set(known) == set(taken) - {"self"}
    assert {name: known[name].default for name in known} == {name: taken[name].default for name in known}


@pytest.mark.parametrize("task", networks.NETWORKS)
def test_what_a_network_says_of_itself_is_taken_and_kept_as_it_is(task, tmp_path):
    arguments = networks.build(task).arguments
    assert architecture.checked(task, arguments) is arguments
    heads = {"in_channels": 2, "heart": True, "coronary": True} if task in ("student", "teacher", "unetr") else {}
    chosen = TrainConfig(task=task, cache=[tmp_path], out=tmp_path, steps=1, network=heads)
    assert chosen.model_dump()["network"] == heads  # no defaults in it: digests stay what they were


@pytest.mark.parametrize(
    ("model", "network", "words"),
    [
        ("teacher", {"chanels": [4, 8]}, "a teacher network has no chanels; it has in_channels, heart, coronary, chan"),
        ("teacher", {"channels": "big"}, "channels: should be a list"),
        ("teacher", {"channels": [4, 8.5]}, "channels.1: should be a valid integer"),
        ("teacher", {"channels": [4]}, "channels: "),
        ("teacher", {"channels": [4, 0]}, "channels.1: should be greater than 0"),
        ("teacher", {"heart": "yes"}, "heart: should be a valid boolean"),
        ("teacher", {"in_channels": 3}, "in_channels: should be 1 or 2"),
        ("student", {"dephts": [1]}, "a student network has no dephts"),
        ("student", {"depths": [1]}, "depths: "),
        ("student", {"feature_size": 20}, "feature_size: should be a multiple of 12"),
        ("student", {"num_heads": [5, 6, 12, 24]}, "num_heads: 5 does not divide the 12 channels of stage 1"),
        ("unetr", {"img_size": 40}, "img_size: should be a multiple of 16"),
        ("unetr", {"num_heads": 7}, "num_heads: 7 does not divide hidden_size 144"),
        ("refiner", {"coronary": True}, "a refiner network has no coronary"),
        ("refiner", {"channels": [4, 8]}, "channels: "),
        ("coarse", {"in_channels": 2}, "a coarse network has no in_channels"),
    ],
)
def test_what_cannot_be_built_is_one_sentence_that_names_the_key(tmp_path, model, network, words):
    path = tmp_path / "c.json"
    path.write_text(json.dumps({"task": model, "cache": ["x"], "out": "x", "steps": 1, "network": network}))
    with pytest.raises(UsageError) as found:
        read(path)
    assert f"network: {words}" in str(found.value) and "\n" not in str(found.value)
    if model in ("coarse", "refiner"):
        return
    entries = json.loads(hospitals.experiment({"a": tmp_path}, tmp_path).model_dump_json())
    entries["student"] |= {"model": model, "network": network}
    path.write_text(json.dumps(entries))
    with pytest.raises(UsageError) as found:
        config.read(path)
    assert f"student.network: {words}" in str(found.value) and "\n" not in str(found.value)


def test_nothing_is_loaded_to_tell_it():
    code = "import sys, fedkdtavi_training.architecture; sys.exit('torch' in sys.modules or 'monai' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
