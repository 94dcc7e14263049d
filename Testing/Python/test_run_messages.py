"""What the child says, in whatever pieces and however broken it arrives; time left; the CT handed over."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest

import fedkdtavi_core
from fedkdtavi_core.errors import UsageError
from fedkdtavi_core.readers import read_volume
from fedkdtavi_core.volume import Volume
from FedKDTAVILib.ctHandover import writeCt
from FedKDTAVILib.messages import Done, Failed, Hello, MessageFeed, ProgressMessage, helloProblem, parseLine
from FedKDTAVILib.timeLeft import TimeLeft, timeLeftText

LINES = [
    b'{"event": "start", "version": "0.1.0", "file": "/x/fedkdtavi_core/__init__.py", "pid": 3}',
    b"Warning: in some library",
    b'{"event": "progress", "fraction": 0.5, "overall": 0.25, "message": "Reading"}',
    "nicht ASCII: ü".encode(),
    b'{"event": "done", "input": "a"}',
    b'{"event": "result", "status": "done", "exit_code": 0, "cts": []}',
]
MESSAGES = [
    Hello("0.1.0", "/x/fedkdtavi_core/__init__.py"),
    ProgressMessage(0.25, "Reading"),
    Done({"event": "result", "status": "done", "exit_code": 0, "cts": []}),
]


def test_messages_in_pieces_of_any_size():
    data = b"\n".join(LINES) + b"\n"
    rng = random.Random(1)
    for _ in range(200):
        got = []
        feed = MessageFeed(got.append)
        rest = data
        while rest:
            size = rng.randint(1, 60)
            feed.output(rest[:size])
            rest = rest[size:]
        feed.close()
        assert got == MESSAGES
        assert feed.log.splitlines() == ["Warning: in some library", "nicht ASCII: ü"]


def test_half_a_message_is_no_message():
    got = []
    feed = MessageFeed(got.append)
    feed.output(LINES[0] + b"\n" + LINES[5][:30])
    feed.close()
    assert got == MESSAGES[:1]
    assert feed.log == LINES[5][:30].decode().rstrip()


def test_the_log_keeps_the_end_and_stays_small():
    feed = MessageFeed(lambda message: None)
    for number in range(5000):
        feed.error(f"line {number}\n".encode())
    feed.output(b"x" * (1 << 24))
    assert feed.log.splitlines()[-2] == "line 4999"
    assert len(feed.log) < 10_000


def test_no_line_whatever_raises():
    rng = random.Random(2)
    for _ in range(3000):
        line = bytearray(rng.choice(LINES))
        for _ in range(rng.randint(1, 4)):
            line[rng.randrange(len(line))] = rng.randrange(256)
        parseLine(bytes(line))
    for broken in (
        b"[]",
        b"null",
        b"1",
        b"{}",
        b'{"event": "progress", "fraction": NaN, "message": "x"}',
        b"[" * 100_000,
    ):
        assert parseLine(broken) is None
    failed = parseLine(b'{"event": "result", "status": "failed", "error": 3}')
    assert failed == Failed("error", "", None)
    assert parseLine(b'{"event": "progress", "fraction": 7, "message": "x"}') == ProgressMessage(1.0, "x")


def test_only_the_core_beside_the_module_may_work():
    ours = Hello(fedkdtavi_core.__version__, fedkdtavi_core.__file__)
    assert helloProblem(ours) == ""
    assert "uninstall" in helloProblem(Hello("0.0.1", fedkdtavi_core.__file__))
    assert "/elsewhere" in helloProblem(Hello(fedkdtavi_core.__version__, "/elsewhere/fedkdtavi_core/__init__.py"))
    assert "said nothing of its version" in helloProblem(MESSAGES[1])


def test_time_left():
    now = [0.0]
    left = TimeLeft(lambda: now[0])
    assert left.seconds is None
    for second in range(1, 11):
        now[0] = float(second)
        left.update(second / 20)
    assert left.seconds == pytest.approx(10.0)
    now[0] = 40.0
    assert left.seconds == 0.0
    assert [timeLeftText(s) for s in (None, 1.0, 12.0, 100.0)] == [
        "", "nearly done", "about 10 s left", "about 2 min left",
    ]  # fmt: skip


@pytest.mark.parametrize("dtype", ["int16", "int32", "float32", "float64"])
def test_the_ct_arrives_as_it_was(tmp_path, dtype):
    rng = np.random.default_rng(0)
    array = (rng.integers(0, 250, (40, 50, 60)) * 4 - 500).astype(dtype)
    turn = np.array([[0.8, 0.0, 0.6], [0.0, 1.0, 0.0], [-0.6, 0.0, 0.8]])
    affine = np.eye(4)
    affine[:3] = np.c_[turn @ np.diag([-0.7, -0.7, 1.2]), (12.5, -8.25, 100.125)]
    path = tmp_path / "übergabe 1" / "ct.nii"
    path.parent.mkdir()
    writeCt(path, Volume(array, affine))
    assert path.stat().st_size == 352 + 2 * array.size
    found = read_volume(path)
    assert np.array_equal(found.array, array)
    assert np.allclose(found.affine, affine, atol=1e-5)
    assert found.info["notes"] == []


def test_a_ct_of_fractions_keeps_them(tmp_path):
    array = (np.random.default_rng(0).uniform(-900, 900, (20, 20, 20))).astype(np.float32)
    writeCt(tmp_path / "ct.nii", Volume(array, np.diag([1.0, 1, 1, 1])))
    assert np.array_equal(read_volume(tmp_path / "ct.nii").array, array)


def test_a_place_that_cannot_be_written_is_told(tmp_path):
    with pytest.raises(UsageError, match="cannot be written there"):
        writeCt(tmp_path / "missing" / "ct.nii", Volume(np.zeros((2, 2, 2), np.int16), np.eye(4)))


def test_the_file_says_nothing_but_voxels_and_place(tmp_path):
    writeCt(tmp_path / "ct.nii", Volume(np.zeros((2, 2, 2), np.int16), np.eye(4)))
    header = Path(tmp_path / "ct.nii").read_bytes()[:352]
    texts = header[4:38] + header[148:252] + header[328:344]
    assert set(texts) == {0}
    assert json.dumps(header[344:348].decode()) == json.dumps("n+1\0")
