"""The weights of a bundle's networks, to be trained on: from its safetensors, or else from the ONNX graph itself."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from fedkdtavi_core import bundle as bundles
from fedkdtavi_core.bundle import Bundle, layout
from fedkdtavi_core.cli.options import Parser
from fedkdtavi_core.errors import UsageError

from . import networks, onnx_graph
from .disk import make_folder, write_bytes, writing

_DESCRIPTION = "configs/network.json"


def source(bundle: Bundle, role: str) -> str:
    """The bundle's file that holds the weights of ``role``. Raises UsageError when it has no such network."""
    if role not in bundle.scans:
        known = ", ".join(bundle.scans)
        raise UsageError(f"{bundle.path}: has no network {role!r}, so it cannot be trained on; it has {known}.")
    kept = f"models/{role}.safetensors"
    return kept if kept in bundle.files else layout.MODELS[role]


def write(bundle: Bundle, role: str, path: Path) -> None:
    """Write the weights of one of the bundle's networks as a file that a training can start from.

    Args:
        role: ``coarse``, ``student``, ``refiner`` or ``calcium``.

    Raises:
        UsageError: the bundle has no such network, or says too little of it; the file cannot be written.
        TrainingError: the disk is full; what was there stays.
    """
    name = source(bundle, role)
    make_folder(path.parent)
    if name.endswith(".safetensors"):
        write_bytes(path, bundle.read(name))
        return
    if role == "student":
        raise UsageError(
            f"{bundle.path}: holds no weights of its student, so it cannot be trained on; use one that does."
        )
    described = json.loads(bundle.read(_DESCRIPTION)).get(role, {}) if _DESCRIPTION in bundle.files else {}
    try:
        network = networks.build(described["task"], described["arguments"])
        network.load_state_dict(network.state_dict() | onnx_graph.weights(bundle.read(name), network.state_dict()))
    except (KeyError, TypeError, RuntimeError) as error:
        raise UsageError(
            f"{bundle.path}: what it says of its network {role!r} is not enough to rebuild it ({error}); use a bundle "
            "that was exported by this version."
        ) from error
    with writing(path):
        networks.save(network.half(), described["task"], path, _told(bundle, role))


def _told(bundle: Bundle, role: str) -> dict[str, Any]:
    """What weights of a training run would say of themselves."""
    fed = bundle.metadata["preprocessing"]
    told = dict(bundle.provenance.get("networks", {}).get(role, {}))
    if role in layout.OPTIONAL:
        look = fed[layout.OPTIONAL[role]]
        return told | {"crop_size": look["size"], "crop_spacing_mm": look["spacing_mm"]}
    return told


def main(arguments: list[str] | None = None) -> int:
    """``weights``: one network of a bundle -> safetensors."""
    parser = Parser(
        prog="fedkdtavi weights",
        description="Write the weights of one of a bundle's networks, to start a training from (`init`).",
    )
    parser.add_argument("bundle", type=Path, nargs="?", help="folder or zip; the one in use if not given")
    parser.add_argument("--network", choices=tuple(layout.MODELS), default="student")
    parser.add_argument("--out", type=Path, required=True, help="safetensors; is replaced")
    options: argparse.Namespace = parser.parse_args(arguments)
    write(bundles.resolve(options.bundle), options.network, options.out)
    print(options.out)
    return 0
