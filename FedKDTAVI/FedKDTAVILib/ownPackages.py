"""Where packages go when 3D Slicer's own folder cannot be written, as where IT has installed it in Program Files.

Slicer shuts out the user's site-packages (PYTHONNOUSERSITE), so they lie in a folder of this extension. It comes last
on Python's path: nothing that Slicer ships is replaced by it.
"""

from __future__ import annotations

import sys
import sysconfig
import tempfile
from pathlib import Path

from fedkdtavi_core import folders


def packagesFolder() -> Path:
    """The folder, for the Python that runs here; it may not be there yet."""
    return folders.user_data() / f"packages-{sys.version_info.major}.{sys.version_info.minor}"


def areNeeded() -> bool:
    """Can pip write nothing into this Python's own folder? Tried, because Windows answers no question about it."""
    try:
        with tempfile.TemporaryFile(dir=sysconfig.get_path("purelib")):
            return False
    except OSError:
        return True


def use() -> None:
    """Let Python find what lies there; harmless when nothing does, and when it is called again."""
    folder = packagesFolder()
    if folder.is_dir() and str(folder) not in sys.path:
        sys.path.append(str(folder))


def environment() -> dict[str, str]:
    """What a child process is told of it."""
    folder = packagesFolder()
    return {folders.PACKAGES: str(folder)} if folder.is_dir() else {}
