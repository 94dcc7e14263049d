"""One task to one site through FLARE: its answer, or why there is none; no site holds up the others."""

from __future__ import annotations

import threading
from contextlib import nullcontext
from types import SimpleNamespace

import hospitals
import pytest
import torch
from nvflare.apis.controller_spec import TaskCompletionStatus
from nvflare.apis.shareable import Shareable, make_reply
from nvflare.apis.signal import Signal

from fedkdtavi_training import train
from fedkdtavi_training.federated import workflow
from fedkdtavi_training.federated.messages import SiteFailedError, Task, Update
from fedkdtavi_training.federation import wire
from fedkdtavi_training.federation.flare import driver, message

SITES = ("a", "b", "c")
START = {"backbone.w": torch.ones(3), "heads.hps.weight": torch.ones(2)}


class Hall:
    """Stands in for FLARE's controller: sites answer from threads of their own, as ``answer`` says (None: never)."""

    def __init__(self, answer, connected=SITES) -> None:
        self.answer, self.cancelled, self.kept = answer, [], []
        self.connected, self.lost = list(connected), set()
        self._engine = SimpleNamespace(
            get_clients=lambda: [SimpleNamespace(name=name) for name in self.connected],
            new_context=lambda: nullcontext(SimpleNamespace()),
        )

    def get_client_disconnect_time(self, site):
        return 1.0 if site in self.lost else None

    def send(self, task, fl_ctx, targets):
        (site,) = targets
        threading.Thread(target=self._do, args=(task, site)).start()

    def _do(self, task, site):
        header, arrays = message.unpack(task.data)
        result = self.answer(site, wire.task_from_wire(header, arrays))
        if isinstance(result, TaskCompletionStatus):
            task.completion_status = result
        elif result is not None:
            client_task = SimpleNamespace(result=result)
            task.result_received_cb(client_task, None)
            self.kept.append(client_task.result)
            task.completion_status = TaskCompletionStatus.OK

    def cancel_task(self, task, completion_status=TaskCompletionStatus.CANCELLED):
        self.cancelled.append(completion_status)


def update(site: str, task: Task, step: float = 0.1) -> Update:
    weights = {name: value + step for name, value in task.weights.items()}
    return Update(site, task.round_number, train.digest(task.weights), weights, {"hps": 1.0}, {"loss": step}, "ab" * 32)


def answer(site: str, task: Task) -> Shareable:
    return message.pack(*wire.update_to_wire(update(site, task)))


def made(hall: Hall, **changes) -> driver.FlareDriver:
    return driver.FlareDriver(hall, SITES, Signal(), **changes)


def task() -> Task:
    return Task("train", hospitals.stage(("hps",)), 0, START)


def test_an_answer_comes_back_and_the_engine_holds_it_no_longer():
    hall, seen = Hall(answer), []
    back = made(hall, seen=seen.append).send("b", task())
    assert back.site == "b" and torch.equal(back.weights["backbone.w"], torch.full((3,), 1.1))
    assert seen == ["b"] and hall.kept == [None]


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (message.failure(wire.Code.DATA), "its cases could not be read (its own log says more)"),
        (make_reply("EXECUTION_EXCEPTION"), "it failed with an unknown code"),
        (Shareable(), "its answer cannot be read: A message holds no weights of ours."),
        (TaskCompletionStatus.TIMEOUT, "no answer before the deadline"),
        (TaskCompletionStatus.CLIENT_DEAD, "it has lost its connection"),
    ],
    ids=["code", "foreign", "empty", "late", "lost"],
)
def test_a_site_that_gives_no_answer_fails_with_the_reason(given, reason):
    with pytest.raises(SiteFailedError) as error:
        made(Hall(lambda site, asked: given)).send("a", task())
    assert (error.value.site, error.value.reason) == ("a", reason)


def test_a_site_that_is_not_there_is_not_waited_for():
    hall = Hall(lambda site, asked: None, connected=("a",))
    with pytest.raises(SiteFailedError, match="not connected"):
        made(hall).send("b", task())
    hall.lost.add("a")
    with pytest.raises(SiteFailedError, match="lost its connection"):
        made(hall).send("a", task())


def test_a_stop_ends_the_waiting():
    hall = Hall(lambda site, asked: None)
    waiting = made(hall)
    threading.Timer(0.2, waiting._abort.trigger, [True]).start()
    with pytest.raises(driver.StoppedError, match="go on from its last round"):
        waiting.send("a", task())
    assert hall.cancelled == [TaskCompletionStatus.ABORTED]


def test_who_comes_back_is_asked_again_for_the_round_that_the_others_have_answered(tmp_path, monkeypatch):
    monkeypatch.setattr(driver, "_DOOR_S", 0.3)
    back = set()

    def killed(site: str, asked: Task) -> Shareable | None:
        if site == "b" and asked.round_number == 1:
            back.add(site)
            return None
        return answer(site, asked)

    stage = hospitals.stage(("hps",), training=hospitals.training(rounds=3))
    with pytest.raises(driver.ReturnedError, match="b has come"):
        workflow.run(stage, made(Hall(killed), returned=back.__contains__), START, tmp_path / "cut")
    asked = []

    def noted(site: str, given: Task) -> Shareable:
        asked.append((given.round_number, site))
        return answer(site, given)

    again = workflow.run(stage, made(Hall(noted)), START, tmp_path / "cut")
    whole = workflow.run(stage, made(Hall(answer)), START, tmp_path / "whole")
    assert sorted(asked) == [(1, "b"), (2, "a"), (2, "b"), (2, "c")]
    assert train.digest(again.weights) == train.digest(whole.weights)


def test_sites_that_fail_or_send_nan_are_left_out_by_name_and_welcome_again(tmp_path):
    def disturbed(site: str, asked: Task) -> Shareable:
        if (site, asked.round_number) == ("a", 0):
            return message.failure(wire.Code.CRASHED)
        step = float("nan") if (site, asked.round_number) == ("c", 1) else 0.1
        return message.pack(*wire.update_to_wire(update(site, asked, step)))

    said = []
    stage = hospitals.stage(("hps",), training=hospitals.training(rounds=3))
    result = workflow.run(stage, made(Hall(disturbed)), START, tmp_path, say=said.append)
    assert [sentence.split(": ", 1)[1] for sentence in said if "left out" in sentence] == [
        "a is left out of round 1 (failed): its training ended unexpectedly (its own log says more)",
        "c is left out of round 2 (refused): backbone.w is not finite",
    ]
    assert [row["site"] for row in result.history if row["outcome"] == "averaged"] == [*"bc", *"ab", *"abc"]
