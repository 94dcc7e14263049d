"""Which folder an annotated CT gets: named after the CT, unique among the CTs of one run, fit for every system."""

from __future__ import annotations

import glob
import re
from collections.abc import Sequence
from pathlib import Path

from ..errors import UsageError

_ENDINGS = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd", ".dcm")
_FORBIDDEN = re.compile(r'[<>:"/\\|?*\x00-\x1f]')
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
_LONGEST = 100


def expand(arguments: Sequence[str]) -> list[Path]:
    """The CTs that were named. Patterns are expanded where the shell does not (Windows); a CT twice is refused.

    Raises:
        UsageError: a CT is named twice.
    """
    paths: list[Path] = []
    for argument in arguments:
        found = sorted(glob.glob(argument)) if any(c in argument for c in "*?[") and not Path(argument).exists() else []  # noqa: PTH207 - a pattern may be absolute
        paths += [Path(name) for name in found or [argument]]
    seen: dict[Path, Path] = {}
    for path in paths:
        where = path.resolve()
        if where in seen:
            raise UsageError(f"{path}: is named twice; name every CT once.")
        seen[where] = path
    return paths


def folder_names(paths: Sequence[Path]) -> list[str]:
    """A folder name for each CT: its file name without ending.

    CTs of the same name get the names of the folders above in front (``a/ct.nii.gz``, ``b/ct.nii.gz`` -> ``a-ct``,
    ``b-ct``), as many as it takes; upper and lower case count as the same, as on Windows and macOS.
    """
    parts = [path.resolve().parts for path in paths]
    depth = [1] * len(paths)
    while True:
        names = [_name(p, d) for p, d in zip(parts, depth, strict=True)]
        lowered = [name.casefold() for name in names]
        again = [i for i, name in enumerate(lowered) if lowered.count(name) > 1 and depth[i] < len(parts[i])]
        if not again:
            break
        for i in again:
            depth[i] += 1
    taken: set[str] = set()
    for i, name in enumerate(names):
        number, unique = 2, name
        while unique.casefold() in taken:
            unique, number = f"{name}-{number}", number + 1
        taken.add(unique.casefold())
        names[i] = unique
    return names


def _name(parts: Sequence[str], depth: int) -> str:
    last = parts[-1]
    for ending in _ENDINGS:
        if last.lower().endswith(ending) and len(last) > len(ending):
            last = last[: -len(ending)]
            break
    name = "-".join([*parts[max(len(parts) - depth, 0) : -1], last])
    name = _FORBIDDEN.sub("_", name).strip(". ")[-_LONGEST:].lstrip(". ")
    return f"_{name}" if not name or _RESERVED.fullmatch(name) else name
