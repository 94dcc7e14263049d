"""One site's work in a process of its own: what crashes or hangs here does not end the site's connection.

Lines of JSON: in on standard input (a task's file and where the answer goes), out on standard output (progress, then
done or a code). Everything else, all words included, goes to standard error: the site's own log.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fedkdtavi_core.errors import FedKDTAVIError, InputError, UsageError

from ..cache import CROP_SPACING_MM
from ..federated import files
from ..federated.crops import crops_of
from ..federated.messages import Task
from ..federated.site import Site
from ..federated.worker import SiteWorker, TooFewError
from ..train import NoDeviceError, TrainingError, prepare_torch
from . import wire
from .settings import SiteSettings

CLOSEST = "closest_look_mm.txt"


def main(arguments: list[str] | None = None) -> int:
    """Take tasks until standard input closes; the only argument is the site's settings as JSON."""
    settings = SiteSettings.model_validate_json((sys.argv[1:] if arguments is None else arguments)[0])
    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print is log

    def tell(entry: dict[str, Any]) -> None:
        out.write(json.dumps(entry) + "\n")

    prepare_torch()
    import torch

    torch.set_num_threads(settings.threads)
    worker: SiteWorker | None = None
    for line in iter(sys.stdin.readline, ""):  # each as it comes
        asked = json.loads(line)
        try:
            arrays, header = read_message(Path(asked["task"]))
            task = wire.task_from_wire(header, arrays)
            closer = _closer_than_before(settings, task)
            if closer is not None or worker is None:
                worker = None  # should cropping fail, nothing goes on with what was half cropped
                site, told = cropped(settings, _log, closer), lambda done, todo: tell({"done": done, "todo": todo})
                worker = SiteWorker(site, told, settings.least_cases)
            _answer(worker, task, Path(asked["answer"]))
            tell({"answer": asked["answer"]})
        except FedKDTAVIError as error:
            _log(f"{type(error).__name__}: {error}")
            tell({"code": code_of(error).value})
    return 0


def code_of(error: FedKDTAVIError) -> wire.Code:
    """What is told of an error; its sentence may name a case and stays here."""
    if isinstance(error, wire.VersionError):
        return wire.Code.VERSION
    if isinstance(error, wire.WireError):
        return wire.Code.TASK
    if isinstance(error.__cause__, OSError) and isinstance(error, TrainingError | UsageError):
        return wire.Code.DISK
    if isinstance(error, TrainingError):
        return wire.Code.TRAINING
    if isinstance(error, TooFewError):
        return wire.Code.TOO_FEW
    if isinstance(error, NoDeviceError):
        return wire.Code.DEVICE
    return wire.Code.DATA if isinstance(error, InputError) else wire.Code.NOTHING_TO_LEARN


def cropped(settings: SiteSettings, say: Callable[[str], None], closer: float | None = None) -> Site:
    """The site with its datasets cropped, as fine as asked for so far, or now as ``closer`` (mm) asks; only what has
    changed is cropped anew.

    Raises:
        UsageError, InputError: one cannot be cropped.
    """
    closest = _closest_look(settings) if closer is None else closer
    crops = [
        crops_of(folder, settings.work / "crops" / str(number), settings.bundle, say, closest)
        for number, folder in enumerate(settings.folders)
    ]
    if closer is not None:  # kept once it has worked
        files.write_bytes(settings.work / CLOSEST, f"{closer:g}\n".encode())
    return Site(settings.name, tuple(crops), settings.work)


def _closest_look(settings: SiteSettings) -> float | None:
    """How closely the site has been asked to look so far (mm), which its crops are cut for."""
    path = settings.work / CLOSEST
    try:
        return float(path.read_text(encoding="utf-8")) if path.exists() else None
    except ValueError as error:
        raise InputError(f"{path} holds no number ({error}); delete it.") from error


def _closer_than_before(settings: SiteSettings, task: Task) -> float | None:
    """The look (mm) that this task asks for, where it is closer than any before: then crops have to be cut anew."""
    asked = [task.stage.training.finest_mm, *(teacher.closer_look_mm for teacher in task.teachers.values())]
    wanted = min(look for look in asked if look is not None)
    return wanted if wanted < (_closest_look(settings) or CROP_SPACING_MM) else None


def _answer(worker: SiteWorker, task: Task, answer: Path) -> None:
    began = time.monotonic()
    update = worker.work(task)
    _log(f"{task.kind} {task.stage.name} round {task.round_number + 1}: {time.monotonic() - began:.1f} s")
    write_message(answer, *wire.update_to_wire(update))


def write_message(path: Path, header: str, arrays: wire.Arrays) -> None:
    """One message as a safetensors file. Raises TrainingError when the disk is full."""
    import torch

    files.write_tensors(path, {name: torch.from_numpy(value) for name, value in arrays.items()}, {"message": header})


def read_message(path: Path) -> tuple[wire.Arrays, str]:
    """Arrays and header of a file that :func:`write_message` wrote. Raises InputError when it is none."""
    tensors, header = files.read_tensors(path)
    return {name: value.numpy() for name, value in tensors.items()}, header["message"]


def _log(text: str) -> None:
    print(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
