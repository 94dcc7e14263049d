"""A network that is cut and comes back: b reaches the server through a little proxy that can be cut."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from typing import Self

from fedkdtavi_training.federation import kits

from .ground import Ground, Result

_BAD = 2
CUT_S = 15.0


class Proxy:
    """Passes bytes on to a port of this machine; when cut, all connections break and none can be made."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._listener = socket.create_server(("localhost", 0))
        self.port = int(self._listener.getsockname()[1])
        self._open: list[socket.socket] = []
        self._cut = False
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.cut()
        self._listener.close()

    def cut(self) -> int:
        """Break everything that is open, and whatever comes; returns how many ends were open."""
        self._cut, ends = True, len(self._open)
        for one in self._open:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        self._open.clear()
        return ends

    def mend(self) -> None:
        """Let connections pass again."""
        self._cut = False

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
                if self._cut:
                    near.close()
                    continue
                far = socket.create_connection(("localhost", self._to))
            except OSError:
                if self._listener.fileno() < 0:
                    return
                near.close()
                continue
            self._open += [near, far]
            for ends in ((near, far), (far, near)):
                threading.Thread(target=_pump, args=ends, daemon=True).start()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    for one in (source, sink):
        with contextlib.suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)


def cut_and_back(ground: Ground) -> Result:
    """b is cut off while it trains in round 2, and reaches the server again after a while."""
    config = ground.loop.site("b") / kits.KIT / "startup" / "fed_client.json"
    direct = config.read_text(encoding="utf-8")
    told = json.loads(direct)
    service = told["servers"][0]["service"]
    try:
        with ground.trial("network cut and back") as trial, Proxy(int(service["target"].rpartition(":")[2])) as proxy:
            service["target"] = f"localhost:{proxy.port}"
            config.write_text(json.dumps(told, indent=2), encoding="utf-8")
            ground.end(*({"b"} & ground.up))
            trial.tell("b", "pause", _BAD)
            trial.start()
            with trial.running():
                trial.reached()
                assert proxy.cut() >= 2, "b has not come through the proxy"
                trial.go()
                time.sleep(CUT_S)
                proxy.mend()
            return trial.result(
                f"b cut off for {CUT_S:.0f} s in round 2; its answer came when it was back", "none left out"
            )
    finally:
        ground.end(*({"b"} & ground.up))
        config.write_text(direct, encoding="utf-8")
