"""The mean of the weights of networks that were trained on from the same ones.

It is often nearer to the truth than each of them, in particular on images unlike those that were learned from, and
costs no more at use than one (Wortsman et al., Model soups, ICML 2022; and Robust fine-tuning, CVPR 2022, for a mean
of a network and what it became).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from fedkdtavi_core.cli.options import Parser
from fedkdtavi_core.errors import UsageError

from . import given, networks, train

_LOOKS = ("closer_look_mm", "readout")  # said by all weights that do so
_SIZES = ("crop_size", "crop_spacing_mm")  # not said by older weights


def average(files: Mapping[Path, float], out: Path) -> dict[str, Any]:
    """Write the mean of ``files`` (weights -> share; shares sum to 1) to ``out``; what it tells of itself.

    What else the file tells (steps, cases, how its landmarks are read) is that of the first file, and the mean's own
    digest; ``mean_of`` names the digest and the share of each.

    Raises:
        UsageError: shares that do not sum to 1, weights that cannot be read or are of unlike networks, or ``out``
            cannot be written.
    """
    if not math.isclose(sum(files.values()), 1.0, abs_tol=1e-6) or min(files.values()) <= 0:
        raise UsageError("The shares have to be positive and sum to 1, such as a.safetensors=0.5 b.safetensors=0.5.")
    first: Path | None = None
    sums: dict[str, torch.Tensor] = {}
    parts = []
    for path, share in files.items():
        network, task, says = given.read(path)
        if first is None:
            first, mean, kind, told = path, network, task, says
        elif (task, network.arguments) != (kind, mean.arguments):
            raise UsageError(f"{path}: is another network than {first}; give weights of the same kind and size.")
        elif _looks_otherwise(says, told):
            raise UsageError(f"{path}: looks at a CT in another way than {first}; their mean would fit neither.")
        told = {key: says[key] for key in _SIZES if key in says} | told
        parts.append({"digest": train.digest(network.state_dict()), "share": share})
        for name, value in network.state_dict().items():
            sums[name] = sums.get(name, 0.0) + share * value.double() if value.is_floating_point() else value
    own = mean.state_dict()
    mean.load_state_dict({name: value.to(own[name].dtype) for name, value in sums.items()})
    told = {**told, "digest": train.digest(mean.state_dict()), "mean_of": parts}
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        networks.save(mean, kind, out, told)
    except OSError as error:
        raise UsageError(f"{out}: cannot be written ({error.strerror or error}); choose another --out.") from error
    return told


def _looks_otherwise(says: Mapping[str, Any], told: Mapping[str, Any]) -> bool:
    sizes = [key for key in _SIZES if key in says and key in told]
    return any(says.get(key) != told.get(key) for key in (*_LOOKS, *sizes))


def main(arguments: list[str] | None = None) -> int:
    """``average``: weights and their shares -> the mean."""
    parser = Parser(prog="fedkdtavi average", description="Mean of weights that were trained on from the same ones.")
    parser.add_argument(
        "weights", nargs="+", metavar="WEIGHTS=SHARE", help="weights.safetensors of a run, and its share; they sum to 1"
    )
    parser.add_argument("--out", type=Path, required=True, help="safetensors file to write")
    options = parser.parse_args(arguments)
    files: dict[Path, float] = {}
    for word in options.weights:
        path, _, share = word.rpartition("=")
        try:
            files[Path(path)] = files.get(Path(path), 0.0) + float(share)
        except ValueError:
            raise UsageError(f"{word}: give WEIGHTS=SHARE with a number, such as weights.safetensors=0.5.") from None
    print(json.dumps(average(files, options.out)["mean_of"], indent=2))
    return 0
