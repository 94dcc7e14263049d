"""The child process without Qt: for scripts and batches, which wait for it and may look around meanwhile."""

from __future__ import annotations

import os
import queue
import subprocess
import threading
from collections.abc import Callable, Sequence

from . import ownPackages
from .messages import Message, MessageFeed
from .process import (
    ENVIRONMENT,
    ENVIRONMENT_REMOVED,
    KILL_AFTER_MS,
    MODULE_FOLDER,
    Ended,
    pythonExecutable,
    refuseRunning,
)

_POLL_S = 0.05
_SILENT_POLLS = 20


class BlockingProcess:
    """:class:`~.process.Process` on subprocess. Nothing is called back until :meth:`wait`, which returns at its end.

    >>> process = BlockingProcess()
    >>> process.start(["-m", "fedkdtavi_core", "--version"], onMessage=print, onFinished=print)
    >>> process.wait()
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen | None = None
        self._pieces: queue.Queue[tuple[str, bytes]] = queue.Queue()
        self._feed: MessageFeed | None = None
        self._onFinished: Callable[[Ended], None] | None = None

    def start(
        self,
        arguments: Sequence[str],
        onMessage: Callable[[Message], None],
        onFinished: Callable[[Ended], None],
        temporary: str | None = None,
    ) -> None:
        """See :class:`~.process.Process`; ``temporary``: its folder for temporary files, the system's if not given.

        Raises:
            UsageError: there is no Python to run, or the process runs already.
        """
        refuseRunning(self)
        environment = {name: value for name, value in os.environ.items() if name not in ENVIRONMENT_REMOVED}
        if temporary is not None:
            environment |= dict.fromkeys(("TMPDIR", "TEMP", "TMP"), temporary)
        program = pythonExecutable()
        self._feed, self._onFinished, self._pieces = MessageFeed(onMessage), onFinished, queue.Queue()
        self._process = None
        try:
            self._process = subprocess.Popen(
                [program, *map(str, arguments)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=MODULE_FOLDER,
                env=environment | ENVIRONMENT | ownPackages.environment(),
                creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),  # no console flashes up on Windows
            )
        except OSError as error:
            self._feed.error(f"{program}: {error}".encode())
            return
        for name in ("stdout", "stderr"):
            pipe = getattr(self._process, name)
            threading.Thread(target=_read, args=(pipe, name, self._pieces), daemon=True).start()

    def wait(self, onIdle: Callable[[], None] | None = None) -> None:
        """Return when the process has ended and ``onFinished`` was called.

        Args:
            onIdle: called some twenty times a second, and after each piece of output; may call :meth:`cancel`.
        """
        if self._onFinished is None:
            return
        openPipes = 2 if self._process is not None else 0
        silent = 0
        while openPipes:
            try:
                name, data = self._pieces.get(timeout=_POLL_S)
            except queue.Empty:
                # A process of its own that it left behind may hold the pipes open for ever.
                silent += self._process.poll() is not None
                if silent > _SILENT_POLLS:
                    break
            else:
                silent = 0
                if not data:
                    openPipes -= 1
                elif name == "stdout":
                    self._feed.output(data)
                else:
                    self._feed.error(data)
            if onIdle is not None:
                onIdle()
        self._end()

    def cancel(self) -> None:
        """See :class:`~.process.Process`."""
        process = self._process
        if process is None or process.poll() is not None or process.stdin.closed:
            return
        process.stdin.close()
        timer = threading.Timer(KILL_AFTER_MS / 1000, process.kill)
        timer.daemon = True
        timer.start()

    def isRunning(self) -> bool:
        """See :class:`~.process.Process`."""
        return self._onFinished is not None

    def _end(self) -> None:
        self._feed.close()
        exitCode = None
        if self._process is not None:
            exitCode = self._process.wait()
            self._process.stdin.close()
        onFinished, self._onFinished = self._onFinished, None
        killed = exitCode is None or exitCode < 0
        onFinished(Ended(None if killed else exitCode, self._process is not None, self._feed.log))


def _read(pipe, name: str, pieces: queue.Queue) -> None:
    with pipe:
        while data := pipe.read1(65536):
            pieces.put((name, data))
    pieces.put((name, b""))
