"""The user's own folders on each system, where the package platformdirs has them (3D Slicer ships no platformdirs)."""

from __future__ import annotations

import os
import sys
from pathlib import Path

NAME = "FedKDTAVI"
PACKAGES = "FEDKDTAVI_PACKAGES"  # variable of the environment: see :func:`use_packages`


def user_data() -> Path:
    """What is kept for this user: bundles."""
    if sys.platform == "win32":
        return _windows() / NAME
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / NAME
    return _absolute("XDG_DATA_HOME", Path.home() / ".local" / "share") / NAME


def user_log() -> Path:
    """Logs of this user's runs."""
    if sys.platform == "win32":
        return _windows() / NAME / "Logs"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Logs" / NAME
    return _absolute("XDG_STATE_HOME", Path.home() / ".local" / "state") / NAME / "log"


def use_packages() -> None:
    """Let this process find packages that could not be put beside 3D Slicer's own; last, so that they replace nothing.

    Where they lie is told by whoever started it (``FedKDTAVILib.ownPackages``).
    """
    sys.path += filter(None, [os.environ.get(PACKAGES)])


def _windows() -> Path:
    return _absolute("LOCALAPPDATA", Path.home() / "AppData" / "Local")


def _absolute(variable: str, otherwise: Path) -> Path:
    """A relative path in these variables is to be ignored (XDG Base Directory Specification)."""
    given = Path(os.environ.get(variable, "").strip())
    return given if given.is_absolute() else otherwise
