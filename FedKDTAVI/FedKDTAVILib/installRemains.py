"""What an installation leaves that was stopped in the middle: cleared so far that the next one puts everything right.

pip holds a package for installed as soon as its ``.dist-info`` is there, and so does Python. Without that folder it is
not installed, and pip writes over the files that are there.
"""

from __future__ import annotations

import csv
import importlib
import shutil
import sysconfig
from pathlib import Path

from . import ownPackages


class InstallRemains:
    """To be made before an installation.

    >>> remains = InstallRemains()
    >>> remains.clear()    # after it was stopped: packages that came since and are not complete count as not there
    """

    def __init__(self) -> None:
        self._before = set(_packages())

    def clear(self) -> list[str]:
        """Returns the names of the folders that were removed."""
        half = [path for path in _packages() if path not in self._before and not _isComplete(path)]
        for path in half:
            shutil.rmtree(path, ignore_errors=True)
        importlib.invalidate_caches()
        return [path.name for path in half]


def _packages() -> list[Path]:
    places = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib"), str(ownPackages.packagesFolder())}
    return [path for place in sorted(places) for path in Path(place).glob("*.dist-info")]


def _isComplete(path: Path) -> bool:
    """pip writes RECORD last; it names all files. From Python 3.12 on ``Distribution.files`` leaves out the missing."""
    try:
        lines = (path / "RECORD").read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return False
    files = [row[0] for row in csv.reader(lines) if row]
    return bool(files) and all((path.parent / file).exists() for file in files)
