"""A small project for the tests of enrolment and status."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import hospitals

LABELS = {
    "site-1": ["hps", "ms", "calc"],
    "site-2": ["hps", "ms", "calc"],
    "site-3": ["hps", "ms", "calc"],
    "site-4": [],
}


def entries(**changes: Any) -> dict[str, Any]:
    """The content of a project file."""
    plan = {
        "name": "phantoms",
        "server": {"host": "localhost", "port": 18431},
        "sites": [{"name": name, "org": name.replace("-", "_"), "labels": held} for name, held in LABELS.items()],
        "teacher": hospitals.training(),
        "student": hospitals.training(),
        "pseudo": {},
    }
    return plan | changes


def write(path: Path, **changes: Any) -> Path:
    """A project file."""
    path.write_text(json.dumps(entries(**changes)))
    return path


def request(path: Path, **changes: str) -> Path:
    """A request that somebody has made without any key."""
    asked = {"name": "site-2", "org": "site_2", "cert_type": "client"} | changes
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("request.json", json.dumps(asked))
    return path


def is_sentence(text: str) -> bool:
    """One sentence: what is wrong, and what to do."""
    return text.endswith(".") and "\n" not in text and (";" in text or "(" in text)
