"""The core as a child: it says who it is, and is gone soon after whoever started it wants it gone or is gone."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import fedkdtavi_core
from fedkdtavi_core.errors import EXIT_CANCELLED

MODULE_FOLDER = Path(fedkdtavi_core.__file__).resolve().parents[1]
SAMPLE_CT = MODULE_FOLDER.parent / "Resources" / "SampleData" / "phantom-tavi.nii.gz"
LIMIT_S = 1.0
posix = pytest.mark.skipif(os.name != "posix", reason="Windows gives no orphan another parent")


def command(out: Path) -> list[str]:
    arguments = ["-m", "fedkdtavi_core", "annotate", SAMPLE_CT, "--out", out, "--device", "cpu", "--no-report"]
    return [sys.executable, *map(str, arguments), "--progress", "json", "--cancel-on-stdin-close"]


def start(out: Path, **more) -> subprocess.Popen:
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command(out), cwd=MODULE_FOLDER, **pipes, **more)


def readUntil(process: subprocess.Popen, words: str) -> dict:
    for line in process.stdout:
        event = json.loads(line)
        if words in (event.get("message"), event["event"]):
            return event
    raise AssertionError(f"it never said {words}: {process.stderr.read().decode()}")


def isAlive(pid: int) -> bool:
    state = Path(f"/proc/{pid}/stat")
    if state.parent.parent.joinpath("self").exists():
        try:
            return state.read_text().rsplit(")", 1)[1].split()[0] != "Z"
        except OSError:
            return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def secondsUntilGone(pid: int, limit: float = 10.0) -> float:
    begin = time.monotonic()
    while isAlive(pid):
        assert time.monotonic() - begin < limit
        time.sleep(0.01)
    return time.monotonic() - begin


def test_its_first_line_says_who_it_is(tmp_path):
    with start(tmp_path / "out") as process:
        first = process.stdout.readline()
        process.communicate()
    assert first.isascii()
    hello = json.loads(first)
    assert (hello["event"], hello["version"]) == ("start", fedkdtavi_core.__version__)
    assert Path(hello["file"]) == Path(fedkdtavi_core.__file__).resolve()


@pytest.mark.parametrize("moment", ["start", "Reading the CT", "Looking for the aortic root",
                                    "Looking closely at the aortic root", "Measuring"])  # fmt: skip
def test_gone_within_a_second_of_closed_input(tmp_path, moment):
    with start(tmp_path / "out") as process:
        readUntil(process, moment)
        begin = time.monotonic()
        process.stdin.close()
        code = process.wait(10)
        took = time.monotonic() - begin
    print(f"cancelled at '{moment}': gone after {took:.2f} s")
    assert took < LIMIT_S
    assert code in (EXIT_CANCELLED, 0)
    assert code == 0 or not (tmp_path / "out" / "phantom-tavi").exists()


def assertAllOrNothing(folder: Path) -> None:
    """A run may be done before it hears that it is to stop; then all of its result is there."""
    assert not folder.exists() or {"landmarks.mrk.json", "measurements.json", "provenance.json"} <= {
        path.name for path in folder.iterdir()
    }


@posix
def test_gone_when_only_the_launcher_is_killed(tmp_path):
    """As PythonSlicer's launcher stands between Slicer and Python: QProcess.kill() ends only the launcher."""
    launcher = (
        "import subprocess, sys\n"
        "child = subprocess.Popen(sys.argv[1:])\n"  # inherits the pipes, so its input stays open
        "sys.exit(child.wait())"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(
        [sys.executable, "-c", launcher, *command(tmp_path / "out")], cwd=MODULE_FOLDER, **pipes
    ) as process:
        pid = readUntil(process, "start")["pid"]
        readUntil(process, "Reading the CT")
        process.kill()
        took = secondsUntilGone(pid)
        process.stdin.close()
    print(f"launcher killed: gone after {took:.2f} s")
    assert took < LIMIT_S
    assertAllOrNothing(tmp_path / "out" / "phantom-tavi")


@posix
def test_gone_when_the_program_that_started_it_is_killed(tmp_path):
    parent = (
        "import subprocess, sys, time\nchild = subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE)\ntime.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", parent, *command(tmp_path / "out")], cwd=MODULE_FOLDER, stdout=subprocess.PIPE
    ) as process:
        pid = readUntil(process, "start")["pid"]
        readUntil(process, "Reading the CT")
        process.kill()
        assert secondsUntilGone(pid) < LIMIT_S


@posix
@pytest.mark.slow
def test_killed_at_random_moments_it_leaves_all_or_nothing(tmp_path):
    rng = random.Random(5)
    for number in range(6):
        out = tmp_path / str(number)
        with start(out) as process:
            time.sleep(rng.uniform(0.0, 5.0))
            process.send_signal(signal.SIGKILL)
            process.communicate()
        result = out / "phantom-tavi"
        assert not result.exists() or (result / "provenance.json").is_file()
