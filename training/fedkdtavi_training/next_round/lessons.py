"""What each site has to teach: crops of its cases without the held-out ones, and the count of its reviewed labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedkdtavi_core.bundle import Bundle
from fedkdtavi_core.bundle.held_out import is_held_out
from fedkdtavi_core.errors import UsageError
from fedkdtavi_core.site.dataset import open_site

from ..federated.config import SiteFolder
from ..sites import LEARNED, CoarseCentre, SiteDataset, check_distinct, cropped_for


@dataclass(frozen=True)
class Lesson:
    """One site's part: its crops, and what the new bundle says of it.

    Attributes:
        name: of the site in this round.
        crops: folder of its crops.
        told: id, digest of CTs and truth, cases, labels (id -> reviewed ones), of_parent (how many of them a reviewer
            made of this parent's predictions), held_out and skipped (numbers of cases), synthetic.
    """

    name: str
    crops: Path
    told: dict[str, Any]


def gather(
    sites: tuple[SiteFolder, ...], parent: Bundle, held_out: float, out: Path, say: Callable[[str], None]
) -> list[Lesson]:
    """All sites' lessons; their crops go into ``out``, and only what has changed is cropped anew.

    Raises:
        UsageError: a folder is no site dataset; no label has been reviewed; the parent has been taught all of it.
        InputError: a ``site.json`` is broken; two sites share a case.
    """
    check_distinct([open_site(site.folder) for site in sites])
    found = [_lesson(site, parent, held_out, out / site.name, say) for site in sites]
    if not any(lesson.told["labels"] for lesson in found):
        raise UsageError(
            "No site has a confirmed or corrected label that is not held out; review some cases, or lower held_out."
        )
    known = parent.provenance.get("taught", {})
    before = {entry.get("digest") for entry in known.get("sites", {}).values()} if isinstance(known, dict) else set()
    if all(lesson.told["digest"] in before for lesson in found):
        raise UsageError(f"{parent.path}: has been taught all of these labels already; review more cases first.")
    return found


def check_calcium(found: list[Lesson], k: int) -> None:
    """Is there enough that teaches the calcium network? Raises UsageError when fewer than ``k`` sites have any."""
    holders = sum("calcification" in lesson.told["labels"] for lesson in found)
    if holders < k:
        raise UsageError(
            f"{holders} of the {k} sites that are needed have reviewed calcification that is not held out: leave "
            "`calcium` out, or review some."
        )


def _lesson(site: SiteFolder, parent: Bundle, held_out: float, out: Path, say: Callable[[str], None]) -> Lesson:
    fed = parent.metadata["preprocessing"]
    kept = SiteDataset(
        site.folder,
        CoarseCentre(parent),
        **cropped_for(float(fed["crop_spacing_mm"]), fed.get("closer_look_mm")),
        keep=lambda case: not is_held_out(case.record.ct_sha256, held_out),
    )
    total = len(kept.site.cases)
    unseen = [case for case in kept.site.cases if is_held_out(case.record.ct_sha256, held_out)]
    kept.write_cache(out, lambda done, todo: say(f"{site.name}: {done}/{todo} cases cropped"))
    for sentence in kept.skipped.values():
        say(sentence)
    cases = [case for case in kept.cases if case.id not in kept.skipped]
    labels = Counter(i for case in cases for i in case.record.truth() if i in LEARNED)
    of_parent = sum(
        case.record.labels[i].bundle == parent.digest for case in cases for i in case.record.truth() if i in LEARNED
    )
    told = {
        "id": kept.site.info.id,
        "synthetic": kept.site.info.synthetic,
        "digest": kept.digest(),
        "cases": len(cases),
        "labels": {i: labels[i] for i in LEARNED if labels[i]},
        "of_parent": of_parent,
        "held_out": len(unseen),
        "skipped": len(kept.skipped),
    }
    to_judge = sum(bool(set(LEARNED) & set(case.record.truth())) for case in unseen)
    labelled = sum(bool(set(LEARNED) & set(case.record.truth())) for case in cases)
    say(
        f"{site.name}: {sum(labels.values())} reviewed labels in {labelled} of {total} cases, {of_parent} of them "
        f"made of this bundle's predictions; {len(unseen)} cases held out, "
        f"{to_judge} of them with reviewed labels, on which `fedkdtavi bundle compare` can judge"
    )
    return Lesson(site.name, out, told)
