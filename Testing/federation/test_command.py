"""The commands of the federation, its engine's process, and its door."""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import hospitals
import projects
import pytest

import fedkdtavi_core
from fedkdtavi_core import schema
from fedkdtavi_core.errors import UsageError
from fedkdtavi_training.federation import command, connection, engine, kits, project, server_command, simulation, status

ROOT = Path(__file__).resolve().parents[2]
needs_flare = pytest.mark.skipif(importlib.util.find_spec("nvflare") is None, reason="needs the federated extra")


def test_project_shows_who_trains_what(tmp_path, capsys):
    assert command.main(["project", str(projects.write(tmp_path / "p.json"))]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "phantoms: 4 sites, server localhost:18431, k = 3"
    assert lines[2] == "  task 2, membranous septum (ms): site-1, site-2, site-3"
    assert lines[4] == "  task 0, the student (hps, ms, calc): site-1, site-2, site-3, site-4"


def test_simulate_and_status_by_the_command_line(tmp_path, capsys):
    folders = hospitals.write(tmp_path / "data", {"a": ("hps",), "b": ("hps",)})
    chosen = hospitals.experiment(folders, tmp_path / "other", task=1)
    config = tmp_path / "config.json"
    config.write_text(chosen.model_dump_json())
    assert command.main(["simulate", str(config), "--workspace", str(tmp_path / "out")]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert len(summary["federated"]["teachers"]["hps"]["digest"]) == 64
    assert not (tmp_path / "other").exists()
    assert command.main(["status", str(tmp_path / "out"), "--json", "--html", str(tmp_path / "page.html")]) == 0
    assert json.loads(capsys.readouterr().out)["stages"][0]["of"] == 2
    assert (tmp_path / "page.html").read_text().startswith("<!doctype html>")
    assert command.main(["status", str(tmp_path / "out")]) == 0
    assert "round 2 of 2, 2 sites averaged" in capsys.readouterr().out


@pytest.mark.parametrize("words", [[], ["simulate"], ["server"], ["site", "join", "x"], ["status"], ["fly"]])
def test_wrong_use_is_one_sentence(words):
    with pytest.raises(UsageError) as error:
        command.main(words)
    assert projects.is_sentence(str(error.value))


def test_a_port_in_use_is_refused():
    with socket.socket() as other:
        other.bind(("", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(UsageError, match=rf"port {port}: cannot be used \(Address already in use\); end what uses"):
            server_command.free(port)
    server_command.free(port)


@pytest.fixture
def fake(tmp_path, monkeypatch) -> Path:
    """A site's folder whose engine is a script: FAKE says what it does."""
    (tmp_path / "fake_engine.py").write_text(
        "import os, sys, time\n"
        "open('ran', 'a').write(' '.join(sys.argv[1:]) + '\\n')\n"
        "print(os.environ.get('FAKE_SAYS', ''))\n"
        "time.sleep(float(os.environ.get('FAKE_SLEEPS', 0)))\n"
        "sys.exit(int(os.environ.get('FAKE_CODE', 0)))\n"
    )
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), str(ROOT / "FedKDTAVI"), str(ROOT / "training")]))
    monkeypatch.setitem(engine._MODULES, "site", ("fake_engine", "fed_client.json"))
    monkeypatch.setattr(engine, "_PAUSE_S", 0.0)
    (tmp_path / "site" / "kit").mkdir(parents=True)
    return tmp_path / "site"


def runs(folder: Path) -> list[str]:
    return (folder / "kit" / "ran").read_text().splitlines()


def test_an_engine_that_ends_well_is_not_started_again(fake):
    said = []
    assert engine.run("site", fake, {"uid": "site-1", "org": "one"}, said.append) == 0
    assert len(runs(fake)) == 1
    assert runs(fake)[0].endswith("--set secure_train=true uid=site-1 org=one config_folder=")
    assert said == ["site: ended as it was told to"]
    assert not kits.running(fake)


def test_an_engine_that_breaks_is_started_again_but_not_for_ever(fake, monkeypatch):
    monkeypatch.setenv("FAKE_CODE", "3")
    with pytest.raises(UsageError, match=r"ended 3 times within 60 s; see .*console\.log"):
        engine.run("site", fake, {}, lambda text: None)
    assert len(runs(fake)) == 3


def test_a_site_that_was_not_let_in_says_so_with_its_versions(fake, monkeypatch):
    monkeypatch.setenv("FAKE_CODE", "1")
    monkeypatch.setenv("FAKE_SAYS", "registration rejected: register_client unauthenticated")
    with pytest.raises(UsageError) as error:
        engine.run("site", fake, {}, lambda text: None)
    assert f"fedkdtavi {fedkdtavi_core.__version__} and label schema {schema.SCHEMA_VERSION}" in str(error.value)
    assert len(runs(fake)) == 1


def test_while_the_engine_runs_somebody_looks_after_it(fake, monkeypatch):
    monkeypatch.setenv("FAKE_SLEEPS", "0.5")
    monkeypatch.setattr(engine, "_LOOK_S", 0.05)
    looked = []
    assert engine.run("site", fake, {}, lambda text: None, lambda: looked.append(1)) == 0
    assert looked


def test_what_runs_is_not_started_twice_and_can_be_stopped(fake):
    begin = (
        "import sys; from pathlib import Path; from fedkdtavi_training.federation import engine\n"
        "engine._MODULES['site'] = ('fake_engine', 'fed_client.json')\n"
        "sys.exit(engine.run('site', Path(sys.argv[1]), {}, print))\n"
    )
    environment = os.environ | {"FAKE_SLEEPS": "60"}
    process = subprocess.Popen(
        [sys.executable, "-c", begin, str(fake)], env=environment, stdout=subprocess.PIPE, text=True
    )
    try:
        end = time.monotonic() + 60
        while not (fake / "kit" / "ran").exists():
            assert time.monotonic() < end
            time.sleep(0.05)
        with pytest.raises(UsageError, match="runs already; stop it with"):
            engine.run("site", fake, {}, print)
        said = []
        engine.stop("site", fake, said.append)
        assert said == ["site: stopped"]
        assert process.wait(20) == 0
        assert process.stdout.read() == "site: stopped\n"
    finally:
        process.kill()
        process.wait()
    with pytest.raises(UsageError, match="nothing runs here; start it with"):
        engine.stop("site", fake, print)


def door_came(out: Path) -> dict[str, str]:
    """Who came, as the status says it."""
    path = out / "door.json"
    return json.loads(path.read_text())["came"] if path.exists() else {}


@needs_flare
class TestDoor:
    """A registration as the engine brings it: what the site says of itself comes with its context."""

    def knock(self, out: Path, name: str, told: object, *, kind: str = "regular", shown: bool = True):
        """``shown``: whether the engine finds its certificate and key to be those of its name."""
        from nvflare.apis.event_type import EventType
        from nvflare.apis.fl_constant import FLContextKey, ReservedKey
        from nvflare.apis.fl_context import FLContext

        from fedkdtavi_training.federation.flare.door import TOLD, ServerDoor

        peer, context = FLContext(), FLContext()
        peer.set_prop(ReservedKey.IDENTITY_NAME, name, private=False, sticky=False)
        peer.set_prop(TOLD, told, private=False, sticky=False)
        context.set_peer_context(peer)
        context.set_prop(FLContextKey.CLIENT_TYPE, kind, private=False, sticky=False)
        clients = [SimpleNamespace(name="site-1", token="old")]
        engine = SimpleNamespace(get_clients=lambda: clients)
        context.set_prop(ReservedKey.ENGINE, engine, private=True, sticky=False)
        door = ServerDoor("1.2", 1, ["site-1"], str(out))
        door.handle_event(EventType.CLIENT_REGISTER_RECEIVED, context)
        assert not door_came(out)  # it has only said its name so far
        if shown:
            clients[:] = [SimpleNamespace(name=name, token="new")]
        door.handle_event(EventType.CLIENT_REGISTER_PROCESSED, context)
        return context.get_prop(FLContextKey.UNAUTHENTICATED)

    def test_the_projects_version_is_let_in_and_noted(self, tmp_path):
        self.knock(tmp_path, "site-1", {"version": "1.2", "schema_version": 1})
        assert status.of_results(tmp_path)["refused"] == []
        assert "site-1" in door_came(tmp_path)

    def test_who_comes_under_another_name_is_refused_and_told_so_and_the_site_of_that_name_has_not_come(self, tmp_path):
        told = {"version": "1.2", "schema_version": 1}
        assert "has not shown its certificate" in self.knock(tmp_path, "site-1", told, shown=False)
        (refused,) = status.of_results(tmp_path)["refused"]
        assert refused["site"] == "site-1"
        assert "has not shown its certificate" in refused["reason"]
        assert door_came(tmp_path) == {}

    @pytest.mark.parametrize(
        ("name", "told", "words"),
        [
            ("site-1", {"version": "1.1", "schema_version": 1}, "site-1 runs fedkdtavi 1.1, the project runs 1.2"),
            ("site-1", {"version": "1.2", "schema_version": 2}, "site-1 has label schema 2, the project has 1"),
            ("site-1", None, "does not say which fedkdtavi it runs, the project runs 1.2"),
            ("site-1", "1.2", "does not say which"),
            ("site-9", {"version": "1.2", "schema_version": 1}, "it is no site of the project"),
        ],
    )
    def test_others_are_refused_and_both_versions_are_named(self, tmp_path, name, told, words):
        from nvflare.apis.fl_exception import NotAuthenticated

        with pytest.raises(NotAuthenticated, match=words):
            self.knock(tmp_path, name, told)
        refused = status.of_results(tmp_path)["refused"]
        assert words in refused[0]["reason"]
        assert name in ("site-1",) or refused[0]["site"] == "unknown"

    def test_the_coordinators_console_is_no_site(self, tmp_path):
        self.knock(tmp_path, "coordinator@phantoms.federation", None, kind="admin")
        assert not (tmp_path / "door.json").exists()

    def test_a_site_says_its_versions_before_it_registers(self):
        from nvflare.apis.event_type import EventType
        from nvflare.apis.fl_context import FLContext

        from fedkdtavi_training.federation.flare.door import TOLD, SiteDoor

        context = FLContext()
        SiteDoor("1.2", 1, "site").handle_event(EventType.BEFORE_CLIENT_REGISTER, context)
        assert context.get_all_public_props()[TOLD] == {"version": "1.2", "schema_version": 1}

    def test_a_site_notes_that_it_is_let_in_and_each_answer_of_the_server(self, tmp_path):
        from nvflare.apis.event_type import EventType
        from nvflare.apis.fl_constant import FLContextKey, ReservedKey
        from nvflare.apis.fl_context import FLContext

        from fedkdtavi_training.federation.flare.door import SiteDoor

        filters, context = [], FLContext()
        cell = SimpleNamespace(add_incoming_reply_filter=lambda *given: filters.append(given))
        engine = SimpleNamespace(get_cell=lambda: cell)
        context.set_prop(ReservedKey.ENGINE, engine, private=True, sticky=False)
        door = SiteDoor("1.2", 1, str(tmp_path))
        door.handle_event(EventType.AFTER_CLIENT_REGISTER, context)
        assert connection.answered(tmp_path) is None  # it has no token
        context.set_prop(FLContextKey.CLIENT_TOKEN, "token", private=True, sticky=False)
        door.handle_event(EventType.AFTER_CLIENT_REGISTER, context)
        assert connection.fresh(connection.answered(tmp_path))
        connection.forget(tmp_path)
        ((channel, topic, answered),) = filters
        assert (channel, topic) == ("task", "heart_beat")
        assert answered(object()) is None
        assert connection.fresh(connection.answered(tmp_path))

    @pytest.mark.parametrize(
        "asked",
        [
            {"path": "nvflare.app_common.executors.client_api_launcher_executor.ClientAPILauncherExecutor"},
            {"path": "fedkdtavi_training.federation.flare.executor.FedKDTAVIExecutor", "args": {"command": "sh"}},
            {"path": "fedkdtavi_training.federation.flare.controller.FedKDTAVIController"},
            {"name": "SubprocessLauncher", "args": {"script": "python3 x.py"}},
            "os.system",
        ],
    )
    @pytest.mark.parametrize("says_it_brings_code", [False, True])
    def test_a_site_builds_our_executor_alone_whatever_the_jobs_description_says(self, asked, says_it_brings_code):
        """With ``byoc`` in a job's description, which the server writes, the engine asks its own list no more."""
        from nvflare.apis.event_type import EventType
        from nvflare.apis.fl_constant import FLContextKey
        from nvflare.apis.fl_context import FLContext
        from nvflare.apis.fl_exception import UnsafeComponentError

        from fedkdtavi_training.federation.flare.door import EXECUTOR, SiteDoor

        def build(config: object) -> None:
            context = FLContext()
            context.set_prop(FLContextKey.COMPONENT_CONFIG, config, sticky=False, private=True)
            context.set_prop(FLContextKey.JOB_META, {"byoc": says_it_brings_code}, sticky=False, private=True)
            SiteDoor("1.2", 1, "site").handle_event(EventType.BEFORE_BUILD_COMPONENT, context)

        build({"path": EXECUTOR, "args": {}})
        with pytest.raises(UnsafeComponentError, match=r"this site runs .*FedKDTAVIExecutor alone"):
            build(asked)


def test_simulation_by_the_engine_is_handed_on(monkeypatch, tmp_path):
    if importlib.util.find_spec("nvflare") is None:
        pytest.skip("needs the federated extra")
    from fedkdtavi_training.federation.flare import simulate

    asked = []
    monkeypatch.setattr(simulate, "simulate", lambda chosen, **how: asked.append((chosen.out, how)) or {"arm": "x"})
    chosen = hospitals.experiment({"a": tmp_path}, tmp_path / "out", task=1)
    assert simulation.run(chosen, "flare", finetune=True, say=print) == {"federated": {"arm": "x"}}
    assert asked == [(tmp_path / "out", {"finetune": True, "say": print})]


def documented(name: str) -> list[str]:
    """The indented blocks of a page."""
    lines = (ROOT / "training" / "docs" / name).read_text().splitlines()
    return [line.strip() for line in lines if line.startswith("    ")]


@pytest.mark.parametrize("name", ["coordinator.md", "site-it.md"])
def test_the_commands_of_the_runbooks_are_those_of_the_program(name):
    found = [line.split("#")[0].split()[2:] for line in documented(name) if line.startswith("fedkdtavi federation")]
    assert len(found) >= 3
    for words in found:
        assert callable(command._parser().parse_args(words).run)


def test_a_hospital_joins_with_three_commands():
    found = [line.split()[2:4] for line in documented("site-it.md") if line.startswith("fedkdtavi federation")]
    assert found == [["site", "request"], ["site", "join"], ["site", "start"]]


def test_the_project_of_the_runbook_is_a_project(tmp_path):
    lines = documented("coordinator.md")
    text = "\n".join(lines[lines.index("{") : lines.index("}") + 1])
    (tmp_path / "p.json").write_text(text)
    assert project.read(tmp_path / "p.json").holders(2) == ["site-1", "site-2", "site-3"]


def help_of(parser: argparse.ArgumentParser) -> list[str]:
    """The arguments of a command, and of the commands below it, that have no description."""
    missing = []
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for below in action.choices.values():
                missing += help_of(below)
        elif not action.help:
            missing.append(f"{parser.prog} {action.dest}")
    return missing


def test_every_argument_is_described():
    assert help_of(command._parser()) == []


def test_a_reader_that_goes_away_is_no_error(tmp_path):
    """As `| head` does, for results and for sentences."""
    plan = projects.write(tmp_path / "p.json")
    program = (
        "import sys, time; from fedkdtavi_training.federation import command\n"
        "time.sleep(0.3); command._say('x' * 100000)\n"
        "sys.exit(command.main(['project', sys.argv[1]]))\n"
    )
    path = os.pathsep.join([str(ROOT / "FedKDTAVI"), str(ROOT / "training")])
    read, write = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(plan)], stdout=write, stderr=write, env=os.environ | {"PYTHONPATH": path}
    )
    os.close(write)
    os.close(read)
    assert process.wait(60) == 0


def test_anothers_folder_is_one_sentence(tmp_path, monkeypatch):
    def forbidden(self):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "exists", forbidden)
    with pytest.raises(UsageError, match=r"status\.json: may not be used by this user \(Permission denied\)") as error:
        command.main(["status", str(tmp_path)])
    assert projects.is_sentence(str(error.value))
