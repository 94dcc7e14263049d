"""Which hospitals there are, and which of them a command line means."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path

from fedkdtavi_core import schema
from fedkdtavi_core.errors import UsageError
from fedkdtavi_core.site.dataset import SITE, open_site

from .. import cache
from ..federated.config import HEADS, SiteFolder
from ..federated.site import Site, inventory


def known(data: Path) -> dict[str, Path]:
    """Name -> folder of every hospital in ``data``: site datasets and caches of crops.

    Raises:
        UsageError: there is none.
    """
    entries = sorted(data.iterdir()) if data.is_dir() else []
    found = {entry.name: entry for entry in entries if entry.is_dir() and _is_hospital(entry)}
    if not found:
        raise UsageError(
            f"{data}: holds no hospital (a folder with {SITE}, or with case_*.npz); give another --data, or make some "
            "with `fedkdtavi phantom`."
        )
    return found


def choose(data: Path, wanted: Collection[str] | None, tags: Collection[str] | None) -> tuple[SiteFolder, ...]:
    """The hospitals that are named and have all ``tags``, in the order of their names.

    Raises:
        UsageError: a name is not known, or nobody is left.
    """
    folders = known(data)
    for name in wanted or ():
        if name not in folders:
            raise UsageError(f"There is no location {name!r} in {data}; known are {', '.join(folders)}.")
    chosen = {name: folder for name, folder in folders.items() if wanted is None or name in wanted}
    if tags:
        held = {name: tags_of(folder) for name, folder in chosen.items()}
        chosen = {name: folder for name, folder in chosen.items() if set(tags) <= held[name]}
        if not chosen:
            told = "; ".join(f"{name}: {', '.join(sorted(words)) or 'none'}" for name, words in held.items())
            raise UsageError(f"No location has all of the tags {', '.join(tags)}; they have {told}.")
    return tuple(SiteFolder(name=name, folder=folder) for name, folder in chosen.items())


def tags_of(folder: Path) -> set[str]:
    """Heads that a hospital holds labels for, ``phantom``, the words of its note."""
    if (folder / SITE).is_file():
        site = open_site(folder)
        truth = {label_id for case in site.cases for label_id in case.record.truth()}
        heads = {head for head, ids in schema.HEADS.items() if truth & set(ids)}
        words = set(re.findall(r"[\w-]+", site.info.note))
        return heads | words | ({"phantom"} if site.info.synthetic else set())
    held, _, _ = inventory(Site(folder.name, (folder,), folder))
    synthetic = all(cache.load(path).info.get("synthetic", True) for path in cache.files([folder])[:1])
    return {head for head in HEADS if held[head] > 0} | ({"phantom"} if synthetic else set()) | _words(folder)


def _words(cached: Path) -> set[str]:
    """Values of a cache's description that are words: kind, site."""
    told = cache.label_of(cached)
    return {value for key, value in told.items() if key in ("kind", "site") and isinstance(value, str)}


def _is_hospital(folder: Path) -> bool:
    return (folder / SITE).is_file() or any(folder.glob("case_*.npz"))
