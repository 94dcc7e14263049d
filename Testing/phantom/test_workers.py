"""Work over several processes: all of it, in any order; a killed worker is told, and nothing waits for it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time

import pytest

from fedkdtavi_core.errors import InputError
from fedkdtavi_training.phantom.workers import over


def square(number: int) -> int:
    return number * number


def die_at_three(number: int) -> int:
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def nap(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


@pytest.mark.parametrize("processes", [1, 2])
def test_every_job_is_done_once(processes):
    assert sorted(over(square, range(7), processes)) == [n * n for n in range(7)]


def test_a_killed_worker_is_told_in_a_sentence():
    with pytest.raises(InputError, match="One of 2 processes was killed"):
        list(over(die_at_three, range(6), 2))


def test_whoever_stops_listening_leaves_no_worker_behind():
    before = set(multiprocessing.active_children())
    results = over(nap, [0.0, 60.0, 60.0, 60.0], 2)
    began = time.monotonic()
    assert next(results) == 0.0
    results.close()
    assert time.monotonic() - began < 30
    assert set(multiprocessing.active_children()) <= before
