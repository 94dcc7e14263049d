"""The rounds: broadcast, collect, check, average, checkpoint. Engine-free: a driver brings the tasks to the sites.

The result does not depend on who answers first: updates are spilt to disk and averaged in the order of the sites. A
run that was killed goes on with the round it was in, with the updates that had already come, and ends in the same
weights.
"""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from fedkdtavi_core.errors import InputError, UsageError

from .. import train
from . import curves, files, refusals
from .aggregate import Spilt, aggregate
from .asking import every_site
from .checkpoint import Checkpoint
from .config import Stage
from .heads import floating
from .messages import Driver, SiteFailedError, Task, Update, Weights

CHECKPOINT = "checkpoint.safetensors"

Watch = Callable[[Stage, int, list[dict[str, Any]], dict[str, str]], None]
"""Called after each round with the stage, the round's number from 1, a row a site, and head -> why it stayed."""


def run(
    stage: Stage,
    driver: Driver,
    start: Weights,
    out: Path,
    *,
    inputs: Mapping[str, str] | None = None,
    say: Callable[[str], None] = lambda text: None,
    watch: Watch = lambda stage, number, rows, frozen: None,
) -> Checkpoint:
    """All rounds of ``stage``, or those that are left; ``weights`` of the result are the last, or their average.

    Args:
        start: weights of the whole network before the first round.
        out: the server's folder: checkpoint, curves, and the updates of the round in hand.
        inputs: site -> digest of its data, where the caller knows it: a run does not go on with other data.
        say: takes the log's sentences.
        watch: told of every round.

    Raises:
        UsageError: ``out`` holds another run; no site has labels.
        TrainingError: no site gave a usable update in a round; the disk is full.
    """
    identity = {
        "configuration": stage.digest(),
        "first weights": train.digest(start),
        "sites": list(driver.sites),
        "cases": dict(inputs or {}),
    }
    path = out / CHECKPOINT
    state = Checkpoint.load(path, identity) if path.exists() else Checkpoint(identity, 0, start, {})
    k = stage.aggregation.k
    alone = ": one site's update alone may show in a head (a simulation)" if k == 1 and len(driver.sites) > 1 else ""
    say(f"{stage.name}: {len(driver.sites)} sites, k = {k}{alone}")
    # The updates of the last round are still there where a crash came between its checkpoint and their removal.
    shutil.rmtree(_folder(out, state.rounds - 1), ignore_errors=True)
    while state.rounds < stage.training.rounds:
        _only_of_this_run(_folder(out, state.rounds), identity)
        state = _round(stage, driver, state, out, say, watch)
        curves.write(out / "curves.csv", state.history)  # before the checkpoint: after the last there is no next time
        state.save(path)
        shutil.rmtree(_folder(out, state.rounds - 1), ignore_errors=True)
    state.weights = state.weights | state.average
    return state


def rounds_done(out: Path) -> int:
    """Rounds that a run in ``out`` has behind it."""
    path = out / CHECKPOINT
    return int(files.read_header(path)["rounds"]) if path.exists() else 0


def _round(
    stage: Stage, driver: Driver, state: Checkpoint, out: Path, say: Callable[[str], None], watch: Watch
) -> Checkpoint:
    number = state.rounds
    task = Task("train", stage, number, floating(state.weights))
    updates, rows = _collect(driver, task, _folder(out, number), say)
    if not updates:
        watch(stage, number + 1, rows, {})
        if all(row["outcome"] == "no labels" for row in rows):
            raise UsageError(
                f"{stage.name}: no site has labels for {', '.join(stage.heads)}; add some, or leave it out."
            )
        raise train.TrainingError(
            f"{stage.name}: no site gave a usable update in round {number + 1}; mend the sites and start again."
        )
    weights, frozen = aggregate(stage, state.weights, updates)
    for sentence in frozen.values():
        say(f"{stage.name} round {number + 1}: {sentence}")
    watch(stage, number + 1, rows, frozen)
    return Checkpoint(
        state.identity,
        number + 1,
        weights,
        _averaged(state.average or state.weights, weights, number, stage.training.ema),
        [*state.history, *rows],
        [*state.frozen, *(f"round {number + 1}: {sentence}" for sentence in frozen.values())],
    )


def _averaged(average: Weights, weights: Weights, number: int, ema: float) -> Weights:
    """The moving average after a round; it follows faster in the first rounds. Empty when none is wanted."""
    keep = min(ema, (1 + number) / (10 + number))
    return {name: average[name].lerp(value, 1 - keep) for name, value in floating(weights).items()} if ema else {}


def _collect(
    driver: Driver, task: Task, folder: Path, say: Callable[[str], None]
) -> tuple[list[Spilt], list[dict[str, Any]]]:
    """The sound updates in the order of the sites, and a row for every site."""
    base = train.digest(task.weights)
    judging = threading.Lock()

    def ask(site: str) -> tuple[Spilt | None, dict[str, Any]]:
        return _already(site, task, base, folder) or _ask(driver, site, task, base, folder, judging)

    answers = every_site(driver, ask)
    for _, row in answers:
        if row["outcome"] in ("failed", "refused"):
            left_out = f"{row['site']} is left out of round {task.round_number + 1}"
            say(f"{task.stage.name}: {left_out} ({row['outcome']}): {row['reason']}")
        elif row["reason"]:
            say(f"{task.stage.name}: {row['site']} counts in round {task.round_number + 1}, but {row['reason']}")
    return [spilt for spilt, _ in answers if spilt is not None], [row for _, row in answers]


def _ask(
    driver: Driver, site: str, task: Task, base: str, folder: Path, judging: threading.Lock
) -> tuple[Spilt | None, dict[str, Any]]:
    row: dict[str, Any] = {"round": task.round_number + 1, "site": site, "outcome": "failed", "reason": ""}
    try:
        update = driver.send(site, task)
    except SiteFailedError as error:
        return None, row | {"reason": error.reason}
    with judging:  # which takes copies of a whole update: one at a time, however many sites answer at once
        return _judge(update, site, task, base, folder, row)


def _judge(
    update: Update, site: str, task: Task, base: str, folder: Path, row: dict[str, Any]
) -> tuple[Spilt | None, dict[str, Any]]:
    if update.site != site:
        return None, row | {"outcome": "refused", "reason": f"it says it is {update.site}"}
    if not update.head_weights and not update.weights:
        return None, row | {"outcome": "no labels", "digest": update.digest}
    reason = refusals.reason_against(update, task, base)
    if reason is not None:
        return None, row | {"outcome": "refused", "reason": reason}
    metrics, unsound = refusals.sound(update.metrics)
    metrics = {name: value for name, value in metrics.items() if not name.startswith("weight_")}  # our own entries
    counted = {f"weight_{head}": weight for head, weight in update.head_weights.items()}
    row |= {"outcome": "averaged", "reason": unsound, "change": refusals.change(update.weights, task.weights)}
    row = {**metrics, **counted, "digest": update.digest} | row  # a site's word replaces nothing of ours
    path = folder / f"{site}.safetensors"
    files.write_tensors(path, update.weights, {"base": base, "row": row, "head_weights": update.head_weights})
    return Spilt(site, path, update.head_weights), row


def _already(site: str, task: Task, base: str, folder: Path) -> tuple[Spilt, dict[str, Any]] | None:
    """A site's update that had come before the server was cut off in this round."""
    path = folder / f"{site}.safetensors"
    if not path.exists():
        return None
    try:
        header = files.read_header(path)
    except InputError:
        return None
    if header["base"] != base or header["row"]["round"] != task.round_number + 1:
        return None
    return Spilt(site, path, header["head_weights"]), header["row"]


def _only_of_this_run(folder: Path, identity: dict[str, Any]) -> None:
    """Updates that came before a crash count only for the very run they were made for: its settings, its data."""
    path, own = folder / "run.json", json.dumps(identity, sort_keys=True)
    if folder.exists() and not (path.exists() and path.read_text(encoding="utf-8") == own):
        shutil.rmtree(folder)
    files.write_bytes(path, own.encode())


def _folder(out: Path, number: int) -> Path:
    return out / f"round-{number + 1:05d}"
