"""One hospital's side: its cached cases, its own folder for what never leaves it, what it counts for each head."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from fedkdtavi_core.bundle.held_out import is_held_out
from fedkdtavi_core.errors import InputError, UsageError

from .. import cache
from ..networks import extras, sees_heart
from .config import HEADS, Stage
from .labels import Merged, merge, row_slice
from .pseudo_store import PseudoStore


@dataclass(frozen=True)
class Examined:
    """One cached case: its file, head -> how much of it is truly labelled (0..1), SHA-256 of CT and labels.

    ``maps`` is the SHA-256 of heart classes and arteries; it counts only where a network has to do with them. ``ct`` is
    that of the CT itself, where the case is one of a site dataset.
    """

    path: Path
    truth: dict[str, float]
    digest: str
    maps: str = ""
    ct: str = ""


@dataclass(frozen=True)
class Site:
    """A site, or several pooled.

    Attributes:
        name: enters every seed.
        folders: caches of crops.
        work: its own folder: optimiser state, pseudo-labels, norms. Nothing in it is sent.
    """

    name: str
    folders: tuple[Path, ...]
    work: Path

    def cases(self, test_ratio: float = 0.0) -> dict[str, Path]:
        """Case key -> file, without the last ``test_ratio`` of every folder, which are kept for tests."""
        found = {}
        for number, folder in enumerate(self.folders):
            paths = cache.files([folder])
            kept = len(paths) - math.ceil(test_ratio * len(paths))
            found |= {f"{number:02d}-{path.stem}": path for path in paths[:kept]}
        return found

    def readable(self, test_ratio: float = 0.0, held_out: float = 0.0) -> tuple[dict[str, Examined], dict[str, str]]:
        """Case key -> what is in it, and case key -> why it is skipped, for those that cannot be read.

        ``held_out``: cases of a site dataset that this share holds out are in neither.
        """
        found, skipped = {}, {}
        for key, path in self.cases(test_ratio).items():
            try:
                case = examined(path)
            except InputError as error:
                skipped[key] = str(error)
                continue
            if not (case.ct and is_held_out(case.ct, held_out)):
                found[key] = case
        return found, skipped

    def test_cases(self, test_ratio: float) -> list[Path]:
        """The files that :meth:`cases` leaves out."""
        learning = set(self.cases(test_ratio).values())
        return [path for folder in self.folders for path in cache.files([folder]) if path not in learning]

    def pseudo(self, number: int) -> PseudoStore:
        """The site's pseudo-labels, set ``number``."""
        return PseudoStore(self.work / f"pseudo-{number}")


@dataclass(frozen=True)
class Cases:
    """What a site learns from in one stage.

    Attributes:
        paths: case key -> file; only cases that teach one of the stage's heads.
        store: where their pseudo-labels are, or None.
        labelled: keys of the cases with a true label for one of the stage's heads.
        head_weights: head -> sum over the cases of the mean weight of its labels.
        digest: SHA-256 over all of it.
    """

    paths: dict[str, Path]
    store: PseudoStore | None
    labelled: tuple[str, ...]
    head_weights: dict[str, float]
    digest: str


def gather(site: Site, stage: Stage) -> Cases:
    """The cases of ``site`` that teach ``stage``.

    Raises:
        UsageError: the folder is empty, or its pseudo-labels have not been made, or by other teachers.
    """
    store = None if stage.pseudo_set is None else site.pseudo(stage.pseudo_set)
    paths, labelled, digests = {}, [], []
    weights = dict.fromkeys(stage.averaged, 0.0)
    network = stage.training.network
    conditioned, more = sees_heart(network), sees_heart(network) or bool(extras(network))
    for key, case in site.readable(stage.test_ratio, stage.held_out)[0].items():
        path, truth, digest = case.path, case.truth, case.digest
        guess = None if store is None else store.load(key)
        if guess is not None and guess.case_digest != digest:
            raise UsageError(f"{site.name}: {key} has changed since its pseudo-labels were made; make them anew.")
        if guess is not None and stage.pseudo_teachers is not None and guess.teachers != stage.pseudo_teachers:
            raise UsageError(
                f"{site.name}: its pseudo-labels were made by other teachers (it was left out when they were made); it "
                "takes part again once it has made its own."
            )
        own = {head: truth[head] for head in stage.heads}
        merged = own if guess is None else _weights(merge(cache.load(path), guess, stage.pseudo))
        if not any(merged[head] for head in stage.heads):
            continue
        if conditioned and not truth["heart"]:
            raise UsageError(
                f"{site.name}: {key} has no heart classes to condition on; train without --condition_on_seg, or crop "
                "the cases anew with a bundle's coarse network."
            )
        if "heart" in weights:
            merged["heart"] = truth["heart"]
        paths[key] = path
        if any(own.values()):
            labelled.append(key)
        digests.append([key, digest, None if guess is None else guess.digest] + ([case.maps] if more else []))
        for head in weights:
            weights[head] += merged[head]
    total = hashlib.sha256(json.dumps(digests).encode()).hexdigest()
    heads = {head: round(weight, 6) for head, weight in weights.items() if weight > 0}
    return Cases(paths, store, tuple(labelled), heads, total)


def inventory(site: Site, test_ratio: float = 0.0, held_out: float = 0.0) -> tuple[dict[str, float], int, str]:
    """Head -> cases with a true label for it (one with three of five points counts 0.6); number and digest of all."""
    found, _ = site.readable(test_ratio, held_out)
    held = {head: sum(case.truth[head] for case in found.values()) for head in HEADS}
    digests = json.dumps([[key, case.digest] for key, case in found.items()])
    return held, len(found), hashlib.sha256(digests.encode()).hexdigest()


def examined(path: Path) -> Examined:
    """What is in one cached case. Raises InputError when it cannot be read."""
    stat = path.stat()
    return _examined(path, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=20_000)
def _examined(path: Path, _changed: int, _size: int) -> Examined:
    case = cache.load(path)
    total = hashlib.sha256(f"{case.hu.shape} {case.spacing} {case.calc_labelled} {case.absent}".encode())
    for array in (case.hu, case.points.astype(np.float32), case.calc if case.calc_labelled else np.zeros(0)):
        total.update(np.ascontiguousarray(array).tobytes())
    maps = hashlib.sha256(case.heart.tobytes() if case.heart_known else b"")
    maps.update(b"" if case.coronary is None else case.coronary.tobytes())
    truth = _weights(merge(case, None, None))
    truth |= {"heart": float(case.heart_known), "coronary": float(case.coronary is not None)}
    return Examined(path, truth, total.hexdigest(), maps.hexdigest(), str(case.info.get("ct", "")))


def _weights(merged: Merged) -> dict[str, float]:
    weights = {head: float(merged.labels.weights[row_slice(head)].mean()) for head in HEADS if head != "calc"}
    return weights | {"calc": merged.labels.calc_weight}
