"""The child process in which the core works, so that the window stays live: on QProcess, as Slicer offers it.

The child is Python with ``-m fedkdtavi_core`` in the module's own folder: Python then finds this very copy of the
core before any other that may be installed. It ends when its standard input closes, thus also with Slicer itself.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from slicer.i18n import tr as _

from fedkdtavi_core.errors import UsageError

from . import ownPackages
from .messages import Message, MessageFeed

MODULE_FOLDER = Path(__file__).resolve().parents[1]
# Milliseconds between asking to stop and killing; the child itself ends sooner (fedkdtavi_core.cli.stop).
KILL_AFTER_MS = 800
ENVIRONMENT = {
    "PYTHONIOENCODING": "utf-8:backslashreplace",  # names of files in sentences, whatever the code page
    "PYTHONUNBUFFERED": "1",
    "PYTHONDONTWRITEBYTECODE": "1",  # the module's folder may be shared or read-only
}
# With it Python would not look for the core in its working directory.
ENVIRONMENT_REMOVED = ("PYTHONSAFEPATH",)


@dataclass(frozen=True)
class Ended:
    """How a process ended.

    Attributes:
        exitCode: None when it was killed, crashed or never started.
        started: False when there was nothing to run.
        log: the tail of what it said beside its messages.
    """

    exitCode: int | None
    started: bool
    log: str


class Process(Protocol):
    """A child process. All calls back come from the thread that started it, never from within ``start``."""

    def start(
        self, arguments: Sequence[str], onMessage: Callable[[Message], None], onFinished: Callable[[Ended], None]
    ) -> None:
        """Start Python with ``arguments``; ``onFinished`` is called once, when it has ended, however it did."""
        ...

    def cancel(self) -> None:
        """Ask it to stop by closing its standard input, and kill it if it does not; harmless when it has ended."""
        ...

    def isRunning(self) -> bool:
        """Has it been started and not ended yet?"""
        ...


def pythonExecutable() -> str:
    """The Python to run: PythonSlicer, which Slicer puts on the path; outside Slicer the Python that runs this.

    Raises:
        UsageError: there is none.
    """
    if found := shutil.which("PythonSlicer"):
        return found
    if sys.executable and Path(sys.executable).stem.lower().startswith("python"):
        return sys.executable
    raise UsageError(_("PythonSlicer, a part of 3D Slicer, was not found; install 3D Slicer again."))


def refuseRunning(process: Process) -> None:
    """Raise UsageError when ``process`` has been started and has not ended."""
    if process.isRunning():
        raise UsageError(_("The annotation is running already; wait for it or cancel it first."))


class ChildProcess:
    """:class:`Process` on QProcess: needs a running event loop, blocks nothing.

    >>> process = ChildProcess()
    >>> process.start(["-m", "fedkdtavi_core", "--version"], onMessage=print, onFinished=print)
    """

    def __init__(self) -> None:
        import qt  # here, so that scripts without a window can import this file

        self._qt = qt
        self._process = None
        self._before = None
        self._feed: MessageFeed | None = None
        self._onFinished: Callable[[Ended], None] | None = None
        self._killTimer = self._timer(self._kill)
        self._notStartedTimer = self._timer(lambda: self._end(None, started=False))

    def start(
        self, arguments: Sequence[str], onMessage: Callable[[Message], None], onFinished: Callable[[Ended], None]
    ) -> None:
        """See :class:`Process`.

        Raises:
            UsageError: there is no Python to run, or the process runs already.
        """
        refuseRunning(self)
        qt = self._qt
        program = pythonExecutable()
        environment = qt.QProcessEnvironment.systemEnvironment()
        for name, value in (ENVIRONMENT | ownPackages.environment()).items():
            environment.insert(name, value)
        for name in ENVIRONMENT_REMOVED:
            environment.remove(name)
        # The one before may still be on the stack: its "finished" can be what starts this one.
        self._before = self._process
        self._feed, self._onFinished = MessageFeed(onMessage), onFinished
        process = self._process = qt.QProcess()
        process.setWorkingDirectory(str(MODULE_FOLDER))
        process.setProcessEnvironment(environment)
        process.connect("readyReadStandardOutput()", self._readOutput)
        process.connect("readyReadStandardError()", self._readError)
        process.connect("finished(int,QProcess::ExitStatus)", self._finished)
        process.connect("errorOccurred(QProcess::ProcessError)", self._failed)
        process.start(program, [str(argument) for argument in arguments])

    def cancel(self) -> None:
        """See :class:`Process`."""
        if not self.isRunning():
            return
        self._process.closeWriteChannel()
        if not self._killTimer.isActive():
            self._killTimer.start(KILL_AFTER_MS)

    def isRunning(self) -> bool:
        """See :class:`Process`."""
        return self._onFinished is not None

    def waitForEnd(self) -> None:
        """Wait until it has ended, without an event loop; killed where closing its input is not enough."""
        if self.isRunning() and not self._process.waitForFinished(KILL_AFTER_MS):
            self._process.kill()
            self._process.waitForFinished(KILL_AFTER_MS)

    def _timer(self, call: Callable[[], None]):
        timer = self._qt.QTimer()
        timer.setSingleShot(True)
        timer.connect("timeout()", call)
        return timer

    def _kill(self) -> None:
        if self.isRunning():
            self._process.kill()

    def _readOutput(self) -> None:
        self._feed.output(_bytes(self._process.readAllStandardOutput()))

    def _readError(self) -> None:
        self._feed.error(_bytes(self._process.readAllStandardError()))

    def _finished(self, exitCode: int, exitStatus: int) -> None:
        crashed = exitStatus == self._qt.QProcess.CrashExit
        self._end(None if crashed else exitCode, started=True)

    def _failed(self, error: int) -> None:
        # All other errors are followed by "finished".
        if error == self._qt.QProcess.FailedToStart:
            self._notStartedTimer.start(0)

    def _end(self, exitCode: int | None, *, started: bool) -> None:
        if self._onFinished is None:
            return
        self._killTimer.stop()
        self._readOutput()
        self._readError()
        self._feed.close()
        onFinished, self._onFinished = self._onFinished, None
        onFinished(Ended(exitCode, started, self._feed.log))


def _bytes(array) -> bytes:
    """The content of a QByteArray."""
    data = array.data()
    return data if isinstance(data, bytes) else str(data or "").encode()
