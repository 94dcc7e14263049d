"""Python imports this at the start of every process whose PYTHONPATH holds this folder.

In the processes of the engine each frame is written down as it is handed to a connection, before it is encrypted:
``<kind>-<pid>.frames`` in the folder that ``FEDKDTAVI_TAP`` names. ``wire`` crosses between machines, ``local`` between
the processes of one.
"""

import os
import sys
import threading

_FOLDER = os.environ.get("FEDKDTAVI_TAP")
_LOCK = threading.Lock()


def _tapped(connection: type, kind: str) -> None:
    handed_on = connection.send_frame
    path = os.path.join(_FOLDER, f"{kind}-{os.getpid()}.frames")  # noqa: PTH118

    def send_frame(self, frame):
        with _LOCK, open(path, "ab") as file:  # noqa: PTH123
            file.write(frame)
        return handed_on(self, frame)

    connection.send_frame = send_frame


if _FOLDER and any(one.startswith("nvflare.private") for one in sys.orig_argv):
    from nvflare.fuel.f3.drivers.aio_grpc_driver import AioStreamSession
    from nvflare.fuel.f3.drivers.grpc_driver import StreamConnection
    from nvflare.fuel.f3.drivers.socket_conn import SocketConnection

    _tapped(StreamConnection, "wire")
    _tapped(AioStreamSession, "wire")
    _tapped(SocketConnection, "local")
