"""How a run is asked to stop: Ctrl-C, a signal to end, or standard input that closes.

The first request raises KeyboardInterrupt where the work is, so that folders half filled are cleared on the way out;
further ones are ignored meanwhile. A run that another program watches must be gone soon after: a network that is in
the middle of its work hears nothing for seconds, so the process then ends without waiting for it. Whatever moment that
is, an output folder is the old one or the new one (:mod:`~fedkdtavi_core.labels.case`).
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ..errors import EXIT_CANCELLED

# Seconds a watched run has for an orderly end; those who cancel expect it gone within one second.
GRACE_S = 0.6
_PARENT_LOOK_S = 0.2
_INPUT_LOOK_S = 0.1
_CLOSED = (109, 233)  # Windows: ERROR_BROKEN_PIPE, ERROR_PIPE_NOT_CONNECTED


@contextmanager
def stoppable(*, on_stdin_close: bool = False) -> Iterator[Callable[[], bool]]:
    """Listen for requests to stop; yields the question "was there one?" for :class:`~fedkdtavi_core.progress.Progress`.

    Args:
        on_stdin_close: also when standard input ends (a program that started us closes it to cancel, and the system
            closes it when that program dies) and when the parent process ends: a launcher between that program
            and us may be killed on its own. The process then ends within :data:`GRACE_S`, come what may.
    """
    asked = threading.Event()
    ended = threading.Event()

    def stop(signum: int, frame: object) -> None:
        if not asked.is_set():
            asked.set()
            raise KeyboardInterrupt

    before = {}
    if threading.current_thread() is threading.main_thread():
        for name in ("SIGINT", "SIGTERM", "SIGBREAK", "SIGHUP"):
            number = getattr(signal, name, None)
            # Whoever started us with a signal ignored (nohup) wants it ignored.
            if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
                before[number] = signal.signal(number, stop)
    if on_stdin_close:
        for watch in (_watch_stdin, _watch_parent):
            threading.Thread(target=watch, args=(asked, ended), daemon=True).start()
    try:
        yield asked.is_set
    finally:
        ended.set()
        for number, handler in before.items():
            signal.signal(number, handler)
        # CPython takes a KeyboardInterrupt for unhandled when it passes through exec() of a text (as dataclasses do),
        # and then ends by SIGINT whatever exit code was returned; running another text makes it forget that.
        exec("")


def _watch_stdin(asked: threading.Event, ended: threading.Event) -> None:
    if os.name == "nt":
        with contextlib.suppress(OSError):  # there may be no standard input at all
            _watch_by_looking(_waiting_on_windows(), lambda count: os.read(0, count), asked, ended)
        return
    # os.read, not sys.stdin: a buffered reader that waits in a thread cannot be closed when Python ends.
    with contextlib.suppress(OSError):
        while os.read(0, 4096):
            pass
    _end(asked, ended)


def _watch_by_looking(
    waiting: Callable[[], int | None],
    take: Callable[[int], bytes],
    asked: threading.Event,
    ended: threading.Event,
) -> None:
    """Never wait in a read: on Windows a pending read of a pipe blocks whoever asks the C library about that handle,
    as OpenBLAS does while NumPy is imported (numpy issue 24290), and the run would hang at its start.

    Args:
        waiting: bytes that can be read at once, None when the input has closed. Raises OSError where it is no pipe.
    """
    with contextlib.suppress(OSError):
        while (count := waiting()) is not None:
            if count:
                take(count)
            elif ended.wait(_INPUT_LOOK_S):
                return
        _end(asked, ended)


def _waiting_on_windows() -> Callable[[], int | None]:
    import ctypes
    import msvcrt
    from ctypes import wintypes

    kernel = ctypes.WinDLL("kernel32", use_last_error=True)
    handle = wintypes.HANDLE(msvcrt.get_osfhandle(0))

    def waiting() -> int | None:
        count = wintypes.DWORD()
        if kernel.PeekNamedPipe(handle, None, 0, None, ctypes.byref(count), None):
            return int(count.value)
        code = ctypes.get_last_error()
        if code in _CLOSED:
            return None
        raise OSError(code, "standard input is no pipe")

    return waiting


def _watch_parent(asked: threading.Event, ended: threading.Event) -> None:
    """Where the system tells of it: an orphan is given another parent (Windows knows only the closed input)."""
    parent = os.getppid()
    while os.getppid() == parent:
        if ended.wait(_PARENT_LOOK_S):
            return
    _end(asked, ended)


def _end(asked: threading.Event, ended: threading.Event) -> None:
    import _thread

    if not asked.is_set():
        _thread.interrupt_main()
    if not ended.wait(GRACE_S):
        with contextlib.suppress(OSError):
            os.write(2, b"fedkdtavi: Cancelled in the middle of a step; every result is complete or not there.\n")
        os._exit(EXIT_CANCELLED)
