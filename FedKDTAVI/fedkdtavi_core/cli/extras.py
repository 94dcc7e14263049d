"""Commands that other packages add through the entry point group ``fedkdtavi.commands``.

An entry point is a function ``(argv: list[str]) -> int``. It is looked up and loaded only when its command is asked
for, so the core imports nothing of it, and ``--help`` stays quick.
"""

from __future__ import annotations

from collections.abc import Collection
from difflib import get_close_matches

from ..errors import UsageError

GROUP = "fedkdtavi.commands"
# What the commands of this distribution do, and the extra they need ("" for none).
_KNOWN = {
    "phantom": ("make virtual hospitals: phantom CTs with exact labels", ""),
    "train": ("train the networks from a config file", "train"),
    "distill": ("teachers, pseudo-labels and student over many sites", "train"),
    "finetune": ("train the heads of given weights, the backbone frozen", "train"),
    "next-round": ("from a bundle and newly reviewed labels to the next bundle", "train"),
    "weights": ("a bundle's network as weights that a training can start from", "train"),
    "average": ("the mean of weights that were trained on from the same ones", "train"),
    "evaluate": ("evaluate a bundle on phantoms with known truth", "train"),
    "arms": ("run the comparison arms, and their paired table", "train"),
    "federation": ("train over many hospitals: simulate, server, site, status", "train,federated"),
    "report": ("one page of figures and tables from evaluations", ""),
    "calibrate": ("make the confidence table of a bundle from an evaluation", "train"),
    "export": ("make a model bundle of trained networks", "train"),
}
# Packages whose absence tells which extra is not installed.
_EXTRA_OF = {
    **dict.fromkeys(("torch", "monai", "einops", "safetensors", "onnx", "onnxscript", "pydantic"), "train"),
    **dict.fromkeys(("nvflare", "cryptography"), "federated"),
    "highdicom": "dicom",
    "slicer": "slicer",
}


def install_command(extras: str) -> str:
    """The command, in the folder of the source: no index has this package."""
    return f'pip install -e ".[{extras}]"' if extras else "pip install -e ."


def described() -> dict[str, str]:
    """Command -> one line for ``--help``."""
    needs = {extra: f" (needs {install_command(extra)})" if extra else "" for _, extra in _KNOWN.values()}
    return {name: about + needs[extra] for name, (about, extra) in _KNOWN.items()}


def run(name: str, arguments: list[str], core_commands: Collection[str]) -> int:
    """Run a command of another package.

    Raises:
        UsageError: there is no such command, or what it needs is not installed.
    """
    from importlib.metadata import entry_points

    found = list(entry_points(group=GROUP, name=name))
    if not found:
        if name in _KNOWN:
            how = install_command(_KNOWN[name][1])
            raise UsageError(f"fedkdtavi {name}: is not installed; install it with {how} (see README.md).")
        known = [*core_commands, *_KNOWN]
        near = get_close_matches(name, known, n=1)
        hint = f", did you mean {near[0]}?" if near else "."
        raise UsageError(f"there is no command '{name}'{hint} The commands are {', '.join(known)}.")
    try:
        return int(found[0].load()(arguments) or 0)
    except ModuleNotFoundError as error:
        missing = (error.name or "").split(".")[0]
        extra = _EXTRA_OF.get(missing)
        if extra is None:
            raise
        whole = (_KNOWN[name][1] if name in _KNOWN else "").split(",")  # all that it needs, not what was missed first
        how = install_command(",".join(dict.fromkeys(filter(None, [*whole, extra]))))
        raise UsageError(
            f"fedkdtavi {name}: needs {missing}, which is not installed; install it with {how} (see README.md)."
        ) from error
