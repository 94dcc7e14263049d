"""Global and local updates tested on every hospital's own test cases, beside the rounds.

A case is looked at as pseudo-labels are made: crop, network, sub-voxel decoding, centred anew once, and closer where
the network has learned that. The error is the distance to what the hospital's own observer has set, so it holds that
observer's deviation too.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fedkdtavi_core import schema

from .. import cache, networks, tally
from ..federated.config import Stage
from ..federated.messages import Driver, Task, Update, Weights
from ..federated.pseudo import look
from ..federated.pseudo_store import FULL

KEY = ("arm", "stage", "round", "update", "site")
COLUMNS = (*KEY, "case", *(f"{label}_mm" for label in schema.LANDMARK_IDS), "calc_dice")
Row = dict[str, Any]


class CaseLog:
    """Per-case results on disk, whole after every test; a run that goes on replaces what it tests again."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._tests: dict[tuple[str, ...], list[Row]] = {}
        if path.exists():
            with path.open(newline="", encoding="utf-8") as file:
                for row in csv.DictReader(file):
                    self._tests.setdefault(tuple(row[key] for key in KEY), []).append(
                        {key: _number(key, text) for key, text in row.items()}
                    )

    def add(self, key: Sequence[object], rows: Sequence[Row]) -> None:
        """Keep the rows of one test; ``key`` as in :data:`KEY`."""
        names = tuple(str(part) for part in key)
        self._tests[names] = [dict(zip(KEY, names, strict=True)) | row for row in rows]
        tally.write_rows(self.path, [row for rows in self._tests.values() for row in rows], COLUMNS)

    def tests(self) -> dict[tuple[str, ...], list[Row]]:
        """Arm, stage, round, update, site -> rows."""
        return dict(self._tests)


class TestingDriver:
    """A driver that tests what it carries.

    Args:
        inner: does the sites' work.
        cases: site -> its test cases.
        log: takes the rows.
        arm: name of the arm.
        on_global: test the weights that a round starts from.
        on_local: test what a site makes of them.
    """

    __test__ = False  # not for pytest to collect

    def __init__(
        self,
        inner: Driver,
        cases: Mapping[str, Sequence[Path]],
        log: CaseLog,
        arm: str,
        *,
        on_global: bool,
        on_local: bool,
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.inner, self.cases, self.log, self.arm, self.say = inner, cases, log, arm, say
        self.on_global, self.on_local = on_global, on_local
        self.sites, self.parallel = inner.sites, 1

    def send(self, site: str, task: Task) -> Update:
        """Hand ``task`` on; test before and after. Raises SiteFailedError as the inner driver does."""
        if task.kind != "train":
            return self.inner.send(site, task)
        if self.on_global:
            self.test(site, task.stage, task.weights, task.round_number, "global")
        update = self.inner.send(site, task)
        if self.on_local and update.weights:
            self.test(site, task.stage, {**task.weights, **update.weights}, task.round_number + 1, "local")
        return update

    def test(self, site: str, stage: Stage, weights: Weights, rounds: int, update: str) -> None:
        """Test ``weights`` on the test cases of ``site``; ``rounds``: how many are behind them."""
        rows = [look_at(path, stage, weights) for path in self.cases[site]]
        self.log.add((self.arm, stage.name, rounds, update, site), rows)
        self.say(f"{stage.name}: {update} update tested on {len(rows)} cases of {site} after {rounds} rounds")


def look_at(path: Path, stage: Stage, weights: Weights) -> Row:
    """One case: error of each landmark in mm (inf: not given; None: not labelled, or not learned), Dice of calcium."""
    training = stage.training
    network = networks.build(training.model, training.network)
    network.load_state_dict(network.state_dict() | dict(weights))  # rounds send no integer buffers
    case = cache.load(path)
    by_head = dict.fromkeys(stage.heads, network.eval())
    near = training.closer_look_mm
    closer = None if near is None else dict.fromkeys(stage.heads, near)
    seen = look(case, by_head, training.crop, training.loss.spacing_mm, training.loss.recipe, closer=closer)
    row: Row = {"case": path.stem.removeprefix("case_")}
    learned = {label for head in stage.heads for label in schema.HEADS[head]}
    for number, label in enumerate(schema.LANDMARK_IDS):
        known = label in learned and np.isfinite(case.points[number]).all()
        row[f"{label}_mm"] = _error(seen["mean"][number] - case.points[number], case.spacing) if known else None
    row["calc_dice"] = None
    if "calc" in stage.heads and case.calc_labelled:
        found, truth = 2 * seen["calc"].astype(np.int32) > FULL, case.calc > 0
        size = int(found.sum() + truth.sum())
        row["calc_dice"] = round(float(2 * (found & truth).sum() / size), 4) if size else None
    return row


def _error(offset: np.ndarray, spacing: float) -> float:
    distance = float(np.linalg.norm(offset)) * spacing
    return round(distance, 3) if np.isfinite(distance) else float("inf")


def _number(key: str, text: str) -> Any:
    if key in KEY or key == "case":
        return text
    return None if text == "" else float(text)
