"""A whole federation on one machine, as hospitals would run it: processes of their own, keys of their own, mutual TLS.

Only the address is special. It is what the demonstration and the tests of faults run; everything is done by the
commands that a coordinator and a site's IT have.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

from fedkdtavi_core.errors import FedKDTAVIError

from . import enrol, kits, project, server_command, site_command

HOST = "localhost"
_POLL_S = 0.3


class LoopbackError(FedKDTAVIError):
    """A process of the federation did not do what it should in time."""

    code = "loopback"


def free_port() -> int:
    """A port of this machine that nothing uses."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


class Loopback:
    """Server and sites under ``folder``; leaving the ``with`` ends every process.

    Args:
        folder: gets ``project.json``, ``server/`` and ``sites/<name>/``.
        datasets: site -> its dataset or cache of crops.
        plan: the project's entries, without ``server``.
        say: takes the sentences of the commands.
    """

    def __init__(
        self, folder: Path, datasets: Mapping[str, Path], plan: dict[str, Any], say: Callable[[str], None]
    ) -> None:
        self.folder, self.datasets, self.say = folder.resolve(), dict(datasets), say
        self.server = self.folder / "server"
        self._plan = plan | {"server": {"host": HOST, "port": free_port()}}
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for name in list(self._processes):
            self.kill(name, signal.SIGTERM)

    def site(self, name: str) -> Path:
        """The folder of a site."""
        return self.folder / "sites" / name

    def enrol(self) -> None:
        """Found the federation, and let every site ask, be approved and join."""
        self.folder.mkdir(parents=True, exist_ok=True)
        file = self.folder / "project.json"
        file.write_text(json.dumps(self._plan, indent=2) + "\n", encoding="utf-8")
        plan = project.read(file)
        server_command.init(file, self.server, self.say)
        fingerprint = enrol.fingerprint(self.server)
        for site in plan.sites:
            name, own = site.name, self.site(site.name)
            site_command.request(file, name, [self.datasets[name]], own, say=self.say)
            request = own / kits.KEY / f"{name}{enrol.REQUEST}"
            number = enrol.number(request)  # read in the site's own folder, as its IT would on the phone
            server_command.approve(self.server, request, enrol.CERTIFICATE_DAYS, False, self.say, number=number)
            approval = self.server / kits.APPROVED / f"{name}{enrol.APPROVAL}"
            site_command.join(own, approval, fingerprint, self.say)

    def start(self, name: str, **environment: str) -> None:
        """Start ``server`` or a site by its command, in a process of its own."""
        folder = self.server if name == "server" else self.site(name)
        what = ["server", "start", str(folder)] if name == "server" else ["site", "start", str(folder)]
        with (folder / "command.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(
                [sys.executable, "-m", "fedkdtavi_training", "federation", *what],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
            )  # fmt: skip

    def wait_until_open(self, limit_s: float) -> None:
        """Until the server listens. Raises LoopbackError when it does not."""
        port, end = int(self._plan["server"]["port"]), time.monotonic() + limit_s
        while True:
            with socket.socket() as probe:
                if probe.connect_ex((HOST, port)) == 0:
                    return
            if self._processes["server"].poll() is not None or time.monotonic() > end:
                raise LoopbackError(f"The server does not listen; see {self.server / 'command.log'}.")
            time.sleep(_POLL_S)

    def wait_for_sites(self, names: list[str], limit_s: float) -> None:
        """Until these sites have come through the server's door.

        Raises:
            LoopbackError: one has not.
        """
        end = time.monotonic() + limit_s
        while missing := [name for name in names if name not in self.door()["came"]]:
            for name in ("server", *missing):
                process = self._processes.get(name)
                if process is not None and process.poll() is not None:
                    raise LoopbackError(f"{name} ended (code {process.returncode}); see its command.log.")
            if time.monotonic() > end:
                raise LoopbackError(f"{', '.join(missing)}: not at the server's door within {limit_s:.0f} s.")
            time.sleep(_POLL_S)

    def door(self) -> dict[str, Any]:
        """Who came to the server, and who was refused."""
        path = self.server / kits.OUT / "door.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"came": {}, "refused": []}

    def run(self, task: int | None = None) -> None:
        """All jobs of the project, or one; waits for the end. Raises UsageError when a job leaves no model."""
        server_command.run(self.server, task, self.say)

    def kill(self, name: str, number: int = signal.SIGKILL) -> None:
        """End a process, its engine and its training; SIGKILL leaves nobody the time to tidy up."""
        process = self._processes.pop(name)
        if number != signal.SIGKILL:
            process.send_signal(number)
            try:
                process.wait(40)
                return
            except subprocess.TimeoutExpired:
                pass
        for pid in family(process.pid):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        process.wait()


def family(pid: int) -> list[int]:
    """A process and all that it has started, itself first (read from /proc: Linux alone)."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            children.setdefault(parent, []).append(int(entry.name))
    found = [pid]
    for one in found:
        found += children.get(one, [])
    return found
