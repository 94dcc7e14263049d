"""``fedkdtavi distill`` and ``finetune``: one config, its arms (federated, local, pooled), results side by side."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fedkdtavi_core
from fedkdtavi_core.errors import FedKDTAVIError, UsageError

from .. import networks, train, validation
from ..config import differing
from ..disk import make_folder
from . import files, provenance, starts, workflow
from .checkpoint import OtherRunError
from .config import SUMMARY, Arm, Experiment
from .crops import crops_of
from .federation import Federation
from .messages import Driver
from .pace import Pace, to_stderr
from .plain import PlainDriver
from .site import Site
from .worker import SKIPPED

MakeDriver = Callable[[tuple[Site, ...], Callable[[str, int, int], None]], Driver]


def run(
    experiment: Experiment,
    *,
    finetune: bool = False,
    say: Callable[[str], None] = to_stderr,
    driver: MakeDriver = PlainDriver,
) -> dict[str, dict[str, Any]]:
    """All arms of an experiment, or what is left of them; "federated", "pooled", "local/<site>" -> summary.

    Each arm's folder in ``experiment.out`` gets ``summary.json`` with the chain of digests, the networks, and per
    stage ``curves.csv`` and the checkpoint.

    Args:
        finetune: train the heads of ``experiment.init`` alone.
        say: takes the log's sentences.
        driver: makes the driver of an arm of its sites and of what is called with (site, done, to do).

    Raises:
        UsageError, InputError, TrainingError: one sentence; a site alone that cannot be trained is named and skipped.
    """
    train.prepare_torch()
    for device in experiment.devices:  # before anything is cropped
        train.check_device(device)
    starts.check(experiment, finetune)
    out = experiment.out
    make_folder(out)
    with _beside_results(experiment):
        hospitals = cropped(experiment, say)
        summaries = {}
        for arm in experiment.arms:
            for name, sites in _federations(arm, hospitals, out):
                try:
                    summaries[name] = _one(experiment, name, sites, hospitals, finetune, say, driver)
                except FedKDTAVIError as error:
                    if arm != "local":
                        raise
                    say(f"{name}: {error}")
                    summaries[name] = {"error": str(error)}
    return summaries


@contextmanager
def _beside_results(experiment: Experiment) -> Iterator[None]:
    """The configuration in the experiment's folder; one that is refused leaves that of the results that lie there."""
    path = experiment.out / "config.json"
    before = path.read_bytes() if path.exists() else None
    files.write_bytes(path, (experiment.model_dump_json(indent=2) + "\n").encode())
    try:
        yield
    except UsageError as error:
        if before is None:
            raise
        files.write_bytes(path, before)
        if isinstance(error, OtherRunError) and error.what == "configuration":
            keys = _differing(before, experiment)
            raise OtherRunError(error.path, error.what, keys) from error
        raise


def _differing(before: bytes, experiment: Experiment) -> list[str]:
    """The keys in which the configuration of the results that lie there was another one."""
    try:
        older = json.loads(before)
    except ValueError:
        return []
    return differing(older, json.loads(experiment.model_dump_json())) if isinstance(older, dict) else []


def cropped(experiment: Experiment, say: Callable[[str], None] = to_stderr) -> tuple[Site, ...]:
    """The experiment's hospitals; those that are site datasets are cropped into its folder first.

    Raises:
        UsageError: one is neither a site dataset nor a cache, or has no cases; no bundle is given that finds the root.
        InputError: two site datasets share a case.
    """
    from fedkdtavi_core.site.dataset import open_site

    from ..sites import check_distinct

    datasets = [open_site(site.folder) for site in experiment.sites if (site.folder / "site.json").is_file()]
    for dataset in datasets:
        if not dataset.cases and not dataset.unreadable:
            raise UsageError(f"{dataset.folder} holds no cases; add CTs with `fedkdtavi site add {dataset.folder} CT`.")
    check_distinct(datasets)
    out = experiment.out
    finest = min((given.finest_mm for given in experiment.trainings), default=None)
    folders = {
        site.name: crops_of(site.folder, out / "crops" / site.name, experiment.bundle, say, finest)
        for site in experiment.sites
    }
    return tuple(Site(name, (folder,), out / "sites" / name) for name, folder in folders.items())


def _federations(arm: Arm, hospitals: tuple[Site, ...], out: Path) -> Iterator[tuple[str, tuple[Site, ...]]]:
    """Name and sites of each federation of an arm; what its sites keep is kept apart from the other arms'."""
    if arm == "pooled":
        folders = tuple(folder for site in hospitals for folder in site.folders)
        yield arm, (Site("pooled", folders, out / "pooled" / "sites" / "pooled"),)
    elif arm == "local":
        for site in hospitals:
            name = f"{arm}/{site.name}"
            yield name, (Site(site.name, site.folders, out / name / "sites" / site.name),)
    else:
        yield arm, tuple(Site(site.name, site.folders, out / arm / "sites" / site.name) for site in hospitals)


def _one(
    experiment: Experiment,
    name: str,
    sites: tuple[Site, ...],
    hospitals: tuple[Site, ...],
    finetune: bool,
    say: Callable[[str], None],
    driver: MakeDriver,
) -> dict[str, Any]:
    folder = experiment.out / name
    pace = Pace(say)

    def stands_for(heads: tuple[str, ...]) -> int:
        """How many hospitals would train these heads, that a pooled site trains in their stead (all, with pseudo)."""
        if name != "pooled":
            return 1
        held = [site.readable(experiment.test_ratio, experiment.held_out)[0].values() for site in hospitals]
        return max(sum(not heads or any(case.truth[head] for case in found for head in heads) for found in held), 1)

    summary = federate(
        experiment, name, driver(sites, pace.report), folder, pace=pace, say=say, finetune=finetune, repeat=stands_for
    )
    summary["not_cropped"] = _left_out(hospitals)
    if experiment.test_ratio:
        summary["test"] = _test(experiment, folder, summary, hospitals)
    files.write_json(folder / SUMMARY, summary)
    return summary


def federate(
    experiment: Experiment,
    name: str,
    driver: Driver,
    folder: Path,
    *,
    pace: Pace,
    say: Callable[[str], None],
    finetune: bool = False,
    repeat: Callable[[tuple[str, ...]], int] = lambda heads: 1,
    watch: workflow.Watch = lambda stage, number, rows, frozen: None,
) -> dict[str, Any]:
    """All stages of one federation, whatever brings its sites their tasks; its summary, also in ``folder``.

    Raises:
        UsageError, InputError, TrainingError: as :func:`run`.
    """
    federation = Federation(
        experiment, driver, folder, pace=pace, say=lambda text: say(f"{name}: {text}"), repeat=repeat, watch=watch
    )
    links = federation.finetune() if finetune else federation.distill()
    summary: dict[str, Any] = {"arm": name, "task": experiment.task, "seed": experiment.seed, **links}
    summary["chain"] = provenance.chain_digest(links)
    summary["version"] = fedkdtavi_core.__version__
    summary["data"] = "synthetic phantoms unless a site says otherwise; not for clinical use"
    summary["unreadable"] = {site: count for site, count in federation.skipped.items() if count}
    files.write_json(folder / SUMMARY, summary)
    return summary


def _test(experiment: Experiment, folder: Path, links: dict[str, Any], hospitals: tuple[Site, ...]) -> dict[str, Any]:
    """A quick look at the result on every hospital's own test cases, cropped as in training."""
    link = links.get("student") or next(iter(links["teachers"].values()))
    network, task, _ = networks.load(folder / f"{link['stage']}.safetensors")
    head = link["stage"].removeprefix("teacher-")
    training = experiment.student if head == link["stage"] else experiment.teacher_of(head)
    found = {}
    for site in hospitals:
        paths = site.test_cases(experiment.test_ratio)
        config = train.TrainConfig(
            task=task, cache=list(site.folders), out=folder, steps=1, seed=experiment.seed, crop=training.crop,
            loss=training.loss, augment=training.augment,
        )  # fmt: skip
        found[site.name] = validation.validate(network, config, paths, folder / f"test-{site.name}.csv")
    return found


def _left_out(hospitals: tuple[Site, ...]) -> dict[str, list[str]]:
    """Site datasets -> why cases of theirs were not cropped."""
    lists = {site.name: site.folders[0] / SKIPPED for site in hospitals}
    return {name: path.read_text(encoding="utf-8").splitlines() for name, path in lists.items() if path.exists()}
