"""Make a folder a site dataset, or name one that is there."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from ..errors import UsageError
from .dataset import CASES, SITE, SiteInfo, read_site, write_site

# As the names of sites in the configurations of trainings: an id comes into tables, folders and provenance.
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


def init_site(folder: Path, site_id: str = "", note: str = "", *, rename: bool = False) -> SiteInfo:
    """Write ``site.json`` and make ``cases/``; cases that are there stay.

    Args:
        folder: of the site; made when it is not there.
        site_id: name of the site in tables and provenance; by default the one it has, else the folder's name.
        note: a sentence for people; by default the one it has.
        rename: let a site that is there already take another id.

    Raises:
        InputError: its ``site.json`` is broken.
        UsageError: the folder holds other things than a site, or cannot be written; ``site_id`` has signs that none may
            have; or the site has another id already, without ``rename``.
    """
    try:
        here = (folder / SITE).is_file() or (folder / CASES).is_dir()
        if not here and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise UsageError(f"{folder}: is there already and is no site dataset; choose another folder.")
        before = read_site(folder) if here else SiteInfo(folder.resolve().name)
        if site_id and not rename and (folder / SITE).is_file() and site_id != before.id:
            raise UsageError(
                f"{folder}: is the site {before.id} already, and results and bundles may know it by that id; leave "
                "--id out, or add --rename."
            )
        if site_id and not _ID.fullmatch(site_id):  # a folder may be called anything
            raise UsageError(
                f"{folder}: the id {site_id!r} is none; give one of letters, digits, '-', '_' and '.', such as north-1."
            )
        info = replace(before, id=site_id or before.id, note=note or before.note)
        write_site(folder, info)
    except OSError as error:
        raise UsageError(f"{folder}: cannot be written ({error.strerror or error}); choose another folder.") from error
    return info
