"""The crops a hospital trains on: its cache as it is, or those of its site dataset, cut where the root is seen."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

from fedkdtavi_core.errors import UsageError

from . import files
from .worker import SKIPPED


def crops_of(
    folder: Path, out: Path, bundle: Path | None, say: Callable[[str], None], finest_mm: float | None = None
) -> Path:
    """The cache of one hospital: the folder itself, or ``out`` with the crops of a site dataset.

    They are cut as fine as ``finest_mm``, the closest look of a network that learns from them, where that is finer than
    usual.

    Raises:
        UsageError: it is neither, or no bundle is given that finds the root.
    """
    if not (folder / "site.json").is_file():
        if not folder.is_dir():
            raise UsageError(f"{folder} is no folder; give a site dataset or a cache of crops.")
        return folder
    from fedkdtavi_core import bundle as bundles

    from .. import cache
    from ..sites import CoarseCentre, SiteDataset, cropped_for

    fine = cropped_for(cache.CROP_SPACING_MM, finest_mm if (finest_mm or math.inf) < cache.CROP_SPACING_MM else None)
    dataset = SiteDataset(folder, CoarseCentre(bundles.resolve(bundle)), **fine)
    dataset.write_cache(out, lambda done, todo: say(f"{folder.name}: {done}/{todo} cases cropped"))
    (out / SKIPPED).unlink(missing_ok=True)
    if dataset.skipped:
        files.write_bytes(out / SKIPPED, "".join(f"{sentence}\n" for sentence in dataset.skipped.values()).encode())
    for sentence in dataset.skipped.values():
        say(sentence)
    return out
