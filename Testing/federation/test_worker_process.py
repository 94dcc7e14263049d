"""The training process of a site: what crashes, hangs or is refused there ends in a code, never in the site's end."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import hospitals
import pytest

from fedkdtavi_core import schema
from fedkdtavi_core.errors import InputError
from fedkdtavi_training import cache, commands, networks, train
from fedkdtavi_training.federated.heads import floating
from fedkdtavi_training.federated.local_train import local_round
from fedkdtavi_training.federated.messages import Task
from fedkdtavi_training.federated.site import Site
from fedkdtavi_training.federation import child, wire
from fedkdtavi_training.federation.flare.worker_process import LOG, WorkerProcess
from fedkdtavi_training.federation.settings import SiteSettings


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return hospitals.write(tmp_path_factory.mktemp("hospitals"), {"a": ("hps", "hps")})["a"]


@pytest.fixture
def process(folder, tmp_path):
    own = SiteSettings(name="a", schema_version=schema.SCHEMA_VERSION, folders=(folder,), work=tmp_path / "work")
    made = WorkerProcess(own)
    yield made
    made.end()


def go_on() -> bool:
    return False


def task(kind: str = "count", **changes) -> tuple[str, wire.Arrays]:
    return wire.task_to_wire(Task(kind, hospitals.stage(("hps",), **changes)))


def train_task() -> Task:
    stage = hospitals.stage(("hps",))
    start = networks.build("teacher", stage.training.network, seed=1).state_dict()
    return Task("train", stage, 0, floating(start))


def test_its_round_is_that_of_this_process_to_the_bit(process, folder, tmp_path):
    train.prepare_torch()
    asked = train_task()
    done = process.work(*wire.task_to_wire(asked), None, go_on)
    here = local_round(asked.stage, Site("a", (folder,), tmp_path / "here"), asked.weights, 0)
    assert train.digest(wire.update_from_wire(*done).weights) == train.digest(here.weights)
    left = sorted(path.name for path in (tmp_path / "work").glob("*.safetensors"))
    assert left == []  # neither the task nor the answer stays


def test_a_round_on_fewer_cases_than_the_site_allows_is_not_trained(folder, tmp_path):
    own = SiteSettings(name="a", schema_version=schema.SCHEMA_VERSION, folders=(folder,), work=tmp_path, least_cases=2)
    made = WorkerProcess(own)
    try:
        asked = train_task()
        one = asked.stage.training.model_copy(update={"local_steps": 1, "batch": 1})
        few = Task("train", asked.stage.model_copy(update={"training": one}), 0, asked.weights)
        assert made.work(*wire.task_to_wire(few), None, go_on) is wire.Code.TOO_FEW
        assert "fewer than 2 cases" in (tmp_path / LOG).read_text()
        assert not isinstance(made.work(*wire.task_to_wire(asked), None, go_on), wire.Code)
    finally:
        made.end()


def test_a_crash_is_a_code_and_the_next_task_has_a_new_process(process):
    child = process.start()
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    first = child.pid
    assert not isinstance(process.work(*task(), None, go_on), wire.Code)
    assert process.start().pid != first
    os.kill(process.start().pid, signal.SIGSTOP)  # takes the task and does nothing with it
    began = time.monotonic()
    assert process.work(*task(), 0.5, go_on) is wire.Code.LATE
    assert time.monotonic() - began < 5
    assert process.work(*task(), None, lambda: True) is wire.Code.STOPPED


def test_words_stay_in_the_sites_log(process, folder, tmp_path):
    header, arrays = task()
    assert process.work(header.replace('"count"', '"shell"'), arrays, None, go_on) is wire.Code.TASK
    bad = SiteSettings(
        name="a", schema_version=schema.SCHEMA_VERSION, folders=(tmp_path / "Anna",), work=tmp_path / "bad"
    )
    other = WorkerProcess(bad)
    try:
        assert other.work(*task(), None, go_on) is wire.Code.NOTHING_TO_LEARN
    finally:
        other.end()
    assert "Anna is no folder" in (tmp_path / "bad" / LOG).read_text()


def test_crops_are_cut_for_the_closest_look_that_was_asked_for(tmp_path):
    options = ["--sites", "1", "--cases", "1", "--seed", "5", "--fast", "--spacing", "4", "--kind", "heart", "--quiet"]
    assert commands.phantom(["--out", str(tmp_path / "made"), "--labels", "all", *options]) == 0
    folders = (tmp_path / "made" / "site-1",)
    own = SiteSettings(name="a", schema_version=schema.SCHEMA_VERSION, folders=folders, work=tmp_path / "work")

    def asked(look: float | None) -> float | None:
        stage = hospitals.stage(("hps",))
        training = stage.training.model_copy(update={"closer_look_mm": look})
        return child._closer_than_before(own, Task("count", stage.model_copy(update={"training": training})))

    def spacing(closer: float | None = None) -> float:
        (path,) = cache.files(list(child.cropped(own, lambda text: None, closer).folders))
        return cache.load(path).spacing

    assert asked(None) is None and spacing() == 1.25
    assert asked(0.9) == 0.9 and spacing() == 1.25  # asked for, and not kept before it has worked
    assert spacing(0.9) == 0.9
    assert asked(0.9) is None and asked(1.0) is None and spacing() == 0.9
    (own.work / child.CLOSEST).write_text("near")
    with pytest.raises(InputError, match="holds no number"):
        child.cropped(own, lambda text: None)
