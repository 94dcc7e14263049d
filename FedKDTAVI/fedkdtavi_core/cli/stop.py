"""How a run is asked to stop: Ctrl-C, a signal to end, or standard input that closes.

The first request raises KeyboardInterrupt where the work is, so that folders half filled are cleared on the way out;
further ones are ignored meanwhile.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def stoppable(*, on_stdin_close: bool = False) -> Iterator[Callable[[], bool]]:
    """Listen for requests to stop; yields the question "was there one?" for :class:`~fedkdtavi_core.progress.Progress`.

    Args:
        on_stdin_close: also when standard input ends: a program that started us closes it to cancel, and the system
            closes it when that program dies.
    """
    asked = threading.Event()

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
        threading.Thread(target=_watch_stdin, args=(asked,), daemon=True).start()
    try:
        yield asked.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        # CPython takes a KeyboardInterrupt for unhandled when it passes through exec() of a text (as dataclasses do),
        # and then ends by SIGINT whatever exit code was returned; running another text makes it forget that.
        exec("")


def _watch_stdin(asked: threading.Event) -> None:
    import _thread

    # os.read, not sys.stdin: a buffered reader that waits in a thread cannot be closed when Python ends.
    with contextlib.suppress(OSError):
        while os.read(0, 4096):
            pass
    if not asked.is_set():
        _thread.interrupt_main()
