"""Is a site fit to be trained on? Every case is read as training reads it, and what is wrong is named, case by case."""

from __future__ import annotations

import os
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from .. import schema
from ..errors import InputError
from ..labels.annotated import PROVENANCE, read_annotation, read_provenance
from ..labels.case import moved_away
from ..labels.exchange import is_being_written
from ..labels.record import volume_digest
from ..progress import SILENT, Progress
from ..volume import Grid
from .ctfile import header_texts
from .dataset import CASE_FILES, CASES, CT, LABELS, SITE, Site, SiteCase, case_folders, open_site
from .localkey import default_key, is_private

ERROR, WARNING = "error", "warning"


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong.

    Attributes:
        case: id of the case, or None for the site.
        level: ``error`` (the case or label is not learned from) or ``warning``.
        code: a word for programs.
        message: one sentence for a person.
    """

    case: str | None
    level: str
    code: str
    message: str


def check_site(folder: Path, *, key: Path | None = None, progress: Progress = SILENT) -> list[Problem]:
    """Everything that is wrong with a site; reads all CTs.

    Raises:
        UsageError: the folder is no site.
        InputError: its ``site.json`` is broken.
    """
    site = open_site(folder)
    found = _check_folder(site, default_key(folder) if key is None else key)
    found += [Problem(case, ERROR, "unreadable", f"{text} It is skipped.") for case, text in site.unreadable.items()]
    digests: dict[str, str] = {}
    for number, case in enumerate(site.cases):
        progress.step(number / len(site.cases), f"Checking {case.id}")
        found += _check_case(case, digests)
    found += _check_digests(site, digests)
    progress.step(1.0, "Checked")
    return found


def _check_folder(site: Site, key: Path) -> list[Problem]:
    found: list[Problem] = []

    def warn(code: str, message: str, level: str = WARNING) -> None:
        found.append(Problem(None, level, code, message))

    if not (site.folder / SITE).is_file():
        warn("no_site_json", f"holds no {SITE}; write one with `fedkdtavi site init {site.folder}`.")
    if not site.cases and not site.unreadable:
        warn("no_cases", f"holds no cases; add CTs with `fedkdtavi site add {site.folder} CT`.")
    elif not any(case.record.truth() for case in site.cases):
        warn("no_labels", "nobody has confirmed or corrected a label yet; its CTs can only teach by pseudo-labels.")
    place = site.folder / CASES
    if place.is_dir() and not os.access(place, os.W_OK | os.X_OK):
        warn("read_only", f"{place} cannot be written; reviews cannot be saved here.")
    spelt = defaultdict(list)
    for path in case_folders(site.folder):
        spelt[path.name.casefold()].append(path.name)
        if is_being_written(path):
            found.append(Problem(path.name, WARNING, "being_written", "somebody is writing this case right now."))
    for names in spelt.values():
        if len(names) > 1:
            warn("one_id", f"{', '.join(names)} are one name on many systems; rename one.", ERROR)
    # Named .<case>.<8 digits>.partial by labels.case.
    partial = [p for p in place.glob(".*.partial") if not is_being_written(place / p.name[1:-17])]
    for name in moved_away(place) if place.is_dir() else ():
        warn("moved_away", f"{name} was being replaced when a run was stopped; it is put back when the site is opened.")
    if partial:
        warn("remains", f"{len(partial)} half-written folders of runs that were stopped ({partial[0].name}).")
    if key.exists() and not is_private(key):
        warn("key_is_public", f"{key} tells who the patients are and others may read it; chmod 600 it.", ERROR)
    return found


def _check_case(case: SiteCase, digests: dict[str, str]) -> list[Problem]:
    """What is wrong with one case; enters the digest of its CT into ``digests``."""
    found: list[Problem] = []

    def fail(code: str, message: str) -> None:
        found.append(Problem(case.id, ERROR, code, message))

    try:
        volume = case.read_volume()
        digests[case.id] = volume_digest(volume)
        texts = header_texts(case.path / CT)
    except InputError as error:
        fail("unreadable", f"{error} The case is skipped.")
        return found
    if texts:
        fail("identity", f"the header of {CT} says more than geometry ({', '.join(texts)}); export the case again.")
    strangers = sorted(e.name for e in case.path.iterdir() if e.name not in CASE_FILES)
    if strangers:
        message = f"holds {', '.join(strangers)}, no part of a case; see that it names no patient and delete it."
        found.append(Problem(case.id, WARNING, "stranger", message))
    try:
        labels = case.read_labels(volume.grid)
        found += _check_provenance(case, volume.grid)
    except InputError as error:
        fail("labels_unreadable", f"{error} The case is skipped.")
        return found
    for problem in labels.problems:
        fail("label", f"{problem.rstrip('.')}; it is not learned from.")
    return found


def _check_provenance(case: SiteCase, grid: Grid) -> list[Problem]:
    """A case that the module exported tells how its labels were written, and must not tell where its CT came from."""
    if not (case.path / PROVENANCE).is_file():
        return []
    found: list[Problem] = []
    ct = read_provenance(case.path).get("ct")
    told = sorted({"path", "series", "series_uid"} & ct.keys()) if isinstance(ct, dict) else []
    if told:
        message = f"its {PROVENANCE} tells where the CT came from ({', '.join(told)}); export the case again."
        found.append(Problem(case.id, ERROR, "identity", message))
    changed = [schema.by_id(i).name for i in read_annotation(case.path, grid).changed]
    if changed:
        message = f"{', '.join(changed)} changed since it was exported, by whom is not known; open it and export again."
        found.append(Problem(case.id, WARNING, "changed", message))
    return found


def _check_digests(site: Site, digests: dict[str, str]) -> list[Problem]:
    found: list[Problem] = []
    owners = defaultdict(list)
    for case_id, digest in digests.items():
        owners[digest].append(case_id)
    for case in site.cases:
        digest = digests.get(case.id)
        if digest is None:
            continue
        twins = [other for other in owners[digest] if other != case.id]
        if twins:
            found.append(Problem(case.id, ERROR, "one_ct", f"has the same CT as {', '.join(twins)}; keep one of them."))
        if digest != case.record.ct_sha256:
            others = [other for other in owners.get(case.record.ct_sha256, []) if other != case.id]
            if others:
                message = f"its {LABELS} belongs to the CT of {others[0]}; put the right labels there."
                found.append(Problem(case.id, ERROR, "other_labels", message))
            else:
                message = f"its CT is not the one that {LABELS} was written for; restore it or label it anew."
                found.append(Problem(case.id, ERROR, "ct_changed", message))
    return found
