"""What goes wrong in a process that is to go wrong, as a file of the fault's script tells it."""

from __future__ import annotations

import errno
import io
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

_FOLDER = Path(os.environ["FEDKDTAVI_FAULTS"])
_OPEN = io.open


def _told(name: str) -> dict[str, Any]:
    """What is to happen at ``name`` (a site, or server): ``what``, and in which ``round`` (from 1)."""
    try:
        with _OPEN(_FOLDER / f"{name}.json", encoding="utf-8") as file:
            return json.load(file)
    except FileNotFoundError:
        return {"what": "", "round": 0}


def site() -> None:
    """Break a site's training in one round: what it sends, or its pace."""
    from fedkdtavi_training.federation import wire

    name = json.loads(sys.orig_argv[-1])["name"]
    to_wire, from_wire = wire.update_to_wire, wire.task_from_wire
    sent: dict[int, Any] = {}

    def send(update: Any) -> Any:
        header, arrays = to_wire(update)
        told, now = _told(name), json.loads(header)["round"] + 1
        if not arrays:
            return header, arrays
        sent[now] = (header, arrays)
        if now != told["round"]:
            return header, arrays
        return sent[now - 1] if told["what"] == "stale" else (header, _spoilt(told["what"], arrays))

    def receive(header: str, arrays: Any) -> Any:
        task, told = from_wire(header, arrays), _told(name)
        if told["what"] == "pause" and task.kind == "train" and task.round_number + 1 == told["round"]:
            _pause()
        return task

    wire.update_to_wire, wire.task_from_wire = send, receive


def _spoilt(what: str, arrays: dict[str, Any]) -> dict[str, Any]:
    name = sorted(arrays)[0]
    value = arrays[name].copy()
    if what == "nan":
        value.flat[0] = float("nan")
    elif what == "shape":
        value = value[None]
    elif what == "norm":
        return {one: array * 1e6 for one, array in arrays.items()}
    return arrays | {name: value}


def _pause() -> None:
    """Once: say that the round has begun, and go on when the fault's script says so."""
    reached = _FOLDER / "reached"
    if reached.exists():
        return
    reached.touch()
    while not (_FOLDER / "go").exists():
        time.sleep(0.1)


def server() -> None:
    """A disk that is full for the rounds' process as long as it is told so: no file can be opened for writing."""

    def full(file: Any, mode: str = "r", *arguments: Any, **named: Any) -> Any:
        if set(mode) & set("wax+") and _told("server")["what"] == "disk":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(file))
        return _OPEN(file, mode, *arguments, **named)

    io.open = full  # what pathlib opens files with
