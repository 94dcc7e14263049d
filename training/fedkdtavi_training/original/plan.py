"""The flags as one experiment: what the published command line means on this project's engine."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from fedkdtavi_core.errors import UsageError

from .. import given as weights
from .. import networks
from ..federated.config import Experiment, Pseudo
from . import locations
from .args import value

# --model_type -> this project's name of the network, and how that is trained unless --base says otherwise.
MODELS = {"nnunet": "teacher", "swin_unetr": "student", "unetr": "unetr"}
_RECIPES: dict[str, dict[str, Any]] = {
    "teacher": {"model": "teacher", "lr": 2e-3},
    "student": {"model": "student", "lr": 1e-3},
    "unetr": {"model": "unetr", "lr": 1e-3},
}
ANYWHERE = {"jitter_far_share": 1.0}  # of the crops; --patches


def experiment_of(args: argparse.Namespace) -> Experiment:
    """The experiment that ``args`` ask for.

    Raises:
        UsageError: no such location; ``--base`` or ``--ckpt`` cannot be used; a value is out of its range.
    """
    base = _base(args.base)
    given = None if args.ckpt is None else opened(args.ckpt)
    trained = _trained(args, base, given)
    entries: dict[str, Any] = {
        **{key: entry for key, entry in base.items() if key not in ("teacher", "student", "pseudo")},
        "task": args.task,
        "arms": ["local"] if args.local else ["federated"],
        "sites": locations.choose(args.data, args.locations, args.tags),
        "out": args.out / args.exp_name,
        "test_ratio": value(args, "test_ratio") % 1,  # 1: of --mode test alone, which learns from nothing
        "init": args.ckpt,
    }
    if args.seed is not None:
        entries["seed"] = args.seed
    if args.bundle is not None:
        entries["bundle"] = args.bundle
    if args.task and not args.finetune:
        entries["teacher"] = trained
    else:
        entries["student"] = trained
    if args.task == 0 and not args.finetune:
        entries["teacher"] = _training("teacher", args, base)
        entries["pseudo"] = base.get("pseudo", Pseudo().model_dump())
    try:
        return Experiment.model_validate(entries)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the flags"
        message = first["msg"].removeprefix("Value error, ")
        raise UsageError(f"train_federated.py: {where}: {message}; correct it and start again.") from error


def opened(path: Path) -> tuple[torch.nn.Module, str, dict[str, Any]]:
    """Network, its kind ("student", "teacher") and what is told of its training, from weights; never a pickle.

    Raises:
        UsageError: they are missing, no safetensors of this project, or those of a coarse network.
    """
    network, kind, told = weights.read(path)
    if kind == "coarse":
        raise UsageError(f"{path}: holds the coarse network; give weights of a teacher or a student.")
    return network, kind, told


def _trained(args: argparse.Namespace, base: dict[str, Any], given: tuple[Any, ...] | None) -> dict[str, Any]:
    """How the network that ``--task`` and ``--model_type`` mean is trained."""
    if given is None:
        kind = MODELS[args.model_type or ("nnunet" if args.task else "swin_unetr")]
        return _training(kind, args, base)
    network, kind, _ = given
    if args.model_type is not None and MODELS[args.model_type] != kind:
        held = next(name for name, of in MODELS.items() if of == kind)
        raise UsageError(f"{args.ckpt}: holds a {held}, not the {args.model_type} that --model_type asks for.")
    if args.condition_on_seg and not networks.sees_heart(network.arguments):
        raise UsageError(f"{args.ckpt}: holds a network that takes the CT alone; leave --condition_on_seg out.")
    if args.output_seg and not network.arguments.get("heart"):
        raise UsageError(f"{args.ckpt}: holds a network without a heart head; leave --output_seg out.")
    return _training(kind, args, base) | {"network": network.arguments}


def _training(kind: str, args: argparse.Namespace, base: dict[str, Any]) -> dict[str, Any]:
    """The recipe of a network: the project's, under ``--base``'s, under the flags."""
    below = base.get("student" if kind == "unetr" else kind, {})
    if kind == "unetr" and below.get("model") != kind:  # sizes of the other student are none of its own
        below = {key: entry for key, entry in below.items() if key not in ("model", "network")}
    recipe = {**_RECIPES[kind], **below}
    network = dict(recipe.get("network", {}))
    if kind == "unetr":
        network.setdefault("img_size", recipe.get("crop", 64))
    network |= {"in_channels": 2} if args.condition_on_seg else {}
    network |= {"heart": True} if args.output_seg else {}
    if network:
        recipe["network"] = network
    if args.num_rounds is not None or "rounds" not in recipe:
        recipe["rounds"] = value(args, "num_rounds")
    if args.epochs is not None or not recipe.keys() & {"local_epochs", "local_steps"}:
        recipe.pop("local_steps", None)
        recipe["local_epochs"] = value(args, "epochs")
    if args.batch_size is not None or "batch" not in recipe:
        recipe["batch"] = value(args, "batch_size")
    if args.batch_maxnum is not None:
        recipe["max_batches"] = args.batch_maxnum
    if args.patches:
        recipe["augment"] = {**recipe.get("augment", {}), **ANYWHERE}
    return recipe


def _base(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: cannot be read as JSON ({error}); give experiment keys as one object.") from error
    if not isinstance(content, dict):
        raise UsageError(f"{path}: holds no JSON object; give experiment keys as one object.")
    return content
