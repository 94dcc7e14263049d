"""The extension as its CMake files alone would install it: configured, built and installed against Testing/cmake."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

# pip's cmake lies beside its Python, which need not be on the path.
CMAKE = shutil.which("cmake", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))
COMPILER = shutil.which("c++")
REPOSITORY = Path(__file__).resolve().parents[2]
MODULES = "lib/Slicer-5.12/qt-scripted-modules"  # as set in Testing/cmake/UseSlicer.cmake


@dataclass(frozen=True)
class InstallTree:
    """Where it was installed, and what the CMake files told Slicer's macros.

    Attributes:
        folder: Slicer's folder of scripted modules.
        scripts, resources: files given to slicerMacroBuildScriptedModule, relative to FedKDTAVI/.
        tests: absolute paths given to slicer_add_python_unittest.
        extension: EXTENSION_... variables without that prefix.
    """

    folder: Path
    scripts: list[str]
    resources: list[str]
    tests: list[Path]
    extension: dict[str, str]

    @property
    def files(self) -> set[str]:
        """Installed files, relative to ``folder``."""
        return {path.relative_to(self.folder).as_posix() for path in self.folder.rglob("*") if path.is_file()}


def install(scratch: Path) -> InstallTree:
    """Configure, build and install into ``scratch``. Raises AssertionError with the words of CMake."""
    build, prefix = scratch / "build", scratch / "Slicer install"
    _cmake("-S", REPOSITORY, "-B", build, f"-DSlicer_DIR={REPOSITORY / 'Testing' / 'cmake'}", "-DBUILD_TESTING=ON")
    _cmake("--build", build)
    _cmake("--install", build, "--prefix", prefix)
    recorded: dict[str, list[str]] = {}
    for line in (build / "record.txt").read_text(encoding="utf-8").splitlines():
        kind, _, rest = line.partition(" ")
        recorded.setdefault(kind, []).append(rest)
    start = "EXTENSION_"
    return InstallTree(
        folder=prefix / MODULES,
        scripts=recorded["SCRIPTS"],
        resources=recorded["RESOURCES"],
        tests=[Path(test) for test in recorded["TEST"]],
        extension={kind.removeprefix(start): rest[0] for kind, rest in recorded.items() if kind.startswith(start)},
    )


def _cmake(*arguments: object) -> None:
    done = subprocess.run([CMAKE, *map(str, arguments)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise AssertionError(f"cmake {' '.join(map(str, arguments))}\n{done.stdout}\n{done.stderr}")
