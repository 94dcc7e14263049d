"""Weights that a configuration names: read, and held against the network that it asks for."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from fedkdtavi_core.errors import UsageError

from . import networks


def read(path: Path) -> tuple[torch.nn.Module, str, dict[str, Any]]:
    """Network, its kind, and what its training tells of it; never a pickle.

    Raises:
        UsageError: the file is missing, or holds no weights of this project.
    """
    if not path.is_file():
        raise UsageError(f"{path}: is no file; give weights (.safetensors) written by a training of this project.")
    try:
        return networks.load(path)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror or error}); give weights that can.") from error
    except ValueError as error:
        raise UsageError(f"{error}.") from error


def table(path: Path, what: str, writer: str) -> dict[str, Any]:
    """A JSON object that a command of this project has written. Raises UsageError when the file holds none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(found, dict):
            raise ValueError("it is no JSON object")
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise UsageError(f"{path}: is no {what} ({why}); give what `fedkdtavi {writer}` wrote.") from error
    return found


def untaught(told: Mapping[str, Any], heads: Iterable[str]) -> tuple[str, ...]:
    """Those of ``heads`` that nobody has taught the network, as its weights tell; () where they say nothing of it.

    A teacher's backbone has learned for its own head alone: what the others gave before they give no more.
    """
    if "untaught" in told:
        return tuple(head for head in heads if head in told["untaught"])
    if str(told.get("stage", "")).startswith("teacher-") and "taught" in told:
        return tuple(head for head in heads if head not in told["taught"])
    return ()


def check_fits(
    path: Path, held: tuple[str, Mapping[str, Any]], wanted: tuple[str, Mapping[str, Any]], added: Mapping[str, Any]
) -> None:
    """Can a training of ``wanted`` start from the weights in ``path``?

    Args:
        held, wanted: kind of the network, and its arguments in full.
        added: arguments of layers that are new, and need no weights.

    Raises:
        UsageError: it cannot; the sentence names both networks.
    """
    if held[0] != wanted[0]:
        raise UsageError(
            f"{path}: holds a {held[0]} network, not the {wanted[0]} that the configuration asks for; give weights of "
            f"a {wanted[0]}, or ask for a {held[0]}."
        )
    there, asked = {**held[1], **added}, wanted[1]
    keys = [key for key in {**there, **asked} if there.get(key, False) != asked.get(key, False)]
    if keys:
        ours, theirs = (", ".join(f"{key} {of.get(key, False)}" for key in keys) for of in (there, asked))
        raise UsageError(
            f"{path}: holds a {held[0]} network with {ours}, not with {theirs} as the configuration asks for; give "
            "fitting weights, or change `network`."
        )
