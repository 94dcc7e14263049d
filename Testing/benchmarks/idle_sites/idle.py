"""Sites that train nothing: what is left of a round is what the rounds themselves cost."""

from __future__ import annotations

import ctypes
import sys
import threading
import time
from typing import Any

MB = 1e6


def install() -> None:
    """From now on a site's round in this process hands back the weights that it was given."""
    from fedkdtavi_training import train
    from fedkdtavi_training.federated import worker
    from fedkdtavi_training.federated.heads import taught
    from fedkdtavi_training.federated.messages import Update

    def idle(stage: Any, site: Any, weights: Any, round_number: int, *, cases: Any, report: Any) -> Update:
        heads = tuple(head for head in stage.averaged if head in cases.head_weights)
        sent = {name: value.clone() for name, value in taught(weights, heads, heads_only=stage.heads_only).items()}
        counted = {head: cases.head_weights[head] for head in heads}
        return Update(site.name, round_number, train.digest(weights), sent, counted, {"cases": 1.0}, cases.digest)

    worker.local_round = idle


def count_bytes(path: str) -> None:
    """Write down time and size of each frame that this process hands to a connection between machines."""
    from nvflare.fuel.f3.drivers.aio_grpc_driver import AioStreamSession
    from nvflare.fuel.f3.drivers.grpc_driver import StreamConnection

    lock = threading.Lock()

    def counted(connection: type) -> None:
        handed_on = connection.send_frame

        def send_frame(self: Any, frame: Any) -> Any:
            with lock, open(path, "a", encoding="ascii") as file:  # noqa: PTH123
                print(f"{time.time():.3f} {len(frame)}", file=file)
            return handed_on(self, frame)

        connection.send_frame = send_frame

    counted(StreamConnection)
    counted(AioStreamSession)


def memory_mb(pid: int) -> tuple[float, float]:
    """Resident memory of a process: now, and the most so far (Linux)."""
    found = {}
    with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as file:  # noqa: PTH123
        for line in file:
            if line.startswith(("VmRSS", "VmHWM")):
                key, _, value = line.partition(":")
                found[key] = float(value.split()[0]) * 1024 / MB
    return found["VmRSS"], found["VmHWM"]


def note_memory(path: str) -> None:
    """Write down, after each tidying of memory, what the allocator has handed out, and what it holds beside (glibc)."""
    from nvflare.fuel.utils import memory_utils

    class Info(ctypes.Structure):  # mallinfo2(3); summed over all arenas
        _fields_ = [
            (name, ctypes.c_size_t)
            for name in ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks",
                         "keepcost")
        ]  # fmt: skip

    asked = ctypes.CDLL(None).mallinfo2
    asked.restype = Info
    tidy = memory_utils.cleanup_memory

    def noted(*given: Any, **named: Any) -> Any:
        done = tidy(*given, **named)
        info = asked()
        with open(path, "a", encoding="ascii") as file:  # noqa: PTH123
            print(f"{(info.uordblks + info.hblkhd) / MB:.0f} {info.fordblks / MB:.0f}", file=file)
        return done

    memory_utils.cleanup_memory = noted


def share_mb(pid: int) -> float:
    """A process's share of the memory that it and others use (Linux); 0 when it has ended."""
    try:
        with open(f"/proc/{pid}/smaps_rollup", encoding="ascii", errors="replace") as file:  # noqa: PTH123
            return sum(float(line.split()[1]) for line in file if line.startswith("Pss:")) * 1024 / MB
    except OSError:
        return 0.0


def engine() -> bool:
    """Is this a process of the engine?"""
    return any(one.startswith("nvflare.private") for one in sys.orig_argv)
