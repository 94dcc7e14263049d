"""Shared with the suite of training: its small hospitals. What takes minutes runs only when it is asked for."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "training"))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out whole federations over mutual TLS, unless ``-m processes`` (``make test-federation``) asks for them."""
    if "processes" not in config.option.markexpr:
        for item in items:
            if item.get_closest_marker("processes"):
                item.add_marker(pytest.mark.skip(reason="several processes for minutes: make test-federation"))
