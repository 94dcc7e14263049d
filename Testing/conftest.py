"""What all suites share: where the real CTs lie, when they are at hand."""

from __future__ import annotations

from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared_ct() -> Path:
    """Folder with real CTs beside the repository; the test is skipped where there is none."""
    folder = REPOSITORY.parent / "shared" / "ct"
    if not folder.is_dir():
        pytest.skip("no real CTs beside the repository")
    return folder
