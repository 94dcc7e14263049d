"""`server approve`: a request is signed once its number was heard from the site, and nothing changes before."""

from __future__ import annotations

import importlib.util
import io
import json
import shutil
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

import hospitals
import projects
import pytest

from fedkdtavi_core.errors import UsageError
from fedkdtavi_training.federation import command, enrol, server_command, site_command

pytestmark = pytest.mark.skipif(importlib.util.find_spec("nvflare") is None, reason="needs the federated extra")


@dataclass
class Asked:
    """A server, and a request that it was sent."""

    server: Path
    request: Path


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Asked:
    folder = tmp_path_factory.mktemp("federation")
    plan = projects.write(folder / "project.json")
    data = hospitals.write(folder / "data", {"a": ("hps ms calc",)})["a"]
    server_command.init(plan, folder / "server", lambda text: None)
    site_command.request(plan, "site-2", [data], folder / "site-2", say=lambda text: None)
    return Asked(folder / "server", folder / "site-2" / "key" / "site-2.request.zip")


@pytest.fixture
def asked(made, tmp_path) -> Asked:
    """For one test to change."""
    shutil.copytree(made.server, tmp_path / "server")
    return Asked(tmp_path / "server", Path(shutil.copy(made.request, tmp_path)))


class Terminal(io.StringIO):
    """Somebody at the keyboard, who types this."""

    def isatty(self) -> bool:
        return True


def files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_request_is_signed_after_its_number_was_confirmed_and_not_before(asked, monkeypatch):
    said, signed = [], asked.server / "approved" / "site-2.signed.zip"

    class Watched(Terminal):
        def readline(self, *_: int) -> str:
            assert any(enrol.number(asked.request) in line for line in said)
            assert not signed.exists()
            return super().readline()

    monkeypatch.setattr(sys, "stdin", Watched("yes\n"))
    words = ["server", "approve", str(asked.server), str(asked.request)]
    parsed = command._parser().parse_args(words)
    assert parsed.run(parsed, said.append) == 0
    assert signed.exists()


@pytest.mark.parametrize("answer", ["no\n", "\n", ""])
def test_a_request_whose_number_is_not_confirmed_changes_nothing(asked, monkeypatch, answer):
    before = files(asked.server)
    monkeypatch.setattr(sys, "stdin", Terminal(answer))
    with pytest.raises(UsageError, match=r"not signed, as its number was not confirmed; ask site-2") as error:
        server_command.approve(asked.server, asked.request, 10, False, print)
    assert projects.is_sentence(str(error.value))
    assert files(asked.server) == before


def test_without_a_terminal_the_number_is_given_and_is_the_requests(asked, monkeypatch):
    before = files(asked.server)
    for stdin in (io.StringIO("yes\n"), None):
        monkeypatch.setattr(sys, "stdin", stdin)
        with pytest.raises(UsageError, match=r"nobody is there to be asked .*--number") as error:
            server_command.approve(asked.server, asked.request, 10, False, print)
        assert projects.is_sentence(str(error.value))
    for wrong in ("0000 1111 2222 3333 4444", enrol.number(asked.request)[:14], ""):
        with pytest.raises(UsageError, match="so it is not signed; ask site-2") as error:
            server_command.approve(asked.server, asked.request, 10, False, print, number=wrong)
        assert projects.is_sentence(str(error.value))
    assert files(asked.server) == before


def test_a_request_that_is_replaced_during_the_call_is_not_signed(asked, monkeypatch):
    before = files(asked.server)

    class Slow(Terminal):
        def readline(self, *_: int) -> str:
            projects.request(asked.request, public_key_sha256="ab" * 32)
            return super().readline()

    monkeypatch.setattr(sys, "stdin", Slow("yes\n"))
    with pytest.raises(UsageError, match="is another request than the one whose number was confirmed; call"):
        server_command.approve(asked.server, asked.request, 10, False, print)
    assert files(asked.server) == before


def test_a_number_that_is_not_that_of_the_key_is_not_signed_even_when_it_was_confirmed(asked):
    """Who has heard a site's number could write it into a request of a key of their own."""
    forged = asked.request.with_name("forged.zip")
    with zipfile.ZipFile(asked.request) as honest, zipfile.ZipFile(forged, "w") as other:
        for name in honest.namelist():
            content = honest.read(name)
            if name == "request.json":
                content = json.dumps(json.loads(content) | {"public_key_sha256": "ab" * 32}).encode()
            other.writestr(name, content)
    with pytest.raises(UsageError):
        server_command.approve(asked.server, forged, 10, False, print, number=enrol.number(forged))
    assert not (asked.server / "approved" / "site-2.signed.zip").exists()
