"""May this CT be measured, and what speaks against it: contrast, noise, slices, coverage, phase of the heartbeat."""

from __future__ import annotations

import pytest
from tube_phantom import tube

from fedkdtavi_core.measurements import measure
from fedkdtavi_core.measurements.suitability import read_phase
from fedkdtavi_core.volume import Volume


def test_suitability_of_a_good_ct():
    root = tube(size=64)
    root.volume.info.update(phase="35 %", slice_thickness_mm=0.8)
    result = measure(root.volume, root.annotation())
    assert result.suitability_line.startswith("Measurable: ")
    assert result.warnings == []
    for slice_mm, verdict in ((1.5, "Measurable with care: "), (3.0, "Not for sizing (slices too thick): ")):
        root.volume.info["slice_thickness_mm"] = slice_mm
        assert measure(root.volume, root.annotation()).suitability_line.startswith(verdict)


def test_suitability_names_what_speaks_against_a_ct():
    root = tube(blood=200, noise=45, spacing=(0.8, 0.8, 2.5), tilt=10)
    root.volume.info["phase"] = "75%"
    cut = Volume(root.volume.array[:, :, 7:], root.volume.affine.copy(), root.volume.info)
    cut.affine[:3, 3] += 7 * root.volume.affine[:3, 2]
    text = " ".join(measure(cut, root.annotation()).warnings)
    for words in ("weak contrast", "noisy", "2.5 mm", "75%", "outflow tract"):
        assert words in text, words


@pytest.mark.parametrize(
    ("phase", "percent"),
    [(None, None), ("", None), (35, 35), (35.0, 35), ("35%", 35), ("BestSyst 37,5 %", 37.5), ("systole", None),
     (True, None), ("300 ms", None), (float("nan"), None), ("250%", None), ("3", None)],
)  # fmt: skip
def test_reading_the_phase(phase: object, percent: float | None):
    assert read_phase({"phase": phase})[0] == percent


@pytest.mark.parametrize(
    ("info", "percent", "words"),
    [
        ({"phase": "300 ms", "phase_percent": 37.5}, 37.5, None),
        ({"phase": "700 ms", "phase_percent": 70.0}, 70.0, "700 ms (70 %) is not systolic"),
        (
            {"phase": "700 ms", "phase_percent": None},
            None,
            "phase 700 ms does not say when",
        ),
        ({"phase": "part 2", "phase_percent": None}, None, "phase part 2 does not say when"),
        ({"phase": "systole"}, None, None),
    ],
)
def test_a_phase_that_is_not_known_to_be_systole_is_told(info, percent, words):
    root = tube(size=64)
    root.volume.info.update(slice_thickness_mm=0.8, **info)
    assert read_phase(root.volume.info)[0] == percent
    told = measure(root.volume, root.annotation()).warnings
    assert told == [] if words is None else words in told[0]
