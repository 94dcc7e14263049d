"""What an experiment's networks start from and who teaches, checked before a single CT is cropped for them."""

from __future__ import annotations

from pathlib import Path

import torch

from fedkdtavi_core.errors import UsageError

from .. import given, networks
from .config import HEADS, REFINER, Experiment, Training

_TEACHERS = ("teacher", "student", "unetr")  # what labels all heads of a crop
_HEADS = {"refiner": networks.LANDMARK_HEADS, "calcium": ("calc",)}  # of networks that do not have all


def start(training: Training, init: Path | None, seed: int) -> tuple[torch.nn.Module, tuple[str, ...]]:
    """A new network, with the weights in ``init`` where they are given; and its heads that nobody has taught yet.

    Raises:
        UsageError: they cannot be read, or are another network's.
    """
    network = networks.build(training.model, training.network, seed=seed)
    heads = _HEADS.get(training.model, HEADS)
    if init is not None:
        held, task, told = given.read(init)
        added = {"coronary": True} if network.arguments.get("coronary") else {}
        given.check_fits(init, (task, held.arguments), (training.model, network.arguments), added)
        network.load_state_dict(network.state_dict() | held.state_dict())
        heads = given.untaught(told, heads)
    return network, heads


def check(experiment: Experiment, finetune: bool = False) -> None:
    """Are all weights that it names there, and do they fit what they are for?

    Raises:
        UsageError: they do not; one sentence.
    """
    seed = experiment.seed
    if finetune:
        if experiment.init is None or experiment.student is None:
            raise UsageError("Finetuning needs `init` (weights to start from) and `student` (how it is trained).")
        start(experiment.student, experiment.init, seed)
        return
    heads = HEADS[experiment.task - 1 : experiment.task] if experiment.task else HEADS
    taught = experiment.task or experiment.pseudo is not None
    for head, path in experiment.teacher_init.items():
        training = experiment.teacher_of(head)
        if training is None:
            raise UsageError(f"{path}: is to start a teacher of {head}, which nothing trains; give `teacher`.")
        start(training, path, seed)
    for head in heads if taught else ():
        weights = experiment.teacher_weights.get(head)
        if weights is not None:
            kind = given.read(weights)[1]
            if kind not in _TEACHERS and (kind, head) != ("calcium", "calc"):
                raise UsageError(f"{weights}: holds a {kind} network, which cannot teach {head}; give a teacher's.")
    if taught and not experiment.task and (last := experiment.teacher_weights.get(REFINER)) is not None:
        _, kind, told = given.read(last)
        if kind != "refiner":
            raise UsageError(f"{last}: holds a {kind} network, no refiner; give a refiner's weights, or leave it out.")
        if not {"crop_size", "crop_spacing_mm"} <= set(told):
            raise UsageError(f"{last}: does not say how closely it looks; give weights written by a training.")
    if experiment.task:
        training = experiment.teacher_of(heads[0])
        if heads[0] not in experiment.teacher_weights:
            if training is None:
                raise UsageError(f"Task {experiment.task} trains a teacher of {heads[0]}: give `teacher`.")
            start(training, experiment.init, seed)
        return
    start(experiment.student, experiment.init, seed)
    if experiment.refiner is not None:
        start(experiment.refiner, experiment.refiner_init, seed)
