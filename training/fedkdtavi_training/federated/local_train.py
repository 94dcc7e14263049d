"""One site's round: the weights it is handed, its own cases, the weights it hands back."""

from __future__ import annotations

from collections.abc import Callable

import torch

from fedkdtavi_core.errors import InputError

from .. import train
from . import fedprox, site_state
from .config import Stage
from .heads import BACKBONE, floating, part_of, taught
from .messages import Update, Weights
from .samples import SiteSamples
from .site import Cases, Site, gather


def local_round(
    stage: Stage,
    site: Site,
    weights: Weights,
    round_number: int,
    *,
    cases: Cases | None = None,
    report: Callable[[int, int], None] = lambda done, todo: None,
) -> Update:
    """Train the network of ``stage`` on ``site`` for one round; a function of seed, site name and round.

    Args:
        weights: the whole network's, as the server sent them.
        cases: what :func:`.site.gather` found, if the caller has it already.
        report: called with (steps done, steps of the round).

    Raises:
        TrainingError: the loss was not finite in ``bad_steps`` steps in a row, or in the whole round.
        InputError: the weights are of another network; a case cannot be read.
        UsageError: the site has no cases.
    """
    train.prepare_torch()
    cases = gather(site, stage) if cases is None else cases
    base = train.digest(weights)
    heads = tuple(head for head in stage.averaged if head in cases.head_weights)
    if not heads:
        return Update(site.name, round_number, base, {}, {}, {"cases": 0.0}, cases.digest)
    config = stage.for_site(site.name, len(cases.paths), site.work)
    run = train.Run(config)
    _load(run.network, weights, f"{site.name}: the weights are of another network than {stage.name}'s.")
    state = site.work / "state" / stage.name
    site_state.restore(run, state, stage, round_number)
    trained = {*heads} | (set() if stage.heads_only else {BACKBONE})
    for name, parameter in run.parameters.items():
        parameter.requires_grad_(part_of(name) in trained)
    steps = config.steps // stage.training.rounds
    run.step = round_number * steps
    metrics = _train(run, SiteSamples(cases, config, stage.pseudo), steps, stage, report)
    if run.skipped == steps:
        raise train.TrainingError(f"{site.name}: no step of round {round_number + 1} had a finite loss; lower lr.")
    site_state.keep(run, state, stage, round_number)
    sent = taught(run.network.state_dict(), heads, heads_only=stage.heads_only)
    metrics |= {"cases": float(len(cases.paths)), "labelled": float(len(cases.labelled))}
    return Update(
        site.name,
        round_number,
        base,
        {name: value.detach().cpu().clone() for name, value in sent.items()},
        {head: cases.head_weights[head] for head in heads},
        metrics,
        cases.digest,
    )


def _load(network: torch.nn.Module, weights: Weights, otherwise: str) -> None:
    own = network.state_dict()
    given = floating(weights)
    if {n: v.shape for n, v in given.items()} != {n: v.shape for n, v in floating(own).items()}:
        raise InputError(otherwise)
    network.load_state_dict(own | given)


def _train(
    run: train.Run, samples: SiteSamples, steps: int, stage: Stage, report: Callable[[int, int], None]
) -> dict[str, float]:
    torch.manual_seed(run.config.seed + run.step)  # for layers that draw; samples have seeds of their own
    penalty = None
    if stage.aggregation.rule == "fedprox":
        penalty = fedprox.penalty(run.network, stage.aggregation.mu)
    sums: dict[str, float] = {}
    first = run.step
    for done, batch in enumerate(train.batches(run.config, samples, first, first + steps), 1):
        parts = run.advance(batch, penalty)
        for name, value in (parts or {}).items():
            sums[name] = sums.get(name, 0.0) + value
        report(done, steps)
    counted = max(steps - run.skipped, 1)
    means = {name: value / counted for name, value in sums.items()}
    return means | {"steps": float(steps), "skipped": float(run.skipped)}
