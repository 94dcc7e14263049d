"""The ids of a site's cases: what a new one is called, and which case a CT is."""

from __future__ import annotations

import secrets
from pathlib import Path

from ..errors import InputError
from ..labels.record import read_record
from .dataset import CASES, LABELS, case_folders


def new_case_id(folder: Path) -> str:
    """An id that no case of the site has: random, it tells nothing of patient, file or the order in which CTs came."""
    while True:
        case_id = f"case-{secrets.token_hex(5)}"
        if not (Path(folder) / CASES / case_id).exists():
            return case_id


def case_of(folder: Path, ct_sha256: str) -> str | None:
    """The id of the site's case with this CT, or None; cases that cannot be read are passed over."""
    for path in case_folders(folder):
        try:
            if read_record(path / LABELS).ct_sha256 == ct_sha256:
                return path.name
        except InputError:
            continue
    return None
