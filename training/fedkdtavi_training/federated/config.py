"""One validated file per experiment: who takes part, what is trained, how it is averaged. Unknown keys are refused."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    ValidationInfo,
    field_validator,
    model_serializer,
    model_validator,
)

from fedkdtavi_core import schema

from .. import architecture
from ..config import (
    EXTRA_HEADS,
    FINEST_MM,
    LARGEST_CROP,
    LOOK,
    AugmentConfig,
    LossConfig,
    Optimizer,
    TrainConfig,
    _Strict,
    read_as,
    without_the_usual,
)

HEADS: tuple[str, ...] = tuple(schema.HEADS)
REFINER = "refiner"
TEACHERS = (*HEADS, REFINER)
"""Who may label: a teacher for every head, and a refiner that looks last at the landmarks of the others."""
TASK_HEADS: dict[int, tuple[str, ...]] = {0: HEADS} | {n: (head,) for n, head in enumerate(HEADS, 1)}
Arm = Literal["federated", "local", "pooled"]
SUMMARY = "summary.json"
"""Beside the weights of an arm: how they were made."""


class SiteFolder(_Strict):
    """One hospital: a site dataset (``site.json``), or a cache of crops (``case_*.npz``)."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    folder: Path


class Aggregation(_Strict):
    """How the sites' weights become one."""

    rule: Literal["fedavg", "fedprox", "median", "trimmed_mean"] = "fedavg"
    mu: float = Field(0.01, ge=0, description="fedprox: pull towards the round's first weights")
    trim: float = Field(0.2, ge=0, lt=0.5, description="trimmed_mean: share left out at each end")
    local_norms: bool = Field(False, description="each site keeps the affine norms it has learned itself")
    k: int = Field(1, ge=1, description="sites a head needs in a round, or it stays as it is")
    absurd: float = Field(10.0, gt=0, description="largest change, in norms of the weights it started from")


class Pseudo(_Strict):
    """How the teachers' predictions become labels where nobody has labelled."""

    kind: Literal["soft", "hard"] = "soft"
    cap: float = Field(0.7, gt=0, le=1, description="largest weight of a pseudo-label; a true label weighs 1")
    min_certainty: float = Field(0.2, ge=0, le=1, description="less certain ones are not used")
    min_plausibility: float = Field(0.05, ge=0, le=1, description="less plausible landmarks are not used")
    sets: int = Field(1, ge=1, le=2, description="2: the student itself makes a second set, and is trained on with it")
    labelled_share: float = Field(0.5, gt=0, lt=1, description="share of the samples that show a case with true labels")


class Training(_Strict):
    """How one network is trained in rounds."""

    model: Literal["teacher", "student", "unetr", "refiner", "calcium"]
    network: dict[str, Any] = Field(default_factory=dict)
    rounds: int = Field(gt=0, description="times that the sites' weights are averaged")
    local_steps: int = Field(0, ge=0, description="optimiser steps a site makes in a round; or give local_epochs")
    local_epochs: float = Field(0.0, ge=0, description="passes through its cases that a site makes in a round")
    max_batches: int = Field(0, ge=0, description="largest number of batches in a local epoch; 0: no limit")
    batch: int = Field(2, gt=0)
    lr: float = Field(1e-3, gt=0)
    warmup: int = Field(100, ge=0, description="a site's first steps, with a rising learning rate")
    weight_decay: float = Field(1e-2, ge=0)
    grad_clip: float = Field(2.0, gt=0)
    bad_steps: int = Field(20, gt=0, description="consecutive steps without a finite loss before a site gives up")
    optimizer: Optimizer = Field("adamw", description="muon: Muon for the hidden layers, AdamW for the rest")
    moments: Literal["kept", "reset"] = Field("kept", description="of a site's optimiser, from one round to the next")
    ema: float = Field(0.0, ge=0, lt=1, description="moving average over the rounds, which is then the result; 0: none")
    workers: int = Field(0, ge=0, description="loader processes; the samples are the same for any number")
    crop: int = Field(64, gt=0, le=LARGEST_CROP)
    closer_look_mm: float | None = Field(None, ge=FINEST_MM, description=LOOK)
    loss: LossConfig = LossConfig()
    augment: AugmentConfig = AugmentConfig()
    device: Literal["cpu", "cuda"] = Field(
        "cpu", description="of every site; cuda: mixed precision, not the same weights twice"
    )

    @field_validator("network")
    @classmethod
    def _can_be_built(cls, given: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        return architecture.checked(info.data.get("model"), given)

    @model_serializer(mode="wrap")
    def _as_ever(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return without_the_usual(dump(self))

    @model_validator(mode="after")
    def _one_length(self) -> Training:
        if bool(self.local_steps) == bool(self.local_epochs):
            raise ValueError("give either local_steps or local_epochs")
        if self.max_batches and not self.local_epochs:
            raise ValueError("max_batches limits an epoch: give local_epochs")
        return self

    @property
    def finest_mm(self) -> float:
        """Voxel size of the closest look that it learns."""
        return min(self.loss.spacing_mm, self.closer_look_mm or math.inf)

    def steps(self, cases: int) -> int:
        """Optimiser steps that a site with so many cases makes in a round."""
        batches = self.local_epochs * cases / self.batch
        if self.max_batches:
            batches = min(batches, self.local_epochs * self.max_batches)
        return self.local_steps or math.ceil(batches)


class Stage(_Strict):
    """One network's training, resolved: what every site is told, and nothing about where anything lies.

    ``pseudo_set`` is the number of the pseudo-labels that are learned from, made by ``pseudo_teachers``; None: true
    labels alone.
    """

    name: str = Field(pattern=r"^[a-z][a-z0-9-]{0,40}$", description="also of folders at a site: no path")
    heads: tuple[str, ...]
    training: Training
    aggregation: Aggregation
    seed: int
    heads_only: bool = Field(False, description="the backbone is frozen")
    pseudo: Pseudo | None = None
    pseudo_set: int | None = Field(None, ge=1, le=2)
    pseudo_teachers: dict[str, str] | None = Field(None, description="head -> digest of who made that set")
    test_ratio: float = 0.0
    held_out: float = Field(0.0, ge=0, lt=1)
    deadline_s: float | None = None

    @model_serializer(mode="wrap")
    def _as_ever(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return without_the_usual(dump(self), held_out=0.0)

    @property
    def averaged(self) -> tuple[str, ...]:
        """The heads that are averaged: those of the stage, and the heart's classes where the network has that head.

        These are learned beside the others, from the cases that teach one of them.
        """
        beside = self.training.network.get("heart") and "coronary" not in self.heads
        return (*self.heads, "heart") if beside else self.heads

    def digest(self) -> str:
        """SHA-256 over everything in it that decides the result."""
        decisive = self.model_dump(mode="json", exclude={"deadline_s": True, "training": {"workers"}})
        return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()

    def for_site(self, site: str, cases: int, folder: Path) -> TrainConfig:
        """The training of one site over all rounds, as the plain training loop knows it; seeded by the site's name."""
        training = self.training
        seed = hashlib.sha256(f"{self.seed} {self.name} {site}".encode()).digest()
        unused = {head: 0.0 for head in HEADS if head not in self.heads}
        unused |= {head: 0.0 for head in training.network if head in EXTRA_HEADS and head not in self.averaged}
        loss = training.loss.model_copy(update=unused)
        shared = {"batch", "lr", "warmup", "weight_decay", "grad_clip", "bad_steps"}
        shared |= {"workers", "crop", "network", "device", "closer_look_mm", "optimizer"}
        return TrainConfig(
            task=training.model,
            cache=[folder],
            out=folder,
            held_out=0,
            seed=int.from_bytes(seed[:4], "big") >> 1,
            steps=training.rounds * training.steps(cases),
            ema=0.0,
            loss=loss,
            augment=training.augment,
            **{key: getattr(training, key) for key in shared},
        )


class Experiment(_Strict):
    """One experiment: ``task`` 1 (hinge points + ostia), 2 (septum), 3 (calcification): that teacher alone.

    0: teachers, their pseudo-labels, and the student that learns all heads from both; then, where it is asked for, the
    refiner from the same. Without ``pseudo`` they learn from true labels alone.
    """

    task: Literal[0, 1, 2, 3] = 0
    arms: tuple[Arm, ...] = Field(("federated",), min_length=1)
    sites: tuple[SiteFolder, ...] = Field(min_length=1)
    out: Path
    seed: int = Field(0, ge=0)
    test_ratio: float = Field(0.0, ge=0, lt=1, description="share of each site's cases that nothing learns from")
    held_out: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="share of a site dataset's cases, told by their CTs, that nothing learns from: `bundle compare` "
        "knows them",
    )
    aggregation: Aggregation = Aggregation()
    deadline_s: float | None = Field(None, gt=0, description="a site that answers later is left out of the round")
    teacher: Training | None = None
    teachers: dict[str, Training] = Field(default_factory=dict, description="head -> its own instead of `teacher`")
    teacher_weights: dict[str, Path] = Field(
        default_factory=dict,
        description="head -> a teacher trained before; refiner -> who has the last look at their landmarks",
    )
    teacher_init: dict[str, Path] = Field(
        default_factory=dict, description="head -> safetensors that its teacher starts from, where it is trained here"
    )
    student: Training | None = None
    pseudo: Pseudo | None = Field(None, description="null: the student learns from true labels alone")
    init: Path | None = Field(None, description="safetensors that student, finetuning or task 1-3 starts from")
    refiner: Training | None = Field(None, description="task 0: a network for the last look, after the student")
    refiner_init: Path | None = Field(None, description="safetensors that the refiner starts from")
    bundle: Path | None = Field(None, description="whose coarse network crops the CTs of site datasets")

    @model_validator(mode="after")
    def _makes_sense(self) -> Experiment:
        for key, training in (("student", self.student), ("teacher", self.teacher), ("refiner", self.refiner)):
            if training is not None and training.model == "calcium":
                raise ValueError(f"{key}.model is 'calcium', which knows calcium alone: give it as `teachers.calc`")
            if training is not None and (training.model == "refiner") != (key == "refiner"):
                raise ValueError(
                    f"{key}.model is {training.model!r}; a refiner, and nothing else, is given as `refiner`"
                )
        for head, training in self.teachers.items():
            if training.model == "calcium" and head != "calc":
                raise ValueError(f"a teacher of {head} is a 'calcium' network, which knows calcium alone")
            if training.model == "refiner":
                raise ValueError(f"a teacher of {head} is a 'refiner', which labels nothing; give another model")
        if self.refiner is not None and self.task:
            raise ValueError(f"task {self.task} trains a teacher: leave `refiner` out")
        names = {site.name for site in self.sites}
        if len(names) != len(self.sites):
            raise ValueError("two sites have the same name")
        if "federated" in self.arms and self.aggregation.k > len(names):
            raise ValueError(f"k is {self.aggregation.k}, but only {len(names)} sites take part")
        unknown = ((set(self.teachers) | set(self.teacher_init)) - set(HEADS)) | (
            set(self.teacher_weights) - set(TEACHERS)
        )
        if unknown:
            raise ValueError(f"there is no head {sorted(unknown)[0]!r}; the heads are {', '.join(HEADS)}")
        if self.task == 0 and self.student is None:
            raise ValueError("task 0 trains a student: give `student`")
        if self.task == 0 and self.pseudo is not None:
            for head in HEADS:
                if self.teacher_of(head) is None and head not in self.teacher_weights:
                    raise ValueError(f"pseudo-labels need a teacher for {head}: give `teacher` or `teacher_weights`")
        if self.task and self.teacher_of(HEADS[self.task - 1]) is None and self.student is None:
            raise ValueError(f"task {self.task} trains a teacher: give `teacher`")
        return self

    def teacher_of(self, head: str) -> Training | None:
        """How the teacher of ``head`` is trained."""
        return self.teachers.get(head, self.teacher)

    def stage(self, name: str, heads: tuple[str, ...], training: Training, **changes: Any) -> Stage:
        """One of its stages; ``changes`` to what it gives all of them."""
        common = {"aggregation": self.aggregation, "seed": self.seed, "test_ratio": self.test_ratio}
        common |= {"deadline_s": self.deadline_s, "held_out": self.held_out}
        return Stage(name=name, heads=heads, training=training, **common | changes)

    @property
    def trainings(self) -> tuple[Training, ...]:
        """How its networks are trained: all that are given."""
        given = (self.teacher, self.student, self.refiner, *self.teachers.values())
        return tuple(training for training in given if training is not None)

    @property
    def devices(self) -> set[str]:
        """What its networks are trained on."""
        return {training.device for training in self.trainings}


def read(path: Path, changes: Mapping[str, Any] | None = None) -> Experiment:
    """Read and validate an experiment, with ``changes`` to its keys. Raises as :func:`..config.read_as`."""
    return read_as(Experiment, path, changes=changes)
