"""The case of an annotation folder, whose CT is taken into the site when the site has not got it."""

from __future__ import annotations

from pathlib import Path

from ..errors import InputError, UsageError
from ..labels.annotated import read_provenance
from ..progress import SILENT, Progress
from .add import add_ct
from .dataset import SiteCase, open_site
from .import_labels import case_with
from .incoming import ct_digest


def adopt(folder: Path, source: Path, key: Path, *, progress: Progress = SILENT) -> SiteCase:
    """The case that the labels in ``source`` belong to, made from the CT they were made on where there is none.

    Args:
        folder: of the site.
        source: a folder that annotate has written, which says where its CT lies.
        key: the site's local key.
        progress: reports and can cancel.

    Raises:
        UsageError: ``folder`` is no site or cannot be written, or ``source`` is a plain file.
        InputError: ``source`` is broken, or its CT is gone, has changed, or cannot be read.
    """
    digest = ct_digest(source)
    if digest is None:
        raise UsageError(f"{source}: does not tell which CT it belongs to; --add takes folders written by annotate.")
    found = case_with(open_site(folder), digest, key)
    if found is not None:
        return found
    ct = read_provenance(source)["ct"]
    path = ct.get("path")
    if not isinstance(path, str) or not Path(path).exists():
        raise InputError(f"{source}: its CT {path or ''} is not there; add it with `fedkdtavi site add` first.")
    series, phase = (_choice(ct.get(name)) for name in ("chosen_series", "chosen_phase"))
    added = add_ct(folder, Path(path), key=key, series=series, phase=phase, expected=digest, progress=progress)
    return open_site(folder).case(added.case)


def _choice(value: object) -> str | int | None:
    return value if isinstance(value, str | int) and not isinstance(value, bool) else None
