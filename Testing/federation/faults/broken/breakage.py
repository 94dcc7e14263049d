"""What goes wrong in a process that is to go wrong. Nothing of it is in the product."""

from __future__ import annotations

import errno
import io
import json
import os
import time
from pathlib import Path
from typing import Any

FLAG = "FEDKDTAVI_BREAK_FLAG"


def site(what: str, number: int) -> None:
    """Break a site's training in round ``number`` (from 1): what it sends, or its pace."""
    from fedkdtavi_training.federation import wire

    to_wire, from_wire = wire.update_to_wire, wire.task_from_wire
    sent: dict[int, Any] = {}

    def send(update: Any) -> Any:
        header, arrays = to_wire(update)
        now = json.loads(header)["round"] + 1
        sent[now] = (header, arrays)
        if now != number or not arrays:
            return header, arrays
        return sent[now - 1] if what == "stale" else (header, _spoilt(what, arrays))

    def receive(header: str, arrays: Any) -> Any:
        task = from_wire(header, arrays)
        if what == "pause" and task.kind == "train" and task.round_number + 1 == number:
            _pause(Path(os.environ[FLAG]))
        return task

    wire.update_to_wire, wire.task_from_wire = send, receive


def _spoilt(what: str, arrays: dict[str, Any]) -> dict[str, Any]:
    name = sorted(arrays)[0]
    value = arrays[name].copy()
    if what == "nan":
        value.flat[0] = float("nan")
    elif what == "shape":
        value = value[:1].copy()
    elif what == "norm":
        return {one: array * 1e6 for one, array in arrays.items()}
    return arrays | {name: value}


def _pause(flag: Path) -> None:
    """Once: say that the round has begun, and go on when the fault's script says so."""
    reached = flag.with_suffix(".reached")
    if reached.exists():
        return
    reached.touch()
    while not flag.with_suffix(".go").exists():
        time.sleep(0.1)


def server(what: str) -> None:
    """A disk that is full for the rounds' process as long as the flag is there: no file can be written or flushed."""
    if what != "disk":
        return
    flag, opened = Path(os.environ[FLAG]), io.open

    def full(file: Any, mode: str = "r", *arguments: Any, **named: Any) -> Any:
        if flag.exists() and set(mode) & set("wax+"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(file))
        return opened(file, mode, *arguments, **named)

    io.open = full  # what pathlib opens files with
