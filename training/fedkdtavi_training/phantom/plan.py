"""Which virtual hospital has which patients, labels and scanners: all of it follows from one seed by hashing.

A patient's seed is a hash of the split, the site and the case, so no two sites and no two splits share an anatomy.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

import numpy as np

from .observers import Observer
from .styles import HELD_OUT, HELD_OUT_SHARP, TRAINING, ScannerStyle, StyleRanges

# CTs and labelled cases of eight hospitals (Toelle et al., npj Digital Medicine 8:88, 2025): CTs, hps, ms, calc.
TABLE: tuple[tuple[int, int, int, int], ...] = (
    (813, 78, 73, 78),
    (1819, 30, 0, 20),
    (3001, 27, 20, 0),
    (1829, 42, 0, 0),
    (534, 0, 0, 0),
    (42, 20, 0, 20),
    (60, 34, 23, 0),
    (26, 25, 0, 0),
)

ORIENTATIONS = ("LPS", "LAS", "RAS")  # DICOM's order, what converters write, and NIfTI's own
LABELLED_KINDS = ("heart", "bicuspid", "low_ostia")
TRAINING_MIX = {
    "heart": 0.80, "bicuspid": 0.06, "low_ostia": 0.06, "noncontrast": 0.03,
    "prosthesis": 0.02, "noheart": 0.02, "truncated": 0.01,
}  # fmt: skip
TEST_MIX = {"heart": 0.80, "bicuspid": 0.08, "low_ostia": 0.08, "prosthesis": 0.02, "noncontrast": 0.02}


@dataclass(frozen=True)
class CasePlan:
    """One CT to make.

    Attributes:
        site, case: ids; the case id is unique over all sites.
        kind: one of render.KINDS.
        anatomy_seed: of the patient.
        label_seed: of the observers' readings.
        style: the scanner as drawn.
        heads: kinds of label that the site has for this case.
        orientation: how the site stores its CTs: where the array's axes point to.
    """

    site: str
    case: str
    kind: str
    anatomy_seed: int
    label_seed: int
    style: ScannerStyle
    heads: tuple[str, ...]
    orientation: str


@dataclass(frozen=True)
class SitePlan:
    """One hospital: its observers (the first made the site's labels) and its cases."""

    site: str
    split: str
    observers: tuple[Observer, ...]
    cases: tuple[CasePlan, ...]


def seed_of(*words: object) -> int:
    """A 63-bit seed that belongs to these words alone (SHA-256)."""
    return int.from_bytes(hashlib.sha256("/".join(map(str, words)).encode()).digest()[:8], "big") >> 1


def scaled_table(sites: int, cases: int) -> list[dict[str, int]]:
    """CTs and labelled cases of each site, ``sites * cases`` CTs in all; more than eight sites repeat the table.

    Numbers of CTs and shares of labelled ones are compressed by the square root: small sites keep a few cases, large
    ones a few labels, and a site without a kind of label stays without.
    """
    rows = [TABLE[i % len(TABLE)] for i in range(sites)]
    weight = np.sqrt([row[0] for row in rows])
    exact = weight / weight.sum() * sites * cases
    counts = np.maximum(np.floor(exact).astype(int), 1)
    for index in np.argsort(-(exact - counts), kind="stable"):
        if counts.sum() < sites * cases:
            counts[index] += 1
    while counts.sum() > sites * cases and counts.max() > 1:
        counts[int(np.argmax(counts))] -= 1
    out = []
    for count, (total, *labelled) in zip(counts, rows, strict=True):
        share = [min(max(1, round(count * np.sqrt(n / total))), int(count)) if n else 0 for n in labelled]
        out.append({"cases": int(count), "hps": share[0], "ms": share[1], "calc": share[2]})
    return out


def plan(
    seed: int,
    sites: int,
    cases: int,
    *,
    test: bool = False,
    kind: str | None = None,
    all_labels: bool = False,
) -> list[SitePlan]:
    """The hospitals of one seed.

    Args:
        seed: of the whole set.
        sites: number of hospitals.
        cases: CTs per hospital: the mean in training (see :func:`scaled_table`), the exact number in a test set.
        test: test hospitals without labels, with two observers; the first has a scanner of the training ranges, the
            second one outside of them, and so on in turn.
        kind: only patients of this kind.
        all_labels: every case that can be labelled is (for upper bounds), whatever the table says.
    """
    return [_test_site(seed, i, cases, kind) for i in range(sites)] if test else [
        _training_site(seed, i, row, kind, all_labels) for i, row in enumerate(scaled_table(sites, cases))
    ]  # fmt: skip


def _training_site(seed: int, index: int, row: dict[str, int], kind: str | None, all_labels: bool) -> SitePlan:
    site = f"site-{index + 1}"
    ranges = TRAINING.narrowed(site, np.random.default_rng(seed_of(seed, "train", site, "scanner")))
    ids = [f"{site}-{number + 1:04d}" for number in range(row["cases"])]
    ranked = sorted(ids, key=lambda case: seed_of(seed, "train", site, case, "rank"))
    most = len(ids) if all_labels else max(row[head] for head in ("hps", "ms", "calc"))
    made = []
    for case in ids:
        rank = ranked.index(case)
        sort = kind or _kind(seed, "train", site, case, TRAINING_MIX)
        if kind is None and not all_labels and rank < most and sort not in LABELLED_KINDS:
            sort = "heart"  # what a hospital labels, it can label
        heads: tuple[str, ...] = ()
        if sort in LABELLED_KINDS:
            heads = tuple(head for head in ("hps", "ms", "calc") if all_labels or rank < row[head])
        made.append(_case(seed, "train", site, case, sort, ranges, heads))
    return SitePlan(site, "train", (_observer(seed, "train", site, "observer-1"),), tuple(made))


def _test_site(seed: int, index: int, cases: int, kind: str | None) -> SitePlan:
    inside = index % 2 == 0
    site = f"test-{'in' if inside else 'out'}-{index // 2 + 1}"
    made = []
    for number in range(cases):
        case = f"{site}-{number + 1:04d}"
        ranges = TRAINING if inside else (HELD_OUT, HELD_OUT_SHARP)[number % 2]
        made.append(_case(seed, "test", site, case, kind or _kind(seed, "test", site, case, TEST_MIX), ranges, ()))
    observers = tuple(_observer(seed, "test", site, name) for name in ("observer-1", "observer-2"))
    return SitePlan(site, "test", observers, tuple(made))


def _case(
    seed: int, split: str, site: str, case: str, kind: str, ranges: StyleRanges, heads: tuple[str, ...]
) -> CasePlan:
    style = ScannerStyle.sample(np.random.default_rng(seed_of(seed, split, site, case, "style")), ranges)
    anatomy = seed_of(seed, split, site, case, "anatomy")
    orientation = ORIENTATIONS[seed_of(seed, split, site, "orientation") % len(ORIENTATIONS)]
    return CasePlan(site, case, kind, anatomy, seed_of(seed, split, site, case, "labels"), style, heads, orientation)


def _kind(seed: int, split: str, site: str, case: str, mix: dict[str, float]) -> str:
    rng = np.random.default_rng(seed_of(seed, split, site, case, "kind"))
    return str(rng.choice(list(mix), p=np.array(list(mix.values())) / sum(mix.values())))


def _observer(seed: int, split: str, site: str, name: str) -> Observer:
    rng = np.random.default_rng(seed_of(seed, split, site, name))
    return Observer.sample(f"{site}-{name}", rng)


def fitted(style: ScannerStyle, spacing_mm: float) -> ScannerStyle:
    """``style`` with no finer pixels and slices than a canvas of ``spacing_mm`` has anything to show for."""
    finest = 0.75 * spacing_mm
    return replace(
        style,
        pixel_mm=max(style.pixel_mm, finest),
        slice_increment_mm=max(style.slice_increment_mm, finest),
        slice_thickness_mm=max(style.slice_thickness_mm, finest),
    )


def outside_training(style: ScannerStyle, spacing_mm: float) -> tuple[str, ...]:
    """Factors in which a scan with ``style`` differs from all training; those the canvas hides do not count."""
    seen = fitted(style, spacing_mm)
    return tuple(name for name in TRAINING.outside(style) if getattr(seen, name) == getattr(style, name))
