"""One validated file: which arms, with which seeds, on which test hospitals, and who is compared with whom."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, model_validator

from fedkdtavi_core.errors import UsageError

from ..config import _Strict, read_as, refused
from ..federated.config import Experiment

_NAME = r"^[a-z0-9][a-z0-9-]*$"


class ArmEntry(_Strict):
    """One arm: an experiment of `fedkdtavi distill`, and what is different in it."""

    config: Path
    changes: dict[str, Any] = Field(default_factory=dict, description="JSON merge patch (RFC 7396) on the config")
    federation: str = Field("federated", pattern=r"^(federated|pooled|local/[A-Za-z0-9][A-Za-z0-9_.-]*)$")
    seeds: tuple[int, ...] | None = Field(None, description="fewer than the matrix's")
    teachers_from: str | None = Field(None, description="arm whose teachers of the same seed are the same ones")
    about: str = Field("", description="a few words for the table")


class Matrix(_Strict):
    """One run of ``fedkdtavi arms``."""

    arms: dict[str, ArmEntry] = Field(min_length=1)
    seeds: tuple[int, ...] = Field(min_length=1)
    changes: dict[str, Any] = Field(default_factory=dict, description="to every arm's config, before its own")
    cases: Path = Field(description="test hospitals written by `fedkdtavi phantom`, with their answer key")
    limit: int | None = Field(None, gt=0, description="only the first so many test cases")
    bundle: Path | None = Field(None, description="whose coarse network all arms share; the one in use if not given")
    pairs: tuple[tuple[str, str], ...] = Field((), description="(first, second): by how much the second is better")
    runs: Path = Path("runs/arms")
    results: Path = Path("training/results/arms")

    @model_validator(mode="after")
    def _makes_sense(self) -> Matrix:
        import re

        for name in self.arms:
            if not re.match(_NAME, name):
                raise ValueError(f"{name!r} is no name of an arm: small letters, digits and hyphens")
        named = [name for pair in self.pairs for name in pair]
        named += [arm.teachers_from for arm in self.arms.values() if arm.teachers_from is not None]
        for name in named:
            if name not in self.arms:
                raise ValueError(f"there is no arm {name!r}")
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError("a seed is given twice")
        for name, arm in self.arms.items():
            if not set(arm.seeds or ()) <= set(self.seeds):
                raise ValueError(f"{name} has a seed that is none of the matrix's")
        return self

    def units(self) -> Iterator[Unit]:
        """Arms of the first seed, then of the next: whatever is cut off, all arms are equally far."""
        for seed in self.seeds:
            for name, arm in self.arms.items():
                if arm.seeds is not None and seed not in arm.seeds:
                    continue
                yield Unit(self, name, seed)


@dataclass(frozen=True)
class Unit:
    """One arm with one seed."""

    matrix: Matrix
    arm: str
    seed: int

    @property
    def name(self) -> str:
        """As its files are called."""
        return f"{self.arm}-s{self.seed}"

    @property
    def entry(self) -> ArmEntry:
        """The arm's entry."""
        return self.matrix.arms[self.arm]

    @property
    def folder(self) -> Path:
        """Where it is trained."""
        return self.matrix.runs / self.name

    @property
    def csv(self) -> Path:
        """Its result; it is there when the unit is done."""
        return self.matrix.results / f"{self.name}.csv"

    def experiment(self) -> Experiment:
        """What is trained. Raises UsageError naming the file and the key when it is none."""
        path = self.entry.config
        try:
            entries = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UsageError(f"{path} cannot be read as JSON ({error}); give a config of distill.") from error
        kind, _, site = self.entry.federation.partition("/")
        entries = merged(merged(entries, self.matrix.changes), self.entry.changes) | {
            "seed": self.seed,
            "out": self.folder,
            "arms": [kind],
        }
        entries.setdefault("bundle", self.matrix.bundle)
        if site:
            entries["sites"] = [one for one in entries.get("sites", []) if one.get("name") == site]
            if not entries["sites"]:
                raise UsageError(f"{self.arm}: {path} has no site {site}; correct `federation`.")
        try:
            return Experiment.model_validate(entries)
        except ValidationError as error:
            raise refused(path, error) from error

    def digest(self, coarse: str) -> str:
        """Of all that decides its result but the data: experiment, test set's name, digest of the coarse bundle."""
        where = {"out": True, "bundle": True, "sites": {"__all__": {"folder"}}}
        experiment = self.experiment().model_dump(mode="json", exclude=where)
        for training in (experiment["teacher"], experiment["student"], *experiment["teachers"].values()):
            if training is not None:
                training.pop("workers")
        told = [experiment, self.entry.federation, self.matrix.cases.name, self.matrix.limit, coarse]
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]


def merged(base: Any, patch: Any) -> Any:
    """JSON merge patch (RFC 7396), except that null stays: here it says "without"."""
    if not isinstance(patch, Mapping):
        return copy.deepcopy(patch)
    result = dict(base) if isinstance(base, Mapping) else {}
    return result | {key: merged(result.get(key), value) for key, value in patch.items()}


def read(path: Path) -> Matrix:
    """Read and validate a matrix. Raises as :func:`..config.read_as`."""
    return read_as(Matrix, path, "matrix")
