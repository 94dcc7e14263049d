"""Opening the module is quick and imports nothing large; a run leaves the window live until its labels are shown."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("qt")
from FedKDTAVILib.earlyImports import MODULES, EarlyImports

SCRIPT = Path(__file__).with_name("module_start.py")


def started(*arguments: str) -> dict:
    environment = {**os.environ, "QT_QPA_PLATFORM": "offscreen"}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *arguments], env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_module_opens_quickly_and_imports_nothing_large() -> None:
    found = started()
    assert found["heavy"] == []
    assert found["setup"] < 0.5


def test_window_stands_still_for_no_import() -> None:
    found = started("--run")
    assert found["reviewed"]
    assert {"scipy", "SimpleITK"} <= set(found["heavyAtEnd"])  # while the person waited for the run anyway
    assert found["stop"] < 0.4


def test_early_imports_begin_once_and_skip_what_is_not_there(monkeypatch) -> None:
    waiting, asked = [], []

    def imported(name: str) -> None:
        asked.append(name)
        if name == MODULES[0]:
            raise ImportError(name)

    monkeypatch.setattr("FedKDTAVILib.earlyImports.importlib.import_module", imported)
    early = EarlyImports(lambda ms, function: waiting.append(function))
    early.start()
    early.start()
    while waiting:
        assert len(waiting) == 1  # the window gets its turn between two of them
        waiting.pop()()
    assert asked == list(MODULES)
