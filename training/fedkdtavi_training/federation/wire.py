"""What crosses between server and site, as plain text and arrays: read strictly, so that nothing else can cross.

A header (JSON) and named float arrays. No path, no case id and no exception's text has a place in it: a site that fails
tells a code, the words stay in its own log.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import numpy as np
import torch
from pydantic import ValidationError

import fedkdtavi_core
from fedkdtavi_core import schema
from fedkdtavi_core.errors import FedKDTAVIError

from ..config import EXTRA_HEADS, FINEST_MM, LARGEST_CROP
from ..federated.config import HEADS, TEACHERS, Stage
from ..federated.messages import Task, Teacher, Update, Weights

Arrays = dict[str, np.ndarray]

_DIGEST = re.compile(r"[0-9a-f]{64}|")
_METRIC = re.compile(r"[a-z][a-z0-9_]{0,40}")  # no case id, file name or sentence fits in
_WEIGHT = re.compile(r"[A-Za-z0-9_.]{1,200}")
_FLOATS = tuple(np.dtype(kind) for kind in (np.float16, np.float32, np.float64))  # what torch can take, in this order
_KINDS = ("count", "label", "train")
_WIRE = "3"  # of the messages: 2 says how closely a teacher looks, 3 how large a refiner's look is


class WireError(FedKDTAVIError):
    """A message that is not one of ours, or not of this version."""

    code = "wire"


class VersionError(WireError):
    """A task of a server that runs another version or label schema."""


class Code(StrEnum):
    """Why a site could not do a task."""

    DATA = "data"
    NOTHING_TO_LEARN = "nothing_to_learn"
    TOO_FEW = "too_few"
    TRAINING = "training"
    DISK = "disk"
    DEVICE = "device"
    CRASHED = "crashed"
    LATE = "late"
    STOPPED = "stopped"
    NOT_SET_UP = "not_set_up"
    VERSION = "version"
    TASK = "task"


_SENTENCES = {
    Code.DATA: "its cases could not be read",
    Code.NOTHING_TO_LEARN: "it has nothing that can be learned from here",
    Code.TOO_FEW: "the round would learn from fewer of its cases than it allows; ask for more steps",
    Code.TRAINING: "its training gave no finite loss",
    Code.DISK: "its disk is full or cannot be written",
    Code.DEVICE: "it has no CUDA device, which the training asks for",
    Code.CRASHED: "its training ended unexpectedly",
    Code.LATE: "no answer before the deadline",
    Code.STOPPED: "it was stopped",
    Code.NOT_SET_UP: "it is not set up",
    Code.VERSION: "it runs another version",
    Code.TASK: "it did not understand the task",
}


def sentence(code: str) -> str:
    """What is said of a site that answered with ``code``; a code that is not ours says no more than that."""
    try:
        return f"{_SENTENCES[Code(code)]} (its own log says more)"
    except ValueError:
        return "it failed with an unknown code"


def versions() -> dict[str, str]:
    """What server and site must have in common."""
    return {"version": fedkdtavi_core.__version__, "schema": str(schema.SCHEMA_VERSION), "wire": _WIRE}


def task_to_wire(task: Task) -> tuple[str, Arrays]:
    """Header and arrays of a task."""
    arrays = {f"weights/{name}": value.numpy() for name, value in task.weights.items()}
    for head, teacher in task.teachers.items():
        arrays |= {f"teacher/{head}/{name}": value.numpy() for name, value in teacher.weights.items()}
    header = {
        **versions(),
        "kind": task.kind,
        "stage": task.stage.model_dump(mode="json"),
        "round": task.round_number,
        "teachers": {
            head: {
                "model": one.model,
                "network": one.network,
                "digest": one.digest,
                "closer_look_mm": one.closer_look_mm,
                "crop": one.crop,
            }
            for head, one in task.teachers.items()
        },
    }
    return json.dumps(header), arrays


def task_from_wire(header: str, arrays: Mapping[str, np.ndarray]) -> Task:
    """The task. Raises WireError when it is none of this version."""
    told = _entries(header, {*versions(), "kind", "stage", "round", "teachers"}, "task")
    for key, ours in versions().items():
        if told[key] != ours:
            raise VersionError(
                f"The server runs {key} {told[key]!s:.40}, this site {ours}; install the same on both sides."
            )
    try:
        stage = Stage.model_validate(told["stage"])
        teachers = {
            head: Teacher(
                str(one["model"]),
                dict(one["network"]),
                _part(arrays, f"teacher/{head}/"),
                str(one["digest"]),
                _voxel_size(one["closer_look_mm"]),
                _crop(one["crop"]),
            )
            for head, one in dict(told["teachers"]).items()
        }
    except (ValidationError, KeyError, TypeError, ValueError) as error:
        raise WireError("The task's description cannot be read; install the same version on both sides.") from error
    if told["kind"] not in _KINDS or not _whole(told["round"]) or set(teachers) - set(TEACHERS):
        raise WireError("The task is of a kind that is not known here; install the same version on both sides.")
    return Task(told["kind"], stage, told["round"], _part(arrays, "weights/"), teachers)


def update_to_wire(update: Update) -> tuple[str, Arrays]:
    """Header and arrays of an update."""
    header = {
        "site": update.site,
        "round": update.round_number,
        "base": update.base,
        "head_weights": update.head_weights,
        "metrics": update.metrics,
        "digest": update.digest,
    }
    return json.dumps(header), {name: value.numpy() for name, value in update.weights.items()}


def update_from_wire(header: str, arrays: Mapping[str, np.ndarray]) -> Update:
    """The update. Raises WireError when anything else is in it than numbers, digests and known names."""
    told = _entries(header, {"site", "round", "base", "head_weights", "metrics", "digest"}, "update")
    digests = all(isinstance(told[key], str) and _DIGEST.fullmatch(told[key]) for key in ("base", "digest"))
    if not digests or not isinstance(told["site"], str) or not _whole(told["round"]):
        raise WireError("An update's digests, site or round are not what they should be.")
    heads, metrics = _numbers(told["head_weights"]), _numbers(told["metrics"])
    if set(heads) - {*HEADS, *EXTRA_HEADS} or not all(_METRIC.fullmatch(name) for name in metrics):
        raise WireError("An update counts what is not counted here.")
    return Update(told["site"], told["round"], told["base"], _part(arrays, ""), heads, metrics, told["digest"])


def _entries(header: str, keys: set[str], what: str) -> dict[str, Any]:
    try:
        told = json.loads(header)
    except (TypeError, ValueError) as error:
        raise WireError(f"The {what}'s header is no JSON.") from error
    if not isinstance(told, dict) or set(told) != keys:
        raise WireError(f"The {what}'s header has not the entries of this version.")
    return told


def _voxel_size(told: Any) -> float | None:
    if told is None:
        return None
    if not math.isfinite(float(told)) or float(told) < FINEST_MM:
        raise ValueError("no voxel size")
    return float(told)


def _crop(told: Any) -> int | None:
    if told is not None and (not _whole(told) or not 0 < told <= LARGEST_CROP):
        raise ValueError("no size of a crop")
    return told


def _whole(value: Any) -> bool:
    return type(value) is int and value >= 0


def _numbers(entries: Any) -> dict[str, float]:
    """Name -> number. Refusing what is not finite is left to the one place that judges updates: there it is named."""
    if not isinstance(entries, dict):
        raise WireError("An update's numbers are no table.")
    for value in entries.values():
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise WireError("An update's table holds something else than numbers.")
    return {str(name): _finite(value) for name, value in entries.items()}


def _finite(value: float) -> float:
    try:
        return float(value) if math.isfinite(value) else math.nan
    except OverflowError:  # a whole number that no float holds
        return math.nan


def _part(arrays: Mapping[str, np.ndarray], prefix: str) -> Weights:
    """The arrays whose names begin so, as tensors; these may share their memory."""
    found = {name[len(prefix) :]: value for name, value in arrays.items() if name.startswith(prefix)}
    for name, value in found.items():
        if not isinstance(value, np.ndarray) or value.dtype not in _FLOATS or not _WEIGHT.fullmatch(name):
            raise WireError("A message holds an array that is no weight.")
    # Copied only where it must be: a server has the answers of many sites at once.
    return {name: torch.from_numpy(np.require(value, requirements=("C", "W"))) for name, value in found.items()}
