"""A file replaced whole or not at all: what was there before stays when a disk is full or the power goes."""

from __future__ import annotations

import os
from pathlib import Path


def part_of(path: Path) -> Path:
    """Where the new content of ``path`` is written; a process that was killed may have left it."""
    return path.with_name(f".{path.name}.part")


def replace_file(path: Path, content: bytes) -> None:
    """Put ``content`` in the place of ``path``; it is on the disk before it bears that name.

    Raises:
        OSError: it cannot be written. The older file is untouched, and nothing is left beside it.
    """
    path = Path(path)
    part = part_of(path)
    try:
        with part.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError:
        part.unlink(missing_ok=True)
        raise
