"""The local key of a site: which CT of the hospital each case is. It lies beside the site's folder and never travels.

It holds paths and DICOM UIDs, so only its owner may read it; a copy of the site's folder does not carry it along.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..errors import InputError, UsageError
from ..labels.exchange import folder_lock, sync
from ..labels.jsonfile import read_json, write_json

NOTE = (
    "Which CT of this hospital each case is. This file tells who the patients are: it stays in this hospital, is never "
    "sent, published or put into the site's folder, and no program but `fedkdtavi site` reads it."
)


@dataclass(frozen=True)
class KeyEntry:
    """Where a case came from: path and DICOM series as they were, and digests of the CT before and after."""

    path: str
    series_uid: str | None
    series: str | None
    phase: str | None
    source_sha256: str
    ct_sha256: str
    added: str


def default_key(site: Path) -> Path:
    """``<site>.local-key.json`` beside the site's folder."""
    folder = Path(site).resolve()
    return folder.with_name(f"{folder.name}.local-key.json")


def check_key(site: Path, key: Path) -> None:
    """Refuse a key inside the site's folder. Raises UsageError."""
    if key.resolve().is_relative_to(Path(site).resolve()):
        raise UsageError(
            f"{key}: the key must not lie in the site's folder, which may be copied; choose another --key."
        )


def read_key(key: Path) -> dict[str, KeyEntry]:
    """Case id -> entry; empty when there is no key yet.

    Raises:
        InputError: it is broken.
    """
    if not key.exists():
        return {}
    cases = read_json(key, "the local key of a site").get("cases")
    if not isinstance(cases, dict):
        raise InputError(f"{key}: is no local key of a site, it lists no cases; restore it from a backup.")
    try:
        return {str(case): KeyEntry(**entry) for case, entry in cases.items()}
    except TypeError as error:
        raise InputError(f"{key}: an entry of it is broken; restore it from a backup.") from error


@contextmanager
def locked_key(site: Path, key: Path) -> Iterator[None]:
    """Be the only run that changes this key. Raises UsageError when another one does, or it cannot be written."""
    check_key(site, key)
    try:
        with folder_lock(key):
            yield
    except PermissionError as error:
        raise UsageError(f"{key}: cannot be written; choose another --key or change its permissions.") from error


def append_key(key: Path, site_id: str, case_id: str, entry: KeyEntry) -> None:
    """Add one case, atomically, readable by its owner alone; call it under :func:`locked_key`."""
    cases: dict[str, Any] = {case: asdict(known) for case, known in read_key(key).items()}
    cases[case_id] = asdict(entry)
    partial = key.with_name(f".{key.name}.{secrets.token_hex(4)}.partial")
    try:
        # The permissions are there before the first name is.
        os.close(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        write_json(partial, {"note": NOTE, "site": site_id, "cases": cases})
        sync(partial)  # nobody can make this file again
        partial.replace(key)
        sync(key.parent)
    finally:
        with contextlib.suppress(FileNotFoundError):
            partial.unlink()


def is_private(key: Path) -> bool:
    """May nobody but its owner read it? Always True where the system has no such permissions."""
    return os.name == "nt" or not key.stat().st_mode & 0o077
