"""What is tried on updates, in small: a teacher of hinge points and ostia, and FLARE's filters in the plain loop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import common
import numpy as np

from fedkdtavi_training.federated.messages import Task, Update
from fedkdtavi_training.federated.plain import PlainDriver
from fedkdtavi_training.federated.site import Site

SPACING_MM = 2.5
NETWORK = {"channels": [8, 16, 32]}
SEED = 11


def training(**changes: Any) -> dict[str, Any]:
    """The small teacher's training, as an experiment's file has it."""
    quiet = {
        "context": 0,
        "motion": 0,
        "streaks": 0,
        "slices": 0,
        "in_plane": 0,
        "elastic_mm": 0,
        "jitter_far_share": 0,
    }
    settings = {"model": "teacher", "network": NETWORK, "rounds": 1, "batch": 2, "lr": 3e-3, "warmup": 0, "crop": 16}
    return settings | {"loss": {"spacing_mm": SPACING_MM}, "augment": quiet} | changes


class Filter:
    """One of FLARE's privacy filters, applied as a site's executor applies it. None: the update as it was trained."""

    def __init__(self, chosen: dict[str, Any] | None) -> None:
        self.chosen = chosen

    def __call__(self, task: Task, update: Update) -> Update:
        """What leaves the site in place of ``update``."""
        if self.chosen is None or not update.weights:
            return update
        import torch
        from nvflare.apis.fl_context import FLContext

        from fedkdtavi_training.federation import wire
        from fedkdtavi_training.federation.flare import privacy
        from fedkdtavi_training.federation.settings import Privacy

        # Each by its own numbers, so that a filter's noise is the same in every run of this script.
        np.random.seed([SEED, task.round_number, *update.site.encode()])  # noqa: NPY002 - FLARE draws from there
        _, sent = wire.task_to_wire(task)
        _, trained = wire.update_to_wire(update)
        left = privacy.applied(Privacy.model_validate(self.chosen), sent, trained, FLContext())
        return replace(update, weights={name: torch.from_numpy(value) for name, value in left.items()})


def driver(chosen: dict[str, Any] | None) -> Callable[..., PlainDriver]:
    """The plain loop in which every site wants this filter."""
    applied = Filter(chosen)

    class Filtered(PlainDriver):
        def send(self, site: str, task: Task) -> Update:
            return applied(task, super().send(site, task))

    def make(sites: Sequence[Site], report: Any) -> PlainDriver:
        return Filtered(sites, report)

    return make


__all__ = ["Filter", "common", "driver", "training"]
