"""How a job begins and ends at the server: with results, with a sentence, or to go on with a site that has come."""

from __future__ import annotations

import json
from types import SimpleNamespace

import hospitals
import pytest
from nvflare.apis.fl_constant import FLContextKey
from nvflare.apis.fl_context import FLContext
from nvflare.apis.signal import Signal

from fedkdtavi_core import schema
from fedkdtavi_training.federation import settings
from fedkdtavi_training.federation.flare import controller, job
from fedkdtavi_training.federation.flare.driver import ReturnedError, StoppedError
from fedkdtavi_training.federation.progress import Door
from fedkdtavi_training.train import TrainingError


class Begun:
    """A controller of a job for sites a and b, with what it panicked about."""

    def __init__(self, folder, monkeypatch) -> None:
        own = {"name": "server", "out": str(folder / "out"), "schema_version": schema.SCHEMA_VERSION}
        (folder / settings.FILE).write_text(json.dumps(own))
        plan = hospitals.experiment({"a": folder, "b": folder}, folder / "elsewhere" / "task-0")
        written = job.write_job(plan, folder / "job")
        server = json.loads((written / "server" / "config" / "config_fed_server.json").read_text())
        self.controller = controller.FedKDTAVIController(**server["workflows"][0]["args"])
        self.panics: list[str] = []
        monkeypatch.setattr(self.controller, "system_panic", lambda text, fl_ctx: self.panics.append(text))
        self.context = FLContext()
        workspace = SimpleNamespace(get_site_config_dir=lambda: str(folder))
        self.context.set_prop(FLContextKey.WORKSPACE_OBJECT, workspace, private=True, sticky=False)
        self.out, self.monkeypatch = folder / "out" / "task-0", monkeypatch

    def run(self, federate) -> None:
        self.monkeypatch.setattr(controller.experiments, "federate", federate)
        self.controller.start_controller(self.context)
        self.controller.control_flow(Signal(), self.context)


@pytest.fixture
def begun(tmp_path, monkeypatch) -> Begun:
    return Begun(tmp_path, monkeypatch)


def fails_with(error: Exception):
    def federate(*_, **__):
        raise error

    return federate


def test_results_lie_where_this_server_says_whatever_the_job_says(begun):
    asked = []

    def federate(plan, name, driver, folder, **_):
        asked.append((driver.sites, driver.parallel, folder))

    begun.run(federate)
    assert asked == [(("a", "b"), 2, begun.out / "federated")]
    assert not begun.panics


def test_a_run_without_a_model_leaves_its_sentence(begun):
    begun.run(fails_with(TrainingError("hps: no site gave a usable update.")))
    assert begun.panics == ["hps: no site gave a usable update."]
    assert (begun.out / job.FAILED).read_text() == "hps: no site gave a usable update.\n"
    begun.run(lambda *_, **__: None)  # the next one begins without it
    assert not (begun.out / job.FAILED).exists()


def test_a_site_that_has_come_ends_the_job_to_go_on_with_it(begun):
    begun.run(fails_with(ReturnedError("b")))
    assert json.loads((begun.out / job.AGAIN).read_text()) == {"site": "b"}
    assert not begun.panics
    begun.run(fails_with(StoppedError("stopped.")))
    assert not any((begun.out / name).exists() for name in (job.AGAIN, job.FAILED))


def test_a_site_has_returned_when_it_registered_after_the_job_began(begun, monkeypatch):
    door = Door(begun.out.parent)
    door.came("a", registered=True)
    monkeypatch.setattr(controller, "now", lambda: "2999-01-01T00:00:00+00:00")
    begun.run(lambda *_, **__: None)
    assert not begun.controller._returned("a")
    monkeypatch.setattr(controller, "now", lambda: "2020-01-01T00:00:00+00:00")
    begun.run(lambda *_, **__: None)
    assert begun.controller._returned("a")
    assert not begun.controller._returned("b")
    door.came("b")  # a sign of life is no registration
    assert not begun.controller._returned("b")


def test_a_job_for_a_server_that_is_not_set_up_runs_nothing(begun, tmp_path):
    (tmp_path / settings.FILE).unlink()
    begun.run(fails_with(AssertionError("it ran")))
    assert len(begun.panics) == 1 and "cannot be read" in begun.panics[0]
