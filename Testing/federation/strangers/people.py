"""Strangers at the server's door: who has no good papers, and who has another's."""

from __future__ import annotations

import json
import shutil
import time

from fedkdtavi_training.federation import kits

from . import papers
from .ground import COME_S, Ground, Refusal, line_with
from .handshake import let_in

_CONSOLE = "server's console.log"
_TRIES_S = 5.0  # more of its attempts, which come every two seconds


def no_certificate(ground: Ground) -> Refusal:
    """Who knows the address alone."""
    return _at_handshake(ground, "no certificate", None, "PEER_DID_NOT_RETURN_A_CERTIFICATE")


def another_authoritys(ground: Ground) -> Refusal:
    """Who has made an authority for himself, and calls himself like a site."""
    made = papers.of_another_authority(ground.folder / "other", "a")
    return _at_handshake(ground, "another authority's certificate", made, "CERTIFICATE_VERIFY_FAILED")


def expired(ground: Ground) -> Refusal:
    """Who was a site until yesterday."""
    made = papers.expired(ground.folder / "expired", "a", ground.authority)
    return _at_handshake(ground, "expired certificate", made, "certificate has expired")


def _at_handshake(ground: Ground, stranger: str, shown: papers.Papers | None, words: str) -> Refusal:
    began, before = time.monotonic(), len(ground.console())
    root = ground.authority / "rootCA.pem"
    assert not let_in(ground.port, root, shown)
    line = line_with(lambda: ground.console()[before:], words, 20)
    own = papers.good(ground.folder / "good", "a", ground.authority)
    assert let_in(ground.port, root, own), "the server lets nobody in"
    reason = line[line.index("Handshake failed") :]
    return Refusal(stranger, "TLS", reason, _CONSOLE, time.monotonic() - began)


def anothers_name(ground: Ground) -> Refusal:
    """Site b, with its own good papers, says that it is a."""
    began, before = time.monotonic(), len(ground.console())
    own, name = ground.loop.site("b"), "impostor"
    folder = ground.loop.site(name)
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(own, folder)
    settings = json.loads((folder / kits.SITE).read_text(encoding="utf-8"))
    kits.write(folder / kits.SITE, settings | {"name": "a"})
    ground.loop.start(name)
    try:
        line = line_with(lambda: ground.console()[before:], "authenticated as 'b' but claimed endpoint 'a'", COME_S)
        time.sleep(_TRIES_S)
        assert "a" not in ground.loop.door()["came"], "who only said the name of a passes for a"
        assert "Client: New" not in ground.console()[before:]
    finally:
        ground.loop.kill(name)
    reason = line[line.index("connection ") :]
    return Refusal("valid site under another's name", "FLARE's connection", reason, _CONSOLE, time.monotonic() - began)
