"""What is said beside a number that must not be read alone: thick slices, an ostium whose own place is in doubt."""

from __future__ import annotations

import numpy as np
import pytest
from tube_phantom import tube

from fedkdtavi_core.annotation import Status
from fedkdtavi_core.measurements import measure
from fedkdtavi_core.measurements.blood import statistics


@pytest.mark.parametrize("slice_mm", [0.8, 3.0])
def test_every_size_of_thick_slices_says_so(slice_mm: float) -> None:
    root = tube(size=64)
    root.volume.info.update(phase="35 %", slice_thickness_mm=slice_mm)
    rows = measure(root.volume, root.annotation()).rows()
    warned = {row["id"] for row in rows if "too thick for sizing" in row["warning"]}
    sizes = {row["id"] for row in rows if row["id"].startswith(("annulus_", "circle_", "height_", "ms_"))}
    assert len(sizes) > 10
    assert warned == (sizes | {"slice_thickness"} if slice_mm > 2 else set())


@pytest.mark.parametrize(
    ("flags", "status", "doubted"),
    [
        ([], Status.PREDICTED, False),
        (["low ostium: 6.0 mm over the annulus plane"], Status.PREDICTED, False),
        (["distance from the root axis: 7 mm, less than usual (16 ± 3)"], Status.PREDICTED, True),
        (["distance from the root axis: 7 mm, less than usual (16 ± 3)"], Status.CORRECTED, False),
    ],
)
def test_the_risk_of_a_low_ostium_is_told_with_the_doubt_on_the_point(flags, status, doubted: bool) -> None:
    root = tube()
    annotation = root.annotation()
    mark = annotation.landmarks["ostium_lca"]
    mark.position, mark.flags, mark.status = root.at(133, 6, 3), flags, status
    (told,) = (words for words in measure(root.volume, annotation).warnings if "LOW OSTIUM" in words)
    assert told.endswith("; if the point is right, which is in doubt") is doubted


@pytest.mark.parametrize(("blood", "contrasted"), [(45.0, False), (400.0, True)])
def test_a_deposit_that_fills_the_valve_is_not_taken_for_blood(blood: float, contrasted: bool) -> None:
    """Without contrast half of the place where blood is read can be calcium; its mean is no contrast medium."""
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(blood, 30, 900), rng.normal(1500, 300, 1000)])
    found = statistics(values, "lumen")
    assert found.contrasted is contrasted
    assert found.mean == pytest.approx(blood, abs=40)
