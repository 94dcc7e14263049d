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
# Names that say nothing of whose CT it is: of files, of the folders a DICOM export makes, and mere numbers.
_GENERIC = re.compile(
    r"(ct|cta|image|images|img|im|volume|vol|scan|data|input|dicom|dicoms|dcm|series|serie|ser|se|study|st|phase)?"
    r"[ _.-]*\d*",
    re.IGNORECASE,
)


def expand(arguments: Sequence[str]) -> list[Path]:
    """The CTs that were named. Patterns are expanded where the shell does not (Windows); a CT twice is refused.

    Raises:
        UsageError: a CT is named twice.
    """
    paths: list[Path] = []
    for argument in arguments:
        is_pattern = any(c in argument for c in "*?[") and not Path(argument).exists()
        found = sorted(glob.glob(argument)) if is_pattern else []  # noqa: PTH207 - Path.glob takes no absolute pattern
        paths += [Path(name) for name in found or [argument]]
    seen: dict[Path, Path] = {}
    for path in paths:
        where = path.resolve()
        if where in seen:
            raise UsageError(f"{path}: is named twice; name every CT once.")
        seen[where] = path
    return paths


def folder_names(paths: Sequence[Path], chosen: str | None = None) -> list[str]:
    """A folder name for each CT: its file name without ending, or the one that was ``chosen`` for a single CT.

    A name that says nothing (``ct``, ``DICOM``, ``series 2``) always gets the names of the folders above in front, up
    to one that says something: ``a/ct.nii.gz`` -> ``a-ct``, so that CTs annotated in runs of their own stay apart, too.
    CTs of the same name get as many folders as it takes, and numbers where that does not help; upper and lower case
    count as the same.

    Raises:
        UsageError: one name was chosen for several CTs, or one that is no plain name.
    """
    if chosen is not None:
        if len(paths) > 1:
            raise UsageError("--name belongs to one CT; annotate that CT in a run of its own.")
        if chosen != _name([chosen], 1):
            raise UsageError(f"--name {chosen}: cannot be the name of a folder; use letters and digits.")
        return [chosen]
    parts = [path.resolve().parts for path in paths]
    stems = [_name(p, 1).casefold() for p in parts]
    names = []
    for own, stem in zip(parts, stems, strict=True):
        namesakes = [p for p, other in zip(parts, stems, strict=True) if other == stem]
        names.append(_name(own, max(_depth(namesakes), _telling(own))))
    taken: set[str] = set()
    for i, name in enumerate(names):
        number, unique = 2, name
        while unique.casefold() in taken:
            unique, number = f"{name}-{number}", number + 1
        taken.add(unique.casefold())
        names[i] = unique
    return names


def _depth(namesakes: Sequence[Sequence[str]]) -> int:
    """How many parts of the paths tell their folders apart; two files in one folder stay namesakes."""

    def folders(depth: int) -> int:
        return len({tuple(part.casefold() for part in p[-depth:-1]) for p in namesakes})

    deepest = max(len(p) for p in namesakes)
    return next(depth for depth in range(1, deepest + 1) if folders(depth) == folders(deepest))


def _telling(parts: Sequence[str]) -> int:
    """How many parts of a path it takes to reach a name that says something; all below the root where none does."""
    for depth in range(1, len(parts)):
        if not _GENERIC.fullmatch(_stem(parts[-depth])):
            return depth
    return max(len(parts) - 1, 1)


def _stem(name: str) -> str:
    """A file's name without its ending."""
    for ending in _ENDINGS:
        if name.lower().endswith(ending) and len(name) > len(ending):
            return name[: -len(ending)]
    return name


def _name(parts: Sequence[str], depth: int) -> str:
    name = "-".join([*parts[max(len(parts) - depth, 0) : -1], _stem(parts[-1])])
    name = _FORBIDDEN.sub("_", name).strip(". ")[-_LONGEST:].lstrip(". ")
    return f"_{name}" if not name or _RESERVED.fullmatch(name) else name
