"""The user's own folders, and the input that is watched without waiting in a read."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import pytest

from fedkdtavi_core import folders
from fedkdtavi_core.cli import stop


@pytest.mark.parametrize(
    ("system", "variables", "data", "log"),
    [
        ("linux", {}, "~/.local/share/FedKDTAVI", "~/.local/state/FedKDTAVI/log"),
        ("linux", {"XDG_DATA_HOME": "/d", "XDG_STATE_HOME": "/s"}, "/d/FedKDTAVI", "/s/FedKDTAVI/log"),
        ("linux", {"XDG_DATA_HOME": "relative"}, "~/.local/share/FedKDTAVI", "~/.local/state/FedKDTAVI/log"),
        ("darwin", {}, "~/Library/Application Support/FedKDTAVI", "~/Library/Logs/FedKDTAVI"),
        ("win32", {"LOCALAPPDATA": "/l"}, "/l/FedKDTAVI", "/l/FedKDTAVI/Logs"),
        ("win32", {}, "~/AppData/Local/FedKDTAVI", "~/AppData/Local/FedKDTAVI/Logs"),
    ],
)
def test_the_folders_are_where_each_system_wants_them(monkeypatch, system, variables, data, log):
    for name in ("XDG_DATA_HOME", "XDG_STATE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "platform", system)
    assert (folders.user_data(), folders.user_log()) == (Path(data).expanduser(), Path(log).expanduser())


def watch(answers, ended=None):
    """What was taken from an input that gives these counts of waiting bytes, and whether the run was asked to end."""
    left, taken, over = list(answers), [], []
    asked, ended = threading.Event(), ended or threading.Event()

    def waiting():
        answer = left.pop(0)
        if isinstance(answer, Exception):
            raise answer
        if not left:
            ended.set()
        return answer

    class Asked:
        """The run's flag: to have it looked at is to be asked to end."""

        def is_set(self):
            over.append(True)
            asked.set()
            return True

    stop._watch_by_looking(waiting, taken.append, Asked(), ended)
    return taken, bool(over)


def test_an_input_that_closes_ends_the_run_and_what_it_says_is_taken():
    assert watch([0, 5, 0, None]) == ([5], True)


def test_a_run_that_is_over_stops_looking():
    assert watch([0, 0]) == ([], False)


def test_an_input_that_is_no_pipe_is_not_watched():
    assert watch([OSError(6, "no pipe")]) == ([], False)
