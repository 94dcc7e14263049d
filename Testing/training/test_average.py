"""The mean of weights: what it is, what it tells, and what it refuses."""

from __future__ import annotations

import json

import pytest
import torch

from fedkdtavi_core.errors import UsageError
from fedkdtavi_training import commands, networks, train
from fedkdtavi_training.average import average

pytestmark = pytest.mark.torch
SMALL = {"channels": [4, 8]}


@pytest.fixture
def two(tmp_path):
    paths = []
    for seed in (1, 2):
        path = tmp_path / f"{seed}.safetensors"
        networks.save(networks.build("teacher", SMALL, seed=seed), "teacher", path, {"steps": seed, "cases": 9})
        paths.append(path)
    return paths


def state(path):
    return networks.load(path)[0].state_dict()


def test_every_weight_lies_between_by_its_share(two, tmp_path):
    told = average({two[0]: 0.25, two[1]: 0.75}, tmp_path / "mean.safetensors")
    one, other, mean = (state(path) for path in (*two, tmp_path / "mean.safetensors"))
    for name, value in mean.items():
        torch.testing.assert_close(value, 0.25 * one[name] + 0.75 * other[name])
    assert told == networks.load(tmp_path / "mean.safetensors")[2]
    assert (told["steps"], told["cases"], told["digest"]) == (1, 9, train.digest(mean))
    assert told["mean_of"] == [
        {"digest": train.digest(one), "share": 0.25},
        {"digest": train.digest(other), "share": 0.75},
    ]


def test_the_mean_of_one_network_with_itself_is_that_network(two, tmp_path):
    copy = tmp_path / "copy.safetensors"
    copy.write_bytes(two[0].read_bytes())
    assert average({two[0]: 0.5, copy: 0.5}, tmp_path / "mean")["digest"] == train.digest(state(two[0]))


@pytest.mark.parametrize("shares", [(0.5, 0.6), (1.5, -0.5), (1.0, 0.0)])
def test_shares_that_are_none_are_refused(two, tmp_path, shares):
    with pytest.raises(UsageError, match="sum to 1"):
        average(dict(zip(two, shares, strict=True)), tmp_path / "mean")
    assert not (tmp_path / "mean").exists()


def test_unlike_networks_are_refused_by_name(two, tmp_path):
    larger, closer = tmp_path / "larger", tmp_path / "closer"
    networks.save(networks.build("teacher", {"channels": [4, 12]}), "teacher", larger)
    networks.save(networks.build("teacher", SMALL), "teacher", closer, {"closer_look_mm": 0.8})
    sized = tmp_path / "sized"
    networks.save(networks.build("teacher", SMALL), "teacher", sized, {"crop_size": 96})
    # Older weights do not say how large a crop they learned from.
    assert average({two[0]: 0.5, sized: 0.5}, tmp_path / "fits")["crop_size"] == 96
    smaller = tmp_path / "smaller"
    networks.save(networks.build("teacher", SMALL), "teacher", smaller, {"crop_size": 64})
    with pytest.raises(UsageError, match="in another way"):
        average({sized: 0.5, smaller: 0.5}, tmp_path / "mean")
    for other, words in ((larger, "another network"), (closer, "in another way"), (tmp_path / "none", "none")):
        with pytest.raises(UsageError, match=words) as refused:
            average({two[0]: 0.5, other: 0.5}, tmp_path / "mean")
        assert str(other) in str(refused.value) and not (tmp_path / "mean").exists()


def test_a_folder_that_is_not_there_is_made_and_a_file_in_its_place_refused(two, tmp_path):
    average({two[0]: 0.5, two[1]: 0.5}, tmp_path / "new" / "mean")
    with pytest.raises(UsageError, match="cannot be written"):
        average({two[0]: 0.5, two[1]: 0.5}, two[0] / "mean")


def test_the_command(two, tmp_path, capsys):
    words = [f"{two[0]}=0.5", f"{two[1]}=0.5"]
    assert commands.average([*words, "--out", str(tmp_path / "mean")]) == 0
    assert [part["share"] for part in json.loads(capsys.readouterr().out)] == [0.5, 0.5]
    with pytest.raises(UsageError, match="WEIGHTS=SHARE"):
        commands.average([str(two[0]), "--out", str(tmp_path / "other")])
