"""What the training's tests share: caches of stand-ins, made once."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
# These suites need the train extra; without it they are left out, not failed.
if importlib.util.find_spec("torch") is None:
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture(scope="session")
def crops(tmp_path_factory) -> Path:
    """A cache of eight crops."""
    import standin

    return standin.write_cache(tmp_path_factory.mktemp("crop"), 8, "crop")


@pytest.fixture(scope="session")
def chests(tmp_path_factory) -> Path:
    """A cache of eight chests, every fourth without a root."""
    import standin

    return standin.write_cache(tmp_path_factory.mktemp("chest"), 8, "chest")
