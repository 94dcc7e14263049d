"""`server run`: a job is submitted again when a site has come, and says why it has left no model. No engine."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from types import SimpleNamespace

import projects
import pytest

from fedkdtavi_core.errors import Cancelled, UsageError
from fedkdtavi_training.federation import command, engine, enrol, jobs, kits, project, server_command

pytest.importorskip("nvflare")
MODEL = "federated/teacher-hps.safetensors"


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.setattr(kits, "running", lambda folder: True)
    projects.write(tmp_path / kits.PROJECT, jobs=[1])
    (tmp_path / kits.AUTHORITY).mkdir()
    (tmp_path / kits.JOBS).mkdir()
    return tmp_path


def engine_whose_jobs_leave(monkeypatch, server: Path, *jobs: dict[str, str]) -> list[list[str]]:
    """Stand in for the engine's command line: each job, once waited for, has written these files."""
    asked, left = [], list(jobs)

    def flare(arguments, folder, limit_s=300.0):
        if arguments[1] == "list":
            return []
        asked.append(arguments[:2])
        if arguments[1] == "submit":
            return {"job_id": f"job-{len(asked)}"}
        for name, text in left.pop(0).items():
            path = server / name if name == engine.CONSOLE else server / kits.OUT / "task-1" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        raise UsageError("Job ended with FINISHED:EXECUTION_EXCEPTION; see its log.")

    monkeypatch.setattr(enrol, "flare", flare)
    return asked


def test_a_job_that_a_site_has_come_to_is_submitted_again_until_it_leaves_a_model(server, monkeypatch):
    again = {"again.json": json.dumps({"site": "site-2"})}
    asked = engine_whose_jobs_leave(monkeypatch, server, again, again, {MODEL: ""})
    said = []
    server_command.run(server, None, said.append)
    assert [what for _, what in asked] == ["submit", "wait"] * 3
    assert sum("site-2 has come" in line for line in said) == 2
    assert said[-1].endswith("done")
    server_command.run(server, None, said.append)
    assert said[-1].endswith("done before") and len(asked) == 6


@pytest.mark.parametrize("left", [
    {"failed.txt": "No site gave an update; mend the sites.\n"},
    {engine.CONSOLE: "x - FATAL_SYSTEM_ERROR received: No site gave an update; mend the sites.\n"},
])  # fmt: skip
def test_a_job_without_a_model_ends_with_the_controllers_own_sentence(server, monkeypatch, left):
    engine_whose_jobs_leave(monkeypatch, server, left)
    with pytest.raises(UsageError) as error:
        server_command.run(server, None, print)
    assert "No site gave an update; mend the sites);" in str(error.value)
    assert projects.is_sentence(str(error.value))


def test_a_reason_of_an_earlier_job_is_not_told_again(server, monkeypatch):
    (server / engine.CONSOLE).write_text("FATAL_SYSTEM_ERROR received: something long ago\n")
    engine_whose_jobs_leave(monkeypatch, server, {})
    with pytest.raises(UsageError, match="FINISHED:EXECUTION_EXCEPTION"):
        server_command.run(server, None, print)


def engine_with_jobs(monkeypatch, states: dict[str, str], abort=lambda number: None, lost: str = "") -> list[str]:
    """Stand in for the engine's command line: these jobs are there, and end when they are told to.

    ``lost`` is listed as one that runs, and does not: its server was killed.
    """
    asked = []

    def flare(arguments, folder, limit_s=300.0):
        assert arguments[-2:] == ["--startup-kit", str(folder / kits.COORDINATOR)]
        if arguments[1] == "list":
            return [
                {"job_id": number, "job_name": f"job-{number}", "status": state} for number, state in states.items()
            ]
        if arguments[:3] == ["system", "status", "server"]:
            return {"jobs": [{"job_id": one} for one, state in states.items() if state == "RUNNING" and one != lost]}
        asked.append(" ".join(arguments[1:-2]))
        if arguments[1] == "abort":
            abort(arguments[2])
            states[arguments[2]] = "FINISHED:ABORTED"
        return {"job_id": "9"}

    monkeypatch.setattr(enrol, "flare", flare)
    monkeypatch.setattr(jobs, "_PAUSE_S", 0.0)
    return asked


def test_cancel_ends_the_queued_jobs_before_the_one_that_runs(server, monkeypatch):
    states = {"1": "FINISHED:COMPLETED", "2": "RUNNING", "3": "SUBMITTED"}
    asked, said = engine_with_jobs(monkeypatch, states), []
    parsed = command._parser().parse_args(["server", "cancel", str(server)])
    assert parsed.run(parsed, said.append) == 0
    assert asked == ["abort 3 --force", "abort 2 --force"]
    assert "no job runs or is queued any longer" in said[-1]
    assert jobs.cancel(server, said.append) == 0
    assert said[-1] == "no job to end"


def test_a_job_that_cannot_be_ended_is_told(server, monkeypatch):
    def refuse(number):
        raise enrol.EngineError("Job 2 is not running; look.", "INTERNAL_ERROR")

    engine_with_jobs(monkeypatch, {"2": "RUNNING"}, refuse)
    monkeypatch.setattr(jobs, "_END_S", 0.0)
    with pytest.raises(UsageError, match="job-2: Job 2 is not running; look; see") as error:
        jobs.cancel(server, print)
    assert projects.is_sentence(str(error.value))


def test_cancel_waits_for_a_job_that_is_being_submitted(server, monkeypatch):
    """`run` has begun, its job is not in the list yet; cancel is called in that moment."""
    states, said, ended, lists = {}, [], threading.Event(), []

    def flare(arguments, folder, limit_s=300.0):
        what = arguments[1]
        if what == "list":
            lists.append(threading.current_thread().name)
            if lists.count("cancel") > 1:
                listed.set()
            return [{"job_id": one, "job_name": "job", "status": state} for one, state in states.items()]
        if what == "submit":
            begun.set()
            assert listed.wait(10)  # cancel has found nothing by now
            states["1"] = "SUBMITTED"
        if what == "abort":
            states["1"] = "FINISHED:ABORTED"
            ended.set()
        if what == "wait":
            assert ended.wait(10)
            raise enrol.EngineError("Job '1' was aborted; see.", "JOB_ABORTED")
        return {"job_id": "1"}

    begun, listed = threading.Event(), threading.Event()
    monkeypatch.setattr(enrol, "flare", flare)
    monkeypatch.setattr(jobs, "_PAUSE_S", 0.01)

    def cancel() -> None:
        assert begun.wait(10)
        jobs.cancel(server, said.append)
        listed.set()  # lets `run` end, should cancel not have waited

    other = threading.Thread(target=cancel, name="cancel")
    other.start()
    with pytest.raises(Cancelled, match="was cancelled"):
        server_command.run(server, None, print)
    other.join(10)
    assert said[0] == "no job yet, but a `run` is about to submit one: waiting for it"
    assert "told to end" in said[1] and "no job runs or is queued any longer" in said[2]


def test_a_run_that_neither_submits_nor_ends_is_told(server, monkeypatch):
    engine_with_jobs(monkeypatch, {})
    monkeypatch.setattr(jobs, "_END_S", 0.0)
    with jobs.submitting(server), pytest.raises(UsageError, match="neither submits a job nor ends; end it") as error:
        jobs.cancel(server, print)
    assert projects.is_sentence(str(error.value))


def test_a_second_run_is_refused_while_the_first_lives(server, monkeypatch):
    asked = engine_with_jobs(monkeypatch, {})
    with jobs.submitting(server), pytest.raises(UsageError, match="another `run` is at work") as error:
        server_command.run(server, None, print)
    assert projects.is_sentence(str(error.value))
    assert asked == []
    with jobs.submitting(server):  # its end, however it came, leaves nothing in the way
        pass


@pytest.mark.parametrize(("state", "words"), [("RUNNING", "runs"), ("SUBMITTED", "is queued")])
def test_a_second_job_is_not_put_behind_the_first(server, monkeypatch, state, words):
    asked = engine_with_jobs(monkeypatch, {"2": state})
    with pytest.raises(UsageError, match=f"job-2 {words} at the server already; .*server cancel") as error:
        server_command.run(server, None, print)
    assert projects.is_sentence(str(error.value))
    assert asked == []


def test_a_job_that_its_server_was_killed_with_is_in_nobodys_way(server, monkeypatch):
    asked, said = engine_with_jobs(monkeypatch, {"2": "RUNNING"}, lost="2"), []
    assert jobs.cancel(server, said.append) == 0
    assert said == ["no job to end"]
    with pytest.raises(UsageError, match="ended without a model"):
        server_command.run(server, None, print)
    assert [one.split()[0] for one in asked] == ["submit", "wait"]


def test_ctrl_c_says_that_the_job_goes_on_and_how_to_end_it(server, monkeypatch):
    def flare(arguments, folder, limit_s=300.0):
        if arguments[1] == "wait":
            raise KeyboardInterrupt
        return [] if arguments[1] == "list" else {"job_id": "1"}

    monkeypatch.setattr(enrol, "flare", flare)
    with pytest.raises(Cancelled) as error:
        server_command.run(server, None, print)
    assert error.value.exit_code == 130
    assert projects.is_sentence(str(error.value))
    for words in ("goes on at the server", "federation status", "federation server cancel"):
        assert words in str(error.value)


def test_a_job_that_was_cancelled_is_no_job_that_is_done(server, monkeypatch):
    def flare(arguments, folder, limit_s=300.0):
        if arguments[1] == "wait":  # a model of an earlier run lies there
            path = server / kits.OUT / "task-1" / MODEL
            path.parent.mkdir(parents=True)
            path.touch()
            raise enrol.EngineError("Job '1' was aborted; see.", "JOB_ABORTED")
        return [] if arguments[1] == "list" else {"job_id": "1"}

    monkeypatch.setattr(enrol, "flare", flare)
    with pytest.raises(Cancelled, match="was cancelled; call `run` again"):
        server_command.run(server, None, print)


def test_without_a_server_the_command_that_starts_it_is_named(server, monkeypatch):
    monkeypatch.setattr(kits, "running", lambda folder: False)
    with pytest.raises(UsageError, match=r"the server does not run; start it with `fedkdtavi federation server start"):
        server_command.run(server, None, print)


def test_a_server_that_is_not_reached_is_told_in_our_words(server, monkeypatch):
    def flare(arguments, folder, limit_s=300.0):
        raise enrol.EngineError("Could not connect; Check.", "CONNECTION_FAILED")

    monkeypatch.setattr(enrol, "flare", flare)
    with pytest.raises(UsageError, match=r"is not reached at the host and port of project\.json; see") as error:
        server_command.run(server, None, print)
    assert "nvflare" not in str(error.value)


def trained(server: Path, task: int, head: str, configuration: str) -> None:
    """What a finished job of a teacher has left."""
    out = server / kits.OUT / f"task-{task}" / "federated"
    out.mkdir(parents=True)
    (out / f"teacher-{head}.safetensors").touch()
    (out / "summary.json").write_text(json.dumps({"teachers": {head: {"configuration": configuration}}}))


def digest(server: Path, task: int, head: str) -> str:
    plan = project.read(server / kits.PROJECT)
    made = plan.experiment(task, server, {}, {}).stage(f"teacher-{head}", (head,), plan.teacher)
    return made.digest()


def test_a_finished_teacher_of_another_plan_is_refused_with_the_folder_to_move_away(server, monkeypatch):
    asked, said = engine_with_jobs(monkeypatch, {}), []
    trained(server, 1, "hps", digest(server, 1, "hps"))
    assert server_command.run(server, None, said.append) == 0
    assert said == ["task 1 (hinge points and ostia): done before"]
    entries = projects.entries(jobs=[1, 0])
    entries["teacher"]["rounds"] += 1
    (server / kits.PROJECT).write_text(json.dumps(entries))
    for only in (None, 1, 0):  # nor does the student learn from it
        with pytest.raises(UsageError, match=r"project\.json has changed since .*; move .*out/task-1 away") as error:
            server_command.run(server, only, print)
        assert projects.is_sentence(str(error.value))
    assert asked == []


def test_a_site_that_has_left_or_another_deadline_leaves_a_finished_teacher_as_it_is(server, monkeypatch):
    engine_with_jobs(monkeypatch, {})
    trained(server, 1, "hps", digest(server, 1, "hps"))
    entries = projects.entries(jobs=[1], deadline_s=77, k=3)
    entries["sites"] = entries["sites"][:3]
    (server / kits.PROJECT).write_text(json.dumps(entries))
    said = []
    assert server_command.run(server, None, said.append) == 0
    assert said[0].endswith("done before")


def test_the_digest_is_that_of_the_rounds_themselves(server):
    """Of the stage as the rounds make it, which is what a finished teacher's summary holds."""
    federation = pytest.importorskip("fedkdtavi_training.federated.federation")
    plan = project.read(server / kits.PROJECT)
    experiment = plan.experiment(1, server, {}, {})
    driver = SimpleNamespace(sites=plan.holders(1))
    made = federation.Federation(experiment, driver, server, pace=None, say=print)
    assert made._stage("teacher-hps", ("hps",), plan.teacher).digest() == digest(server, 1, "hps")
