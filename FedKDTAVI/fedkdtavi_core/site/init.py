"""Make a folder a site dataset, or name one that is there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ..errors import UsageError
from .dataset import CASES, SITE, SiteInfo, read_site, write_site


def init_site(folder: Path, site_id: str = "", note: str = "") -> SiteInfo:
    """Write ``site.json`` and make ``cases/``; cases that are there stay.

    Args:
        folder: of the site; made when it is not there.
        site_id: name of the site in tables and provenance; by default the one it has, else the folder's name.
        note: a sentence for people; by default the one it has.

    Raises:
        InputError: its ``site.json`` is broken.
        UsageError: the folder holds other things than a site, or cannot be written.
    """
    try:
        here = (folder / SITE).is_file() or (folder / CASES).is_dir()
        if not here and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise UsageError(f"{folder}: is there already and is no site dataset; choose another folder.")
        before = read_site(folder) if here else SiteInfo(folder.resolve().name)
        info = replace(before, id=site_id or before.id, note=note or before.note)
        write_site(folder, info)
    except OSError as error:
        raise UsageError(f"{folder}: cannot be written ({error.strerror or error}); choose another folder.") from error
    return info
