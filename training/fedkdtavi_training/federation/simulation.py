"""All rounds on one machine: the plain loop, or the engine's own simulator; with a status as of a real federation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from ..federated import experiment, files, workflow
from ..federated.config import Experiment
from ..federated.pace import to_stderr
from .progress import Progress


def run(
    chosen: Experiment,
    engine: Literal["plain", "flare"] = "plain",
    *,
    finetune: bool = False,
    say: Callable[[str], None] = to_stderr,
) -> dict[str, dict[str, Any]]:
    """The summaries of the experiment's arms; ``status.json`` and ``status.html`` are in its folder, ``chosen.out``.

    Args:
        engine: FLARE's simulator runs the federated arm, and no other.
        finetune: train the heads of ``chosen.init`` alone.
        say: takes the log's sentences.

    Raises:
        UsageError, InputError, TrainingError: one sentence.
    """
    if engine == "flare":
        from .flare.simulate import simulate

        return {"federated": simulate(chosen, finetune=finetune, say=say)}
    summaries = experiment.run(chosen, finetune=finetune, say=say)
    note(chosen.out)
    return summaries


def note(out: Path) -> None:
    """Write the status of rounds that were not watched, from their checkpoints."""
    progress = Progress(out)
    for path in sorted(out.rglob(workflow.CHECKPOINT), key=lambda path: path.stat().st_mtime_ns):
        header = files.read_header(path)
        stage = path.parent.relative_to(out).as_posix()
        progress.stage(stage, header["rounds"])
        for number in range(1, header["rounds"] + 1):
            rows = [row for row in header["history"] if row["round"] == number]
            begins = f"round {number}: "
            frozen = [text.removeprefix(begins) for text in header["frozen"] if text.startswith(begins)]
            progress.round(stage, number, rows, frozen)
