"""What crosses between server and site: a task there, an update back. Neither holds a path, a case name or a voxel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import torch

from fedkdtavi_core.errors import FedKDTAVIError

from .config import Stage

Weights = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Teacher:
    """A trained teacher as it is sent to the sites: its network's description, its weights, and how it looks.

    ``closer_look_mm`` is the voxel size of its second, closer look, and of the only one of a calcium network or a
    refiner; None: it has learned no such look. ``crop``: side of a refiner's look in voxels.
    """

    model: str
    network: dict[str, Any]
    weights: Weights
    digest: str
    closer_look_mm: float | None = None
    crop: int | None = None


@dataclass(frozen=True)
class Task:
    """What a site is asked to do.

    Attributes:
        kind: ``count`` its labels; ``label`` its CTs with the teachers; ``train`` one round.
        stage: the network and how it is trained; the same in every round.
        round_number: from 0. For ``label``: which set of pseudo-labels is made.
        weights: the floating ones of the whole network, for ``train``. What is not floating is no weight: every site
            has it from the network's description.
        teachers: head -> teacher, for ``label``; ``refiner`` -> who looks last at their landmarks.
    """

    kind: Literal["count", "label", "train"]
    stage: Stage
    round_number: int = 0
    weights: Weights = field(default_factory=dict)
    teachers: dict[str, Teacher] = field(default_factory=dict)


@dataclass(frozen=True)
class Update:
    """A site's answer.

    Attributes:
        site: its name.
        round_number: the round it answers.
        base: digest of the weights it started from; an answer to other weights is stale.
        weights: what it trained, by name. Heads that it has no labels for are not in it.
        head_weights: head -> what the site counts for it: true labels 1 a case, pseudo-labels their certainty.
        metrics: means over the round, for the log.
        digest: SHA-256 of the data it learned from (CTs, labels, pseudo-labels).
    """

    site: str
    round_number: int
    base: str
    weights: Weights
    head_weights: dict[str, float]
    metrics: dict[str, float]
    digest: str


class SiteFailedError(FedKDTAVIError):
    """A site did not answer, or cannot: left out of this round by name and reason, and asked again in the next."""

    code = "site_failed"

    def __init__(self, site: str, reason: str) -> None:
        super().__init__(f"{site}: {reason}")
        self.site, self.reason = site, reason


class Driver(Protocol):
    """Brings tasks to sites.

    Attributes:
        sites: names of the sites that take part, in the order in which they are averaged.
        parallel: how many sites may be asked at the same time; the result does not depend on it.
    """

    sites: Sequence[str]
    parallel: int

    def send(self, site: str, task: Task) -> Update:
        """Hand ``task`` to ``site`` and wait for its answer.

        Raises:
            SiteFailedError: it failed, or did not answer before the stage's deadline.
        """
