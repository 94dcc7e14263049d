"""What lies in the folder of one case of a site dataset, and what of a provenance may lie there."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from fedkdtavi_core.site.dataset import CASE_FILES, CT

OURS = frozenset(CASE_FILES)
# All that leaves: what says how the labels were made. Paths, series, and what readers note of headers stay here.
_PROVENANCE_KEYS = ("bundle", "trained_on", "coarse", "fine", "calcium", "contour", "code_version", "device", "opset")
_CT_KEYS = ("shape", "spacing_mm")


def folderDigest(folder: Path) -> str:
    """SHA-256 of a case's label files and whatever else lies there, and of the CT's size; tells whether it changed."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        content = str(path.stat().st_size).encode() if path.name == CT else path.read_bytes()
        digest.update(repr((path.relative_to(folder).as_posix(), len(content))).encode() + content)
    return digest.hexdigest()


def anonymousProvenance(provenance: dict[str, Any]) -> dict[str, Any]:
    """What may leave of an annotation's provenance: how the labels were made, not where the CT came from."""
    kept = {key: provenance[key] for key in _PROVENANCE_KEYS if key in provenance}
    ct = provenance.get("ct") or {}
    kept["ct"] = {key: ct[key] for key in _CT_KEYS if key in ct}
    return kept
