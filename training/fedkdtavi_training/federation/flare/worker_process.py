"""The training process as a site's executor holds it: started when needed, killed when it hangs or shall stop."""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from .. import wire
from ..child import read_message, write_message
from ..settings import SiteSettings

LOG = "fedkdtavi.log"
_LOOK_S = 0.2


class WorkerProcess:
    """Does tasks of one site, one after the other.

    Args:
        settings: the site's own; its ``work`` folder gets the log, with everything that was said.
    """

    def __init__(self, settings: SiteSettings) -> None:
        self._settings = settings
        self._child: subprocess.Popen[str] | None = None
        self._lines: queue.Queue[str | None] = queue.Queue()

    def work(
        self, header: str, arrays: wire.Arrays, deadline_s: float | None, stopped: Callable[[], bool]
    ) -> tuple[str, wire.Arrays] | wire.Code:
        """Header and arrays of the update, or why there is none."""
        work = self._settings.work
        task, answer = work / "task.safetensors", work / "answer.safetensors"
        answer.unlink(missing_ok=True)
        write_message(task, header, arrays)
        ends = None if deadline_s is None else time.monotonic() + deadline_s
        child = self.start()
        try:
            child.stdin.write(json.dumps({"task": str(task), "answer": str(answer)}) + "\n")
            child.stdin.flush()
        except OSError:
            self.end()
            return wire.Code.CRASHED
        while True:
            if stopped():
                self.end()
                return wire.Code.STOPPED
            if ends is not None and time.monotonic() > ends:
                self.end()
                return wire.Code.LATE
            try:
                line = self._lines.get(timeout=_LOOK_S)
            except queue.Empty:
                continue
            if line is None:
                self.end()
                return wire.Code.CRASHED
            told = json.loads(line)
            if "code" in told:
                return wire.Code(told["code"])
            if "answer" in told:
                arrays, header = read_message(answer)
                for path in (task, answer):
                    path.unlink(missing_ok=True)
                return header, arrays

    def end(self) -> None:
        """Kill it; what it has written so far is whole."""
        child, self._child = self._child, None
        if child is not None:
            child.kill()
            child.wait()

    def start(self) -> subprocess.Popen[str]:
        """Start it, if it does not run, so that it is ready when a task comes."""
        if self._child is not None and self._child.poll() is None:
            return self._child
        self._settings.work.mkdir(parents=True, exist_ok=True)
        self._lines = lines = queue.Queue()
        with (self._settings.work / LOG).open("a", encoding="utf-8") as log:
            child = subprocess.Popen(
                [sys.executable, "-m", "fedkdtavi_training.federation.child", self._settings.model_dump_json()],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                cwd=_empty(self._settings.work),
            )

        def read() -> None:
            for line in child.stdout:
                lines.put(line)
            lines.put(None)

        threading.Thread(target=read, daemon=True).start()
        self._child = child
        return child


def _empty(work: Path) -> Path:
    """A folder of nothing to run in, so that no file beside it is imported by mistake."""
    folder = work / "here"
    folder.mkdir(exist_ok=True)
    return folder
