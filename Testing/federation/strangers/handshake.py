"""The first second of a connection to a server: does it talk to who shows these papers?"""

from __future__ import annotations

import socket
import ssl
from pathlib import Path

from .papers import Papers

_HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + b"\x04" + bytes(5)  # of HTTP/2: preface, empty settings
_SETTINGS = 4
_LIMIT_S = 20.0


def let_in(port: int, authority: Path, papers: Papers | None) -> bool:
    """Does the server answer in HTTP/2? Under TLS 1.3 a client learns only then that its certificate was refused."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(authority)
    context.set_alpn_protocols(["h2"])
    if papers is not None:
        context.load_cert_chain(papers.certificate, papers.key)
    try:
        with (
            socket.create_connection(("localhost", port), _LIMIT_S) as plain,
            context.wrap_socket(plain, server_hostname="localhost") as secure,
        ):
            secure.settimeout(_LIMIT_S)
            secure.sendall(_HELLO)
            frame = secure.recv(9)
    except (ssl.SSLError, ConnectionError):
        return False
    return len(frame) > 3 and frame[3] == _SETTINGS
