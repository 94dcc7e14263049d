"""What the command line says: lines for people, JSON for programs, one sentence for an error.

Standard output carries results (with ``--progress json`` also the events), standard error the sentences and the bar.
JSON is ASCII. A reader that goes away (``| head``) stops the talking, not the work.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any, TextIO

from .. import __file__ as _core_file
from .. import __version__, folders
from ..errors import Cancelled, FedKDTAVIError, InputError
from ..labels.jsonfile import plain

PROGRAM = "fedkdtavi"
EXIT_UNEXPECTED = 1


def prepare_streams() -> None:
    """Let no name crash a terminal that cannot show it (Windows code pages, LANG=C): it is escaped instead."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, ValueError):
            stream.reconfigure(errors="backslashreplace")


class Console:
    """Where one run of the program talks to.

    Args:
        as_json: the result is one JSON object; no lines for people on standard output.
        events: JSON lines while the work goes on; the first tells version and file of this code.
    """

    def __init__(self, as_json: bool = False, events: bool = False) -> None:
        self.as_json = as_json
        self.events = events
        if events:
            self.event(
                "start", program=PROGRAM, version=__version__, file=str(Path(_core_file).resolve()), pid=os.getpid()
            )

    def say(self, text: str) -> None:
        """A line for a person."""
        if not (self.as_json or self.events):
            _write(sys.stdout, text)

    def note(self, text: str) -> None:
        """A line for a person beside the result: on standard error."""
        _write(sys.stderr, text)

    def event(self, event: str, **content: Any) -> None:
        """A JSON line for a program that watches; nothing unless asked for."""
        if self.events:
            _write(sys.stdout, json.dumps(plain({"event": event, **content}), ensure_ascii=True))

    def result(self, content: dict[str, Any]) -> None:
        """The one object of this run; the last line of standard output."""
        if self.events:
            self.event("result", **content)
        elif self.as_json:
            _write(sys.stdout, json.dumps(plain(content), ensure_ascii=True))

    def error(self, message: str) -> None:
        """One sentence on standard error."""
        sentence = " ".join(message.split())
        _write(sys.stderr, sentence if sentence.startswith(PROGRAM) else f"{PROGRAM}: {sentence}")

    def fail(self, error: BaseException) -> int:
        """Say what ended the run and return its exit code."""
        failure = describe(error)
        self.error(failure["message"])
        self.result({"status": "failed", "exit_code": failure["exit_code"], "error": failure})
        return failure["exit_code"]


def describe(error: BaseException, doing: str = "") -> dict[str, Any]:
    """An error as ``code``, ``message`` (one sentence) and ``exit_code``; the unexpected ones with their ``log``."""
    if isinstance(error, KeyboardInterrupt):
        error = Cancelled("Cancelled.")
    if isinstance(error, MemoryError):
        what = doing or "this CT"
        error = InputError(f"{what}: there is not enough memory for it; close other programs or use a smaller CT.")
    if isinstance(error, FedKDTAVIError):
        return {"code": error.code, "message": str(error), "exit_code": error.exit_code}
    log = _write_log(error, doing)
    what = f" with {doing}" if doing else ""
    reason = f"{type(error).__name__}: {str(error).split(chr(10), 1)[0][:200]}"
    message = f"Something unexpected happened{what} ({reason}); please report it together with {log}."
    return {"code": "unexpected", "message": message, "exit_code": EXIT_UNEXPECTED, "log": str(log)}


def _write_log(error: BaseException, doing: str) -> str:
    """The traceback as a file in the user's log folder, else among the temporary files."""
    text = f"{PROGRAM} {__version__}, Python {sys.version}\n{doing}\n{''.join(traceback.format_exception(error))}"
    name = f"{PROGRAM}-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.log"
    for folder in (_log_folder, lambda: Path(tempfile.gettempdir())):
        try:
            place = folder()
            place.mkdir(parents=True, exist_ok=True)
            (place / name).write_text(text, encoding="utf-8", errors="backslashreplace")
        except OSError:
            continue
        return str(place / name)
    return "this message (no log could be written)"


def _log_folder() -> Path:
    return folders.user_log()


def _write(stream: TextIO, text: str) -> None:
    try:
        print(text, file=stream, flush=True)
    except (BrokenPipeError, ValueError):
        _silence(stream)
    except OSError as error:
        if error.errno not in (22, 32):  # Windows says EINVAL for a pipe that was closed
            raise
        _silence(stream)


def _silence(stream: TextIO) -> None:
    """Send a stream that nobody reads to nowhere, or Python complains once more when it ends."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
