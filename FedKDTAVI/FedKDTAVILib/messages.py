"""What the annotating child process says: one JSON object a line, ASCII, first who it is, last how it ended.

>>> parseLine(b'{"event": "progress", "fraction": 0.25, "message": "Reading the CT"}')
ProgressMessage(fraction=0.25, message='Reading the CT')
>>> parseLine(b"a warning of some library") is None
True
"""

from __future__ import annotations

import json
import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

import fedkdtavi_core

LOG_LINES = 200
# A result has some 20 kB; a line that grows beyond this is no message of ours.
_LONGEST_LINE = 1 << 23
# Every CT's own end; the result repeats it.
_REPEATED = (b'{"event": "done"', b'{"event": "failed"')


@dataclass(frozen=True)
class Hello:
    """The first message: version and file of the fedkdtavi_core that was started."""

    version: str
    file: str


@dataclass(frozen=True)
class ProgressMessage:
    """How far the work is: ``fraction`` 0..1 of the whole, ``message`` in words."""

    fraction: float
    message: str


@dataclass(frozen=True)
class Done:
    """The work is done; ``result`` is what the command line prints with ``--json``."""

    result: dict[str, Any] = field(hash=False)


@dataclass(frozen=True)
class Failed:
    """It ended with an error: its ``code``, one ``sentence``, and the file with the traceback where there is one."""

    code: str
    sentence: str
    logFile: str | None = None


Message = Hello | ProgressMessage | Done | Failed


def parseLine(line: bytes) -> Message | None:
    """The message in a line; None for anything else, however broken: it belongs into the log."""
    try:
        content = json.loads(line.decode("ascii"))
    except (ValueError, RecursionError):
        return None
    if not isinstance(content, dict):
        return None
    match content.get("event"):
        case "start":
            version, file = content.get("version"), content.get("file")
            return Hello(version, file) if isinstance(version, str) and isinstance(file, str) else None
        case "progress":
            # A child may work on several CTs: "overall" is then the share of all of them.
            fraction = content.get("overall", content.get("fraction"))
            words = content.get("message")
            if not isinstance(fraction, int | float) or not math.isfinite(fraction) or not isinstance(words, str):
                return None
            return ProgressMessage(min(max(float(fraction), 0.0), 1.0), words)
        case "result":
            return _result(content)
    return None


def helloProblem(message: Message) -> str:
    """Why what sent this first message must not work for us, one sentence; "" when it is the core beside this file.

    Labels of another version would be mixed up with those of this one.
    """
    ours = Path(fedkdtavi_core.__file__).resolve()
    if not isinstance(message, Hello):
        return _("The annotation said nothing of its version; restart 3D Slicer and try again.")
    if Path(message.file).resolve() == ours and message.version == fedkdtavi_core.__version__:
        return ""
    return _(
        "Another copy of fedkdtavi_core ({version}, {file}) was started instead of {ours}; "
        "uninstall the Python package fedkdtavi in 3D Slicer."
    ).format(version=message.version, file=message.file, ours=ours)


def _result(content: dict[str, Any]) -> Done | Failed:
    if content.get("status") == "done":
        return Done(content)
    error = content.get("error")
    error = error if isinstance(error, dict) else {}
    log = error.get("log")
    return Failed(str(error.get("code", "error")), str(error.get("message", "")), log if isinstance(log, str) else None)


class MessageFeed:
    """Turns the bytes of a process into messages, in whatever pieces they arrive; keeps the tail of all else as log.

    Args:
        onMessage: called with each message, in order.
    """

    def __init__(self, onMessage: Callable[[Message], None]) -> None:
        self._onMessage = onMessage
        self._rest = b""
        self._errorRest = b""
        self._lines: deque[str] = deque(maxlen=LOG_LINES)

    @property
    def log(self) -> str:
        """The last lines that were no messages."""
        return "\n".join(self._lines)

    def output(self, data: bytes) -> None:
        """Bytes of standard output."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._take(line)
        if len(self._rest) > _LONGEST_LINE:
            self._keep(self._rest[:1000])
            self._rest = b""

    def error(self, data: bytes) -> None:
        """Bytes of standard error: all of it is log."""
        *lines, self._errorRest = (self._errorRest + data).split(b"\n")
        for line in lines:
            self._keep(line)
        if len(self._errorRest) > _LONGEST_LINE:
            self._errorRest = b""

    def close(self) -> None:
        """The process has ended: a last line without its end is half a message, and goes into the log."""
        for rest in (self._rest, self._errorRest):
            if rest:
                self._keep(rest)
        self._rest = self._errorRest = b""
        # Who listened holds this feed's process: in a ring they, and the CT they hold, would outlive the run.
        self._onMessage = lambda _message: None

    def _take(self, line: bytes) -> None:
        message = parseLine(line)
        if message is not None:
            self._onMessage(message)
        elif not line.startswith(_REPEATED):
            self._keep(line)

    def _keep(self, line: bytes) -> None:
        text = line.decode("utf-8", errors="replace").rstrip()
        if text:
            self._lines.append(text)
