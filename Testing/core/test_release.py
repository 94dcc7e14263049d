"""The bundle that ships, on the sample CT that ships and on the real CTs beside the repository."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from fedkdtavi_core import bundle, pipeline, schema
from fedkdtavi_core.errors import NoRootError
from fedkdtavi_core.measurements import measure
from fedkdtavi_core.readers import read_volume

REPOSITORY = Path(__file__).resolve().parents[2]
READINGS = REPOSITORY / "Testing" / "readings"
FIVE = schema.LANDMARK_IDS[:5]


@pytest.fixture(scope="module")
def shipped() -> bundle.Bundle:
    folders = [path for path in (REPOSITORY / "Resources" / "Models").iterdir() if path.is_dir()]
    assert len(folders) == 1, "exactly one bundle ships"
    return bundle.verify(folders[0])


def errors(annotation, truth: dict[str, list[float]]) -> np.ndarray:
    """Error in mm of every landmark of ``truth``; a missing one is infinite."""
    found = [annotation.point(name) for name in truth]
    return np.array(
        [np.inf if p is None else np.linalg.norm(p - np.array(t)) for p, t in zip(found, truth.values(), strict=True)]
    )


def test_the_sample_is_annotated_and_measured(shipped):
    volume = read_volume(next((REPOSITORY / "Resources" / "SampleData").glob("*.nii.gz")))
    annotation = pipeline.annotate(volume, shipped)
    off = errors(annotation, json.loads((READINGS / "phantom-tavi.json").read_text())["points"])
    assert np.median(off) < 3
    assert off.max() < 8
    measured = measure(volume, annotation)
    assert measured.value("annulus_area") is not None
    assert annotation.calcification.sum() * volume.grid.voxel_volume > 100
    assert "synthetic" in shipped.metadata["trained_on"]


@pytest.mark.parametrize("name", ["lidc-0001", "qin-lsc-0003", "qin-lsc-0064", "ts-pulm-cta"])
def test_real_contrast_cts(shipped, shared_ct, name):
    reading = READINGS / f"{name}.json"
    reading = reading if reading.exists() else shared_ct / name / "reading.json"
    annotation = pipeline.annotate(read_volume(shared_ct / name / "ct.nii.gz"), shipped)
    off = errors(annotation, json.loads(reading.read_text())["points"])
    assert np.median(off) < 6, "two readers differ by 2.6 mm; this guards against a broken chain, not a bad day"
    assert off.max() < 12


def test_no_root_where_there_is_none(shipped, shared_ct):
    for name in ("ts-abdomen-noheart/example_ct.nii.gz", "rider-truncated/ct.nii.gz"):
        with pytest.raises(NoRootError):
            pipeline.annotate(read_volume(shared_ct / name), shipped)


def test_without_contrast_nothing_is_measured_that_cannot_be(shipped, shared_ct):
    volume = read_volume(shared_ct / "lidc-0002-noncontrast" / "ct.nii.gz")
    annotation = pipeline.annotate(volume, shipped)
    measured = measure(volume, annotation)
    assert measured.value("annulus_area") is None
    assert annotation.calcification is None
    told = [words for landmark in annotation.landmarks.values() for words in landmark.flags]
    assert told and not any(word in words for words in told for word in ("plane", "axis", "angle", "low ostium"))
    for name in FIVE:
        point = annotation.point(name)
        assert point is None or volume.grid.contains(point)
