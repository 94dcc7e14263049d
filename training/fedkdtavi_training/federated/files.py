"""Tensors and tables on disk, written whole or not at all: what was there before stays when a disk is full."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from fedkdtavi_core.errors import InputError

from ..disk import write_bytes


def write_json(path: Path, content: Any) -> None:
    """Write ``content`` as JSON for people too. Raises as :func:`write_bytes`."""
    write_bytes(path, (json.dumps(content, indent=2) + "\n").encode())


def write_tensors(path: Path, tensors: dict[str, torch.Tensor], header: dict[str, Any]) -> None:
    """Write a safetensors file with ``header`` as JSON in its own. Raises as :func:`write_bytes`."""
    plain = {name: value.detach().contiguous() for name, value in tensors.items()}
    write_bytes(path, save(plain, {"header": json.dumps(header)}))


def read_header(path: Path) -> dict[str, Any]:
    """The header of a file written by :func:`write_tensors`. Raises InputError when it is none."""
    with _open(path) as file:
        return _header(path, file)


def read_tensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """All tensors and the header of a file written by :func:`write_tensors`. Raises InputError when it is none."""
    with _open(path) as file:
        names = list(file.keys())
        return {name: file.get_tensor(name) for name in names}, _header(path, file)


def read_tensor(path: Path, name: str) -> torch.Tensor | None:
    """One tensor of a file, or None when it is not in it."""
    with _open(path) as file:
        return file.get_tensor(name) if name in file.keys() else None  # noqa: SIM118 - not a dict


def _open(path: Path) -> Any:
    try:
        return safe_open(str(path), framework="pt")
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path} is not a safetensors file ({error}); delete it and start again.") from error


def _header(path: Path, file: Any) -> dict[str, Any]:
    try:
        return json.loads((file.metadata() or {})["header"])
    except (KeyError, json.JSONDecodeError) as error:
        raise InputError(f"{path} was not written by this program; give another output folder.") from error
