"""A site with two cases, and labels put onto one of them: what the tests of `site import` share."""

from __future__ import annotations

from pathlib import Path

import site_cases

from fedkdtavi_core import schema
from fedkdtavi_core.annotation import Landmark
from fedkdtavi_core.labels.markups import write_landmarks
from fedkdtavi_core.site.dataset import open_site
from fedkdtavi_core.site.import_labels import find_case, import_labels
from fedkdtavi_core.site.localkey import default_key

ALL = {*schema.LANDMARK_IDS, "calcification"}


def two_cases(folder: Path) -> Path:
    """A site with the cases "one" and "other", without labels."""
    site_cases.make_case(site_cases.make_site(folder), "other", {}, seed=5)
    site_cases.make_case(folder, "one", {})
    return folder


def volume(site: Path, case: str = "one"):
    """The CT of a case."""
    return open_site(site).case(case).read_volume()


def take(site: Path, *sources: Path, case: str | None = "one", **options):
    """Import ``sources``."""
    found = find_case(open_site(site), sources[0], default_key(site), case)
    return import_labels(found, sources, **options)


def records(site: Path, case: str = "one"):
    """What ``labels.json`` says, by label id."""
    return open_site(site).case(case).record.labels


def points(path: Path, **landmarks: Landmark) -> Path:
    """A landmarks file."""
    write_landmarks(path, landmarks)
    return path
