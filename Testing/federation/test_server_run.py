"""`server run`: a job is submitted again when a site has come, and says why it has left no model. No engine."""

from __future__ import annotations

import json
from pathlib import Path

import projects
import pytest

from fedkdtavi_core.errors import UsageError
from fedkdtavi_training.federation import engine, enrol, kits, server_command

pytest.importorskip("nvflare")
MODEL = "federated/teacher-hps.safetensors"


@pytest.fixture
def server(tmp_path):
    projects.write(tmp_path / kits.PROJECT, jobs=[1])
    (tmp_path / kits.AUTHORITY).mkdir()
    (tmp_path / kits.JOBS).mkdir()
    return tmp_path


def engine_whose_jobs_leave(monkeypatch, server: Path, *jobs: dict[str, str]) -> list[list[str]]:
    """Stand in for the engine's command line: each job, once waited for, has written these files."""
    asked, left = [], list(jobs)

    def flare(arguments, folder, limit_s=300.0):
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
