"""Where the module's own files lie: beside FedKDTAVILib, as Slicer installs them; in a wheel they lie inside it."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def resourcePath(*parts: str) -> Path:
    """A file or folder of the module's ``Resources``."""
    # Inside first: what lies beside an installed package may belong to any other.
    inside = _PACKAGE / "Resources"
    return (inside if inside.is_dir() else _PACKAGE.parent / "Resources").joinpath(*parts)
