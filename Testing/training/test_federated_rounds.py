"""The rounds: who fails or is late is named and left out, order plays no part, a full disk keeps the older state."""

from __future__ import annotations

import csv
import math
import resource
import threading
import time
from collections.abc import Callable
from dataclasses import replace

import hospitals
import pytest
import torch

from fedkdtavi_core.errors import InputError, UsageError
from fedkdtavi_training import config, networks, train
from fedkdtavi_training.federated import files, local_norms, site_state, workflow
from fedkdtavi_training.federated.checkpoint import Checkpoint
from fedkdtavi_training.federated.local_train import local_round
from fedkdtavi_training.federated.messages import SiteFailedError, Task, Update
from fedkdtavi_training.federated.plain import PlainDriver
from fedkdtavi_training.federated.site import Site

pytestmark = pytest.mark.torch

START = {"backbone.w": torch.ones(3), "heads.hps.weight": torch.ones(2), "backbone.index": torch.arange(2)}


class Sites:
    """Sites that add their own number to every weight; ``disturb`` may change an answer or raise."""

    def __init__(self, numbers: dict[str, float], disturb: Callable[[Task, Update], Update] = lambda t, u: u) -> None:
        self.numbers, self.disturb = numbers, disturb
        self.sites, self.parallel = tuple(numbers), 1
        self.asked: list[tuple[int, str]] = []

    def send(self, site: str, task: Task) -> Update:
        self.asked.append((task.round_number, site))
        step = self.numbers[site]
        weights = {name: value + step for name, value in task.weights.items() if value.is_floating_point()}
        base = train.digest(task.weights)
        update = Update(site, task.round_number, base, weights, {"hps": 1.0}, {"loss": step}, site)
        return self.disturb(task, update)


def stage(rounds: int = 3, **changes):
    return hospitals.stage(("hps",), training=hospitals.training(rounds=rounds), **changes)


def test_rounds_go_on_from_each_other(tmp_path):
    said = []
    result = workflow.run(stage(), Sites({"a": 0.1, "b": 0.3}), START, tmp_path, say=said.append)
    torch.testing.assert_close(result.weights["backbone.w"], torch.full((3,), 1.6))
    assert result.weights["backbone.index"].tolist() == [0, 1]
    rows = (tmp_path / "curves.csv").read_text().splitlines()
    assert rows[0].startswith("round,site,outcome,reason,change")
    assert [row.split(",")[:3] for row in rows[1:3]] == [["1", "a", "averaged"], ["1", "b", "averaged"]]
    assert len(rows) == 7
    assert "k = 1" in said[0]
    assert not list(tmp_path.glob("round-*"))  # the updates are gone once they are in a checkpoint


def test_a_site_that_fails_sends_nan_or_is_stale_is_named_and_welcome_again(tmp_path):
    def disturb(task: Task, update: Update) -> Update:
        if update.site == "b" and task.round_number == 0:
            raise SiteFailedError("b", "no answer within 30 s")
        if update.site == "c" and task.round_number == 1:
            return replace(update, weights=update.weights | {"backbone.w": torch.full((3,), float("nan"))})
        if update.site == "c" and task.round_number == 2:
            return replace(update, round_number=1)
        return update

    said = []
    driver = Sites({"a": 0.1, "b": 0.1, "c": 0.4}, disturb)
    result = workflow.run(stage(), driver, START, tmp_path, say=said.append)
    torch.testing.assert_close(result.weights["backbone.w"], torch.full((3,), 1 + 0.25 + 0.1 + 0.1))
    assert [sentence.split(": ", 1)[1] for sentence in said if "left out" in sentence] == [
        "b is left out of round 1 (failed): no answer within 30 s",
        "c is left out of round 2 (refused): backbone.w is not finite",
        "c is left out of round 3 (refused): it answers round 2, not 3",
    ]
    outcomes = [(row["round"], row["site"], row["outcome"]) for row in result.history]
    assert (2, "b", "averaged") in outcomes


def test_without_any_usable_update_the_run_stops_and_can_go_on(tmp_path):
    def fail(task: Task, update: Update) -> Update:
        if task.round_number == 1:
            raise SiteFailedError(update.site, "is being mended")
        return update

    with pytest.raises(train.TrainingError, match="no site gave a usable update in round 2"):
        workflow.run(stage(), Sites({"a": 0.1}, fail), START, tmp_path)
    result = workflow.run(stage(), Sites({"a": 0.1}), START, tmp_path)
    assert result.rounds == 3
    whole = workflow.run(stage(), Sites({"a": 0.1}), START, tmp_path / "whole")
    assert train.digest(result.weights) == train.digest(whole.weights)


def test_who_answers_first_plays_no_part(tmp_path):
    numbers = {f"s{n}": 0.1 + 0.013 * n for n in range(5)}
    one_by_one = workflow.run(stage(), Sites(numbers), START, tmp_path / "a")
    together = Sites(numbers)
    together.parallel = 5
    assert train.digest(workflow.run(stage(), together, START, tmp_path / "b").weights) == train.digest(
        one_by_one.weights
    )


def test_updates_that_had_come_before_a_crash_are_not_asked_for_again(tmp_path):
    class CrashError(BaseException):
        pass

    def crash(task: Task, update: Update) -> Update:
        if (task.round_number, update.site) == (1, "b"):
            raise CrashError
        return update

    numbers = {"a": 0.1, "b": 0.2}
    with pytest.raises(CrashError):
        workflow.run(stage(), Sites(numbers, crash), START, tmp_path)
    driver = Sites(numbers)
    resumed = workflow.run(stage(), driver, START, tmp_path)
    assert driver.asked == [(1, "b"), (2, "a"), (2, "b")]
    whole = workflow.run(stage(), Sites(numbers), START, tmp_path / "whole")
    assert train.digest(resumed.weights) == train.digest(whole.weights)


def test_updates_that_had_come_for_another_run_do_not_count(tmp_path):
    """Same weights to start from, other data or settings: what was learned then may be held out now."""

    def fails_at_b(task, update):
        if update.site == "b":
            raise KeyboardInterrupt
        return update

    with pytest.raises(KeyboardInterrupt):
        workflow.run(stage(), Sites({"a": 0.1, "b": 0.3}, fails_at_b), START, tmp_path, inputs={"a": "old"})
    assert list(tmp_path.rglob("a.safetensors"))
    again = Sites({"a": 0.1, "b": 0.3})
    workflow.run(stage(), again, START, tmp_path, inputs={"a": "new"})
    assert again.asked[:2] == [(0, "a"), (0, "b")]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_metric_that_is_not_finite_costs_no_round_and_is_named(tmp_path, bad):
    def disturb(task: Task, update: Update) -> Update:
        if update.site == "b" and task.round_number == 1:
            return replace(update, metrics={"loss": bad, "steps": 2.0, "grad": bad})
        return update

    said = []
    sites = {"a": 0.1, "b": 0.3}
    result = workflow.run(stage(), Sites(sites, disturb), START, tmp_path / "odd", say=said.append)
    without = workflow.run(stage(), Sites(sites), START, tmp_path / "plain")
    assert train.digest(result.weights) == train.digest(without.weights)
    assert said[1:] == ["test: b counts in round 2, but its grad, loss are not finite and not told further"]
    (row,) = [row for row in result.history if (row["round"], row["site"]) == (2, "b")]
    assert (row["outcome"], row["steps"]) == ("averaged", 2.0) and not {"loss", "grad"} & row.keys()
    with (tmp_path / "odd" / "curves.csv").open(newline="") as file:
        told = [float(one["loss"]) for one in csv.DictReader(file) if one["loss"]]
    assert len(told) == 5 and all(map(math.isfinite, told))


def test_a_metric_takes_no_place_of_ours(tmp_path):
    def disturb(task: Task, update: Update) -> Update:
        return replace(update, metrics={"round": 99.0, "outcome": 1.0, "weight_hps": 7.0, "change": 0.0})

    result = workflow.run(stage(1), Sites({"a": 0.1}, disturb), START, tmp_path)
    (row,) = result.history
    assert (row["round"], row["outcome"], row["weight_hps"]) == (1, "averaged", 1.0) and row["change"] > 0


def test_of_sites_that_answer_at_once_one_is_judged_at_a_time(tmp_path, monkeypatch):
    at_once, most = set(), []
    together, written = threading.Barrier(3), files.write_tensors

    class AtOnce(Sites):
        def send(self, site: str, task: Task) -> Update:
            together.wait(10)
            return super().send(site, task)

    def slowly(path, *content):
        if path.parent.name.startswith("round-"):
            at_once.add(path)
            most.append(len(at_once))
            time.sleep(0.02)
        written(path, *content)
        at_once.discard(path)

    monkeypatch.setattr(files, "write_tensors", slowly)
    driver = AtOnce({"a": 0.1, "b": 0.2, "c": 0.3})
    driver.parallel = 3
    workflow.run(stage(2), driver, START, tmp_path)
    assert most == [1] * 6


@pytest.mark.parametrize("where", [(workflow.curves, "write"), (Checkpoint, "save"), (workflow.shutil, "rmtree")])
def test_a_crash_after_the_last_round_leaves_whole_curves_and_no_update(tmp_path, monkeypatch, where):
    class CrashError(BaseException):
        pass

    original, calls = getattr(*where), []

    def crash(*given, **options):
        calls.append(given)
        if (tmp_path / "round-00003").exists():
            raise CrashError
        return original(*given, **options)

    driver = Sites({"a": 0.1, "b": 0.3})
    with monkeypatch.context() as patched, pytest.raises(CrashError):
        patched.setattr(*where, crash)
        workflow.run(stage(), driver, START, tmp_path)
    assert calls and (tmp_path / "round-00003").exists()
    result = workflow.run(stage(), driver, START, tmp_path)
    assert result.rounds == 3 and driver.asked.count((2, "a")) == 1
    assert len((tmp_path / "curves.csv").read_text().splitlines()) == 7
    assert not list(tmp_path.glob("round-*"))


def test_another_run_in_the_same_folder_is_refused(tmp_path):
    workflow.run(stage(2), Sites({"a": 0.1}), START, tmp_path, inputs={"a": "x"})
    for changes, what in (
        ({"stage": stage(3)}, "configuration"),
        ({"driver": Sites({"a": 0.1, "b": 0.1})}, "sites"),
        ({"start": START | {"backbone.w": torch.zeros(3)}}, "first weights"),
        ({"inputs": {"a": "y"}}, "cases"),
    ):
        given = {"stage": stage(2), "driver": Sites({"a": 0.1}), "start": START, "inputs": {"a": "x"}} | changes
        with pytest.raises(UsageError, match=f"other {what}"):
            workflow.run(given["stage"], given["driver"], given["start"], tmp_path, inputs=given["inputs"])


def test_the_moving_average_is_the_result_where_it_is_wanted(tmp_path):
    averaged = hospitals.stage(("hps",), training=hospitals.training(rounds=2, ema=0.5))
    result = workflow.run(averaged, Sites({"a": 1.0}), START, tmp_path)
    first = 0.1 * 1 + 0.9 * 2  # keeps (1 + 0) / (10 + 0) in the first round
    second = (2 / 11) * first + (9 / 11) * 3
    torch.testing.assert_close(result.weights["backbone.w"], torch.full((3,), second))


def test_a_full_disk_keeps_the_older_checkpoint(tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    Checkpoint({"run": "x"}, 1, START, {}).save(path)
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(train.TrainingError, match=r"checkpoint\.safetensors cannot be written .* older one stays"):
            Checkpoint({"run": "x"}, 2, {"w": torch.zeros(100_000)}, {}).save(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_a_pickle_is_no_checkpoint(tmp_path):
    torch.save(START, tmp_path / workflow.CHECKPOINT)
    with pytest.raises(InputError, match="not a safetensors file"):
        workflow.run(stage(), Sites({"a": 0.1}), START, tmp_path)
    from safetensors.torch import save_file

    save_file({"w": torch.zeros(1)}, tmp_path / "foreign.safetensors")
    with pytest.raises(InputError, match="not written by this program"):
        files.read_tensors(tmp_path / "foreign.safetensors")


@pytest.fixture
def site(tmp_path):
    return Site("a", (hospitals.write(tmp_path)["a"],), tmp_path / "work")


def begin(settings):
    return networks.build("teacher", settings.training.network, seed=1).state_dict()


def test_a_local_round_is_a_function_of_seed_site_and_round(site, tmp_path):
    settings = hospitals.stage(("hps",), training=hospitals.training(moments="reset"))
    one = local_round(settings, site, begin(settings), 0)
    digest = train.digest(one.weights)
    assert train.digest(local_round(settings, site, begin(settings), 0).weights) == digest
    assert train.digest(local_round(settings, site, begin(settings), 1).weights) != digest
    renamed = replace(site, name="z")
    assert train.digest(local_round(settings, renamed, begin(settings), 0).weights) != digest
    assert {name.split(".")[1] for name in one.weights if name.startswith("heads")} == {"hps"}
    assert one.head_weights == {"hps": 2.0}
    assert one.metrics["steps"] == 2


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_kept_moments_matter_and_a_round_done_again_starts_from_the_same(site, optimizer):
    settings = hospitals.stage(("hps",), training=hospitals.training(optimizer=optimizer))
    first = local_round(settings, site, begin(settings), 0)
    weights = begin(settings) | first.weights
    second = train.digest(local_round(settings, site, weights, 1).weights)
    assert train.digest(local_round(settings, site, weights, 1).weights) == second
    forgetful = hospitals.stage(("hps",), training=hospitals.training(optimizer=optimizer, moments="reset"))
    assert train.digest(local_round(forgetful, site, weights, 1).weights) != second


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_frozen_parts_do_not_move(site, optimizer):
    settings = hospitals.stage(("ms",), heads_only=True, training=hospitals.training(optimizer=optimizer))
    start = begin(settings)
    update = local_round(settings, site, start, 0)
    assert set(update.weights) == {"heads.ms.weight", "heads.ms.bias"}
    assert any(not torch.equal(update.weights[name], start[name]) for name in update.weights)


def test_a_site_without_labels_sends_nothing(tmp_path):
    folders = hospitals.write(tmp_path)
    settings = hospitals.stage(("ms",))
    update = local_round(settings, Site("b", (folders["b"],), tmp_path / "work"), begin(settings), 0)
    assert (update.weights, update.head_weights) == ({}, {})
    with pytest.raises(UsageError, match="no site has labels for ms"):
        workflow.run(settings, PlainDriver([Site("b", (folders["b"],), tmp_path)]), begin(settings), tmp_path / "out")


def test_weights_of_another_network_and_losses_that_are_no_number_are_named(site, tmp_path):
    settings = hospitals.stage(("hps",))
    other = networks.build("teacher", {"channels": [8, 16]}).state_dict()
    with pytest.raises(InputError, match="a: the weights are of another network"):
        local_round(settings, site, other, 0)
    wild = {name: value * float("inf") for name, value in begin(settings).items()}
    with pytest.raises(train.TrainingError, match="no step of round 1 had a finite loss"):
        local_round(settings, site, wild, 0)
    hasty = hospitals.stage(("hps",), training=hospitals.training(bad_steps=1))
    with pytest.raises(train.TrainingError, match="not finite 1 times"):
        local_round(hasty, site, wild, 0)
    driver = PlainDriver([site, replace(site, name="b", folders=(tmp_path / "nothing",))])
    said = []
    result = workflow.run(settings, driver, begin(settings), tmp_path / "out", say=said.append)
    assert {row["site"]: row["outcome"] for row in result.history} == {"a": "averaged", "b": "failed"}
    assert "nothing" in next(sentence for sentence in said if "b is left out of round 1" in sentence)


def test_a_late_site_is_left_out(site, tmp_path):
    hurried = hospitals.stage(("hps",), deadline_s=1e-9)
    said = []
    with pytest.raises(train.TrainingError, match="no site gave a usable update"):
        workflow.run(hurried, PlainDriver([site]), begin(hurried), tmp_path / "out", say=said.append)
    assert "no answer before the deadline (1 of 2 steps)" in said[-1]


def test_a_site_goes_on_with_its_own_norms_and_moments(tmp_path, chests):
    settings = hospitals.stage(aggregation={"local_norms": True})
    plain = config.TrainConfig(task="coarse", cache=[chests], out=tmp_path, steps=1, network={"channels": [4, 8]})
    run = train.Run(plain)
    norm = next(iter(sorted(local_norms.names(run.network))))
    with torch.no_grad():
        run.network.state_dict()[norm].fill_(5.0)
    site_state.keep(run, tmp_path / "state", settings, 0)
    fresh = train.Run(plain)
    before = {name: value.clone() for name, value in fresh.network.state_dict().items()}
    site_state.restore(fresh, tmp_path / "state", settings, 0)  # this round's own state is not its beginning
    assert (fresh.network.state_dict()[norm] == before[norm]).all()
    site_state.restore(fresh, tmp_path / "state", settings, 1)
    changed = {name for name, value in fresh.network.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {norm}
    other = train.Run(plain)
    site_state.restore(other, tmp_path / "state", hospitals.stage(), 1)  # of another configuration
    assert (other.network.state_dict()[norm] == before[norm]).all()
    for number in (1, 2, 3):
        site_state.keep(run, tmp_path / "state", settings, number)
    assert [path.name for path in sorted((tmp_path / "state").iterdir())] == [
        "round-00002.safetensors",
        "round-00003.safetensors",
    ]


def test_fedprox_holds_a_site_near_its_start(site):
    plain = hospitals.stage(("hps",))
    near = hospitals.stage(("hps",), aggregation={"rule": "fedprox", "mu": 100.0})
    start = begin(plain)
    moved, held = (
        sum(
            float((value - start[name]).square().sum())
            for name, value in local_round(s, site, start, 0).weights.items()
        )
        for s in (plain, near)
    )
    assert held < moved
