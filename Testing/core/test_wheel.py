"""What `pip wheel .` makes: every module, the released bundle and the module's resources, and it finds them there."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGES = {
    "fedkdtavi_core": "FedKDTAVI/fedkdtavi_core",
    "FedKDTAVILib": "FedKDTAVI/FedKDTAVILib",
    "fedkdtavi_training": "training/fedkdtavi_training",
}
DATA = {"fedkdtavi_core/released_bundle": "Resources/Models", "FedKDTAVILib/Resources": "FedKDTAVI/Resources"}


def files(folder: Path) -> set[str]:
    found = (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {path.relative_to(folder).as_posix() for path in found}


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """The unpacked wheel, far from the repository."""
    base = tmp_path_factory.mktemp("wheel")
    source = base / "source"
    leave = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for place in [*PACKAGES.values(), *DATA.values()]:
        shutil.copytree(REPOSITORY / place, source / place, ignore=leave)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, source / name)
    build = f"from setuptools import build_meta; build_meta.build_wheel({str(base)!r})"
    done = subprocess.run([sys.executable, "-c", build], cwd=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    (wheel,) = base.glob("*.whl")
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(base / "installed")
    shutil.rmtree(source)
    return base / "installed"


def test_every_file_is_in_it_and_nothing_else(installed):
    expected = {f"{package}/{name}" for package, place in PACKAGES.items() for name in files(REPOSITORY / place)}
    expected |= {f"{package}/{name}" for package, place in DATA.items() for name in files(REPOSITORY / place)}
    assert {name for name in files(installed) if ".dist-info/" not in name} == expected
    assert "fedkdtavi_core/released_bundle/fedkdtavi/SHA256SUMS" in expected
    assert "FedKDTAVILib/Resources/Terminology/FedKDTAVI.term.json" in expected


def test_the_bundle_is_found_in_it(installed, tmp_path):
    told = """
import sys, fedkdtavi_core
from fedkdtavi_core.bundle import resolver
from fedkdtavi_core import bundle
resolver.user_folder = lambda: resolver.Path(sys.argv[1])
print(fedkdtavi_core.__file__)
print([place.is_dir() for place in resolver.shipped_folders()])
print(bundle.resolve().path)
"""
    done = subprocess.run(
        [sys.executable, "-c", told, str(tmp_path / "none")],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(installed)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    core, places, path = done.stdout.splitlines()
    assert Path(core) == installed / "fedkdtavi_core" / "__init__.py"
    assert places == "[False, False, True]"
    assert Path(path) == installed / "fedkdtavi_core" / "released_bundle" / "fedkdtavi"


def test_the_modules_resources_are_found_in_it(installed):
    told = "from FedKDTAVILib.resources import resourcePath; print(resourcePath('Terminology', 'FedKDTAVI.term.json'))"
    done = subprocess.run(
        [sys.executable, "-c", told],
        env={**os.environ, "PYTHONPATH": str(installed)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    path = Path(done.stdout.strip())
    assert path.is_relative_to(installed)
    assert path.read_bytes() == (REPOSITORY / "FedKDTAVI/Resources/Terminology/FedKDTAVI.term.json").read_bytes()
