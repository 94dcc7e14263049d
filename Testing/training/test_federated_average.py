"""Averages head by head, checked by hand; what must not be averaged is refused with its reason."""

from __future__ import annotations

import re
import weakref

import hospitals
import pytest
import torch

from fedkdtavi_training import networks, train
from fedkdtavi_training.federated import aggregate, fedprox, files, local_norms, median, refusals, trimmed_mean
from fedkdtavi_training.federated.messages import Task, Update

pytestmark = pytest.mark.torch
NAMES = ("backbone.w", "heads.hps.weight", "heads.ms.bias", "heads.calc_up.weight", "heads.calc.bias")


def whole(value: float) -> dict[str, torch.Tensor]:
    return {name: torch.full((2,), float(value)) for name in NAMES} | {"backbone.index": torch.arange(3)}


def spill(folder, site, value, head_weights):
    heads = set(head_weights) | {"backbone"}
    owners = dict(zip(NAMES, ("backbone", "hps", "ms", "calc", "calc"), strict=True))
    sent = {name: torch.full((2,), float(value)) for name in NAMES if owners[name] in heads}
    files.write_tensors(folder / f"{site}.safetensors", sent, {})
    return aggregate.Spilt(site, folder / f"{site}.safetensors", head_weights)


def test_each_head_by_its_own_labels_and_the_backbone_by_all(tmp_path):
    updates = [
        spill(tmp_path, "a", 1, {"hps": 3.0, "ms": 1.0, "calc": 2.0}),
        spill(tmp_path, "b", 5, {"hps": 1.0}),
        spill(tmp_path, "c", 9, {"ms": 1.0}),
    ]
    weights, frozen = aggregate.aggregate(hospitals.stage(), whole(0), updates)
    assert not frozen
    expected = {
        "backbone.w": (6 * 1 + 1 * 5 + 1 * 9) / 8,
        "heads.hps.weight": (3 * 1 + 1 * 5) / 4,
        "heads.ms.bias": (1 + 9) / 2,
        "heads.calc_up.weight": 1.0,  # one site alone
        "heads.calc.bias": 1.0,
    }
    for name, value in expected.items():
        assert weights[name].tolist() == [value, value], name
    assert weights["backbone.index"].tolist() == [0, 1, 2]


def test_a_head_with_fewer_than_k_sites_stays_and_says_so(tmp_path):
    updates = [
        spill(tmp_path, "a", 1, {"hps": 1.0, "ms": 1.0}),
        spill(tmp_path, "b", 3, {"hps": 1.0}),
    ]
    weights, frozen = aggregate.aggregate(hospitals.stage(aggregation={"k": 2}), whole(7), updates)
    assert weights["heads.hps.weight"].tolist() == [2, 2]
    assert weights["heads.ms.bias"].tolist() == [7, 7]
    assert weights["heads.calc.bias"].tolist() == [7, 7]
    assert set(frozen) == {"ms", "calc"}
    assert "1 of at least 2 sites" in frozen["ms"]


def test_robust_rules_ignore_one_wild_site():
    values = [torch.tensor([v, 2 * v]) for v in (1.0, 2.0, 1e6)]
    assert median.combine(values, [1, 1, 100]).tolist() == [2, 4]
    assert median.combine(values[:2], [1, 1]).tolist() == [1.5, 3]
    assert trimmed_mean.combine(values, [1, 1, 100], 0.2).tolist() == [2, 4]
    five = [torch.tensor([v]) for v in (-1e6, 1.0, 2.0, 6.0, 1e6)]
    assert trimmed_mean.combine(five, [1] * 5, 0.2).tolist() == [3]
    assert trimmed_mean.combine(values[:2], [1, 1], 0.2).tolist() == [1.5, 3]


def test_a_mean_over_many_sites_holds_one_of_them(tmp_path, monkeypatch):
    read, made, most = files.read_tensor, [], []

    def counted(path, name):
        tensor = read(path, name)
        made.append(weakref.ref(tensor))
        most.append(sum(one() is not None for one in made))
        return tensor

    paths = [tmp_path / f"{n}.safetensors" for n in range(6)]
    for n, path in enumerate(paths):
        files.write_tensors(path, {"w": torch.full((3,), float(n))}, {})
    monkeypatch.setattr(files, "read_tensor", counted)
    assert aggregate.weighted_mean(aggregate.OnDisk(paths, "w"), [1.0] * 6).tolist() == [2.5] * 3
    assert len(most) >= 6 and max(most) <= 2


@pytest.mark.parametrize(("rule", "value"), [("fedavg", 4.0), ("median", 2.0), ("trimmed_mean", 2.0)])
def test_the_config_chooses_the_rule(tmp_path, rule, value):
    updates = [spill(tmp_path, site, v, {"hps": 1.0}) for site, v in (("a", 1), ("b", 2), ("c", 9))]
    weights, _ = aggregate.aggregate(hospitals.stage(("hps",), aggregation={"rule": rule}), whole(0), updates)
    assert weights["heads.hps.weight"].tolist() == [value, value]


def test_fedprox_pulls_back():
    network = torch.nn.Linear(2, 1, bias=False)
    pull = fedprox.penalty(network, mu=0.5)
    assert float(pull().detach()) == 0
    with torch.no_grad():
        network.weight += torch.tensor([[3.0, 4.0]])
    assert float(pull().detach()) == pytest.approx(0.25 * 25)


def test_local_norms_are_the_affine_ones():
    network = torch.nn.Sequential(torch.nn.Conv3d(1, 4, 1), torch.nn.GroupNorm(2, 4), torch.nn.InstanceNorm3d(4))
    assert local_norms.names(network) == {"1.weight", "1.bias"}
    assert not local_norms.names(networks.build("teacher", hospitals.NET))  # MONAI's instance norm has none
    assert local_norms.names(networks.build("coarse", {"channels": [4, 8]}))


def answer(task, **changes):
    weights = {name: value + 0.1 for name, value in task.weights.items() if value.is_floating_point()}
    given = {"head_weights": {"hps": 2.0, "ms": 1.0, "calc": 1.0}, "weights": weights}
    fields = {"site": "a", "round_number": 4, "base": train.digest(task.weights), "metrics": {}, "digest": ""}
    return Update(**(fields | given | changes))


def one_changed(task, name, value):
    return answer(task).weights | {name: value}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda task: {}, None),
        (lambda task: {"round_number": 3}, "answers round 4"),
        (lambda task: {"base": "0" * 64}, "other weights"),
        (lambda task: {"head_weights": {}}, "counts no labels"),
        (lambda task: {"head_weights": {"heart": 1.0}}, "heart"),
        (lambda task: {"head_weights": {"hps": float("nan"), "ms": 1.0, "calc": 1.0}}, "counts nan"),
        (lambda task: {"head_weights": {"hps": 1e9, "ms": 1.0, "calc": 1.0}}, "labels for hps"),
        (lambda task: {"head_weights": {"hps": 1.0, "calc": 1.0}}, "holds heads.ms.bias"),
        (lambda task: {"weights": {}}, "misses"),
        (lambda task: {"weights": one_changed(task, "backbone.w", torch.full((2,), float("nan")))}, "not finite"),
        (lambda task: {"weights": one_changed(task, "backbone.w", torch.zeros(3))}, r"backbone.w is \(3,\)"),
        (lambda task: {"weights": one_changed(task, "backbone.w", torch.zeros(2).double())}, "float64"),
        (lambda task: {"weights": one_changed(task, "backbone.w", torch.full((2,), 1e4))}, "moved by"),
    ],
)
def test_unsound_updates_are_refused_with_a_reason(change, reason):
    task = Task("train", hospitals.stage(), 4, whole(1.0))
    found = refusals.reason_against(answer(task, **change(task)), task, train.digest(task.weights))
    if reason is None:
        assert found is None
    else:
        assert re.search(reason, found)
