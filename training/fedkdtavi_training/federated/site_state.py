"""What a site keeps from one round to the next: the optimiser's moments and, where wanted, its norms. Never sent.

One file a round, so that a round that is done again after a crash starts from the same state as the first time.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

import torch

from . import files, local_norms
from .config import Stage

_KEPT = 2  # rounds: the one that is done, and the one before it, in case it has to be done again


def restore(run: object, folder: Path, stage: Stage, round_number: int) -> None:
    """Give ``run`` (:class:`~..train.Run`) the newest state from before ``round_number``, if there is one."""
    found = [path for path in _states(folder) if _round(path) < round_number]
    if not found:
        return
    tensors, header = files.read_tensors(found[-1])
    if header["stage"] != stage.digest():
        return
    if stage.training.moments == "kept":
        run.set_moments(tensors)
    if run.on_gpu and "scaler" in header:
        run.scaler.load_state_dict(header["scaler"])
    if stage.aggregation.local_norms:
        norms = {name[5:]: value for name, value in tensors.items() if name.startswith("norm.")}
        run.network.load_state_dict(norms, strict=False)


def keep(run: object, folder: Path, stage: Stage, round_number: int) -> None:
    """Write the state after ``round_number``; older ones that are no longer needed go."""
    tensors: dict[str, torch.Tensor] = {}
    if stage.training.moments == "kept":
        tensors |= run.moments()
    if stage.aggregation.local_norms:
        tensors |= {f"norm.{name}": value for name, value in local_norms.own(run.network).items()}
    header = {"stage": stage.digest()}
    if run.on_gpu:  # or every round would lose its first steps to a scale that is too large
        header["scaler"] = run.scaler.state_dict()
    elif not tensors:
        return
    files.write_tensors(folder / f"round-{round_number:05d}.safetensors", tensors, header)
    for path in [path for path in _states(folder) if _round(path) <= round_number][:-_KEPT]:
        path.unlink()


def forget(folder: Path, stages: Iterable[str]) -> None:
    """Remove what was kept in ``folder`` for stages (names or patterns) that are done: twice as large as a network."""
    for stage in stages:
        for path in folder.glob(stage):
            shutil.rmtree(path, ignore_errors=True)


def _states(folder: Path) -> list[Path]:
    return sorted(folder.glob("round-*.safetensors"))


def _round(path: Path) -> int:
    return int(path.stem.split("-")[1])
