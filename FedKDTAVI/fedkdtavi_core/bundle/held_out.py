"""Which of a site's cases a bundle has learned from, told without a list: by the CT's digest and a share.

A bundle that was taught at a site says so in its provenance: the site's id, and the share of its cases that was held
out. A case is held out when a hash of its CT's digest says so, so that whoever has the CT can tell, and nobody else. A
federation does not know its sites' ids: it says :data:`ANY_SITE`, and a site takes all its cases for learned from but
those held out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

ANY_SITE = "*"


def is_held_out(ct_sha256: str, share: float) -> bool:
    """Is the case of this CT among the ``share`` (0..1) of cases that nothing learns from?

    What is held out with a share is held out with every larger one.
    """
    drawn = int.from_bytes(hashlib.sha256(f"held out {ct_sha256}".encode()).digest()[:4], "big")
    return drawn < share * 2**32


def has_learned_from(provenance: Mapping[str, Any], site_id: str, ct_sha256: str) -> bool:
    """Has a bundle with this ``provenance.json``, or one that it comes from, learned from the case?"""
    for taught in _lessons(provenance):
        sites, share = taught.get("sites"), taught.get("held_out")
        entries = sites.values() if isinstance(sites, Mapping) else []
        there = any(isinstance(entry, Mapping) and entry.get("id") in (site_id, ANY_SITE) for entry in entries)
        known = isinstance(share, int | float) and not isinstance(share, bool)
        if there and not is_held_out(ct_sha256, share if known else 0.0):
            return True
    return False


def _lessons(provenance: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """What the bundle was taught, then its parent, and so on."""
    link: Any = provenance
    while isinstance(link, Mapping):
        if isinstance(link.get("taught"), Mapping):
            yield link["taught"]
        link = link.get("parent")
