"""A map over jobs in one process or in several; a worker that dies ends the work with a sentence, never in a wait."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from fedkdtavi_core.errors import InputError

Job = TypeVar("Job")
Result = TypeVar("Result")


def over(function: Callable[[Job], Result], jobs: Sequence[Job], processes: int) -> Iterator[Result]:
    """The results as they come; with one process in the order of ``jobs``, in this process.

    However it ends, the workers end too and clear what they had begun.

    Raises:
        InputError: a worker was killed (most often for memory).
    """
    if processes <= 1 or len(jobs) <= 1:
        yield from (_in_one_thread(function, job) for job in jobs)
        return
    # One thread each from the start: processes that share cores must not fight.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    # A fresh interpreter a worker: forked numerical libraries may hold locks of their parent.
    pool = ProcessPoolExecutor(min(processes, len(jobs)), multiprocessing.get_context("spawn"), _start)
    ours = set(multiprocessing.active_children())
    complete = False
    try:
        for future in as_completed([pool.submit(_work, function, job) for job in jobs]):
            yield future.result()
        complete = True
    except BrokenProcessPool as error:
        raise InputError(
            f"One of {processes} processes was killed, perhaps for want of memory; start again with fewer: what is "
            "done stays."
        ) from error
    finally:
        if not complete:
            for child in set(multiprocessing.active_children()) - ours:
                child.terminate()
        pool.shutdown(cancel_futures=True)


def _in_one_thread(function: Callable[[Job], Result], job: Job) -> Result:
    """With another number of threads sums are rounded otherwise, and a voxel differs by 1 HU."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1, user_api="blas"):
        return function(job)


_working = _ending = False


def _work(function: Callable[[Job], Result], job: Job) -> Result:
    global _working
    try:
        _working = True
        return _in_one_thread(function, job)
    finally:
        _working = False
        if _ending:
            os._exit(1)


def _start() -> None:
    # Ctrl-C reaches the first process, which ends the others; they clear what they had begun on the way out.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _end)


def _end(_signal: int, _frame: object) -> None:
    """End at once, or by way of the job in hand. Only there: elsewhere the pool would swallow a SystemExit and wait."""
    global _ending
    if not _working:
        os._exit(1)
    if not _ending:
        _ending = True
        sys.exit(1)
