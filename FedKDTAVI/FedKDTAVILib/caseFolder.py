"""What lies in the folder of one case of a site dataset."""

from __future__ import annotations

import hashlib
from pathlib import Path

from fedkdtavi_core.site.dataset import CASE_FILES, CT

OURS = frozenset(CASE_FILES)


def folderDigest(folder: Path) -> str:
    """SHA-256 of a case's label files and whatever else lies there, and of the CT's size; tells whether it changed."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        content = str(path.stat().st_size).encode() if path.name == CT else path.read_bytes()
        digest.update(repr((path.relative_to(folder).as_posix(), len(content))).encode() + content)
    return digest.hexdigest()
