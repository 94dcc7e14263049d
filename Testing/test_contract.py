"""What holds for the whole repository: style, direction of imports, dependencies, short files, cheap start."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
ROOMS = ("FedKDTAVI", "training", "Testing")
MOST_LINES = 400  # one thought a file; the design aims at 300

# Each costs tens to hundreds of milliseconds, so it is imported where it is used.
HEAVY = {"matplotlib", "nibabel", "onnx", "onnxruntime", "pydicom", "rich", "scipy", "SimpleITK"}
HEAVY |= {"fedkdtavi_training.phantom", "monai", "nvflare", "onnxscript", "pydantic", "slicer", "torch", "vtk"}


def run(*command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run a command in the repository, with our packages importable as they lie there."""
    path = os.pathsep.join([str(REPOSITORY / "FedKDTAVI"), str(REPOSITORY / "training")])
    result = subprocess.run(
        command, cwd=REPOSITORY, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False
    )
    if check and result.returncode:
        pytest.fail(f"{' '.join(command)} ended with {result.returncode}:\n{result.stdout}{result.stderr}")
    return result


def python_files() -> list[Path]:
    return sorted(path for room in ROOMS for path in (REPOSITORY / room).rglob("*.py"))


def project() -> dict:
    return tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def names(requirements: list[str]) -> set[str]:
    """Distribution names of requirement lines, in their canonical spelling."""
    found = (re.match(r"[A-Za-z0-9][A-Za-z0-9._-]*", line.strip()) for line in requirements)
    return {re.sub(r"[-_.]+", "-", match.group()).lower() for match in found if match}


def test_style() -> None:
    run(sys.executable, "-m", "ruff", "check", "--no-cache", ".")


def test_imports_run_one_way() -> None:
    command = "from importlinter.cli import lint_imports_command as lint; lint()"
    run(sys.executable, "-c", command, "--no-cache")


def test_files_are_short() -> None:
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in python_files()}
    assert lengths
    too_long = {str(path.relative_to(REPOSITORY)): count for path, count in lengths.items() if count > MOST_LINES}
    assert not too_long


def test_core_needs_neither_torch_nor_slicer() -> None:
    needed = names(project()["dependencies"])
    assert "onnxruntime" in needed
    assert not needed & {"torch", "monai", "slicer-core", "vtk", "nvflare", "onnxruntime-gpu"}


def test_slicer_core_is_never_its_namesake() -> None:
    """``slicer`` on the package index is an unrelated package that overwrites files of ``slicer-core``."""
    listed = names(project()["dependencies"])
    for extra in project()["optional-dependencies"].values():
        listed |= names(extra)
    for pattern in ("*requirements*.txt", "*constraints*.txt"):
        for path in REPOSITORY.rglob(pattern):
            if ".venv" not in path.parts:
                listed |= names(path.read_text(encoding="utf-8").splitlines())
    assert "slicer-core" in listed
    assert "slicer" not in listed
    for lock in REPOSITORY.glob("*.lock"):
        assert not re.search(r'^name = "slicer"$', lock.read_text(encoding="utf-8"), re.MULTILINE), lock.name


def test_only_the_module_lies_where_slicer_looks_for_modules() -> None:
    assert {path.name for path in (REPOSITORY / "FedKDTAVI").glob("*.py")} <= {"FedKDTAVI.py"}


@pytest.mark.parametrize(
    "code",
    [
        "import fedkdtavi_core",
        "import fedkdtavi_core.schema, fedkdtavi_core.errors, fedkdtavi_core.annotation",
        "from fedkdtavi_core.cli.main import main\ntry: main(['--help'])\nexcept SystemExit: pass",
    ],
    ids=["core", "schema", "help"],
)
def test_start_is_cheap(code: str) -> None:
    """Told by what was imported, not by a clock."""
    result = run(sys.executable, "-c", f"{code}\nimport sys\nprint('MODULES', *sys.modules)")
    loaded = set(result.stdout.rsplit("MODULES", 1)[1].split())
    assert "fedkdtavi_core" in loaded
    assert not loaded & HEAVY
