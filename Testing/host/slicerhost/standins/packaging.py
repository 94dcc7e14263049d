"""Stand-in for ``slicer.packaging``: what is installed is looked up, nothing is ever installed."""

import importlib.metadata
from pathlib import Path

from packaging.requirements import Requirement


def load_requirements(path):
    """The requirements of a file, one a line; comments and empty lines left out."""
    lines = (line.split(" #")[0].strip() for line in Path(path).read_text(encoding="utf-8").splitlines())
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


def pip_check(req):
    """Whether every given requirement is installed in a fitting version."""
    wanted = req if isinstance(req, list) else [req]
    return all(_installed(one if isinstance(one, Requirement) else Requirement(one)) for one in wanted)


def _installed(requirement):
    if requirement.marker is not None and not requirement.marker.evaluate():
        return True
    try:
        return requirement.specifier.contains(importlib.metadata.version(requirement.name), prereleases=True)
    except importlib.metadata.PackageNotFoundError:
        return False
