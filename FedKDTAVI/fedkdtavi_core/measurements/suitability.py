"""Is this CT fit to be measured? Phase, slice thickness, contrast, noise and coverage, before anything is measured."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from .. import schema
from ..numbers import fixed, trimmed
from ..volume import Volume
from .blood import MIN_CONTRAST_HU, Blood
from .plane import AnnulusPlane
from .row import Row

SYSTOLE_PERCENT = (20.0, 45.0)  # of the RR interval; the annulus is largest there, so sizing prefers it (SCCT 2019)
GOOD_SLICE_MM = 1.0  # SCCT 2019 asks for reconstructed slices of at most 1 mm
POOR_SLICE_MM = 2.0
TOO_THICK = "too thick for sizing"  # how that concern ends
LOW_CONTRAST_HU = 250.0
HIGH_NOISE_SHARE = 0.20  # SD over mean of the blood
# What has to lie in the CT around the plane's centre, along the root's axis and around it.
COVER_BELOW_MM, COVER_ABOVE_MM, COVER_AROUND_MM = 12.0, 30.0, 22.0


@dataclass(frozen=True)
class Suitability:
    """What the CT allows.

    Attributes:
        contrast: is there contrast medium in the root? None when the lumen's HU could not be read.
        blood: HU of the root's lumen, or None.
        blood_reason: why it could not be read; empty when it was.
        phase_percent: cardiac phase in % of the RR interval, or None when it is not known.
        phase_text: the phase as recorded, or "not recorded".
        slice_mm: slice thickness or spacing in mm, the larger.
        uncovered: words for what the CT does not cover.
        concerns: row id -> sentence, worst first.
    """

    contrast: bool | None
    blood: Blood | None
    blood_reason: str
    phase_percent: float | None
    phase_text: str
    slice_mm: float
    uncovered: tuple[str, ...] = ()
    concerns: Mapping[str, str] = field(default_factory=dict)

    @property
    def refusal(self) -> str:
        """Why sizes and calcium must not be measured on this CT; empty when they may."""
        return "" if self.blood is None else self.blood.refusal

    @property
    def too_thick(self) -> bool:
        """Are the slices too thick to take sizes from?"""
        return self.slice_mm > POOR_SLICE_MM

    @property
    def warnings(self) -> list[str]:
        """Sentences, worst first."""
        return list(self.concerns.values())

    @property
    def line(self) -> str:
        """One line for the head of a report."""
        lumen = (
            "lumen not read" if self.blood is None else f"lumen {fixed(self.blood.mean)} ± {fixed(self.blood.sd)} HU"
        )
        parts = [f"phase {self.phase_text}", f"slices {trimmed(self.slice_mm)} mm", lumen]
        parts.append("root covered" if not self.uncovered else f"not covered: {', '.join(self.uncovered)}")
        if self.refusal:
            verdict = "Sizes and calcium not measurable (no contrast)"
        elif self.contrast is None:
            verdict = "Contrast unknown"
        elif self.too_thick:
            verdict = "Not for sizing (slices too thick)"
        else:
            verdict = "Measurable with care" if self.concerns else "Measurable"
        return f"{verdict}: " + ", ".join(parts)

    def rows(self) -> list[Row]:
        """Phase, slices, lumen, noise and coverage."""
        values = {
            "phase": (self.phase_percent, f"phase {self.phase_text}"),
            "slice_thickness": (self.slice_mm, ""),
            "lumen_hu": (self.blood and self.blood.mean, self.blood_reason),
            "lumen_noise": (self.blood and self.blood.sd, self.blood_reason),
            "uncovered": (float(len(self.uncovered)), ""),
        }
        rows = []
        for row in _ROWS:
            value, reason = values[row.id]
            warned = replace(row, warning=self.concerns.get(row.id, ""))
            rows.append(warned.missing(reason) if value is None else replace(warned, value=value))
        return rows


def _row(row_id: str, name: str, unit: str, normal: str, definition: str) -> Row:
    return Row(row_id, name, None, unit, normal, definition, "", "suitability")


_ROWS = (
    _row("phase", "Cardiac phase", "%", "systole, 20-45 preferred", "share of the RR interval, as recorded"),
    _row("slice_thickness", "Slice thickness", "mm", "at most 1", "larger of slice thickness and slice spacing"),
    _row("lumen_hu", "Lumen at the root", "HU", f"over {LOW_CONTRAST_HU:.0f}", "mean of the root's blood"),
    _row("lumen_noise", "Noise in the lumen", "HU", "", "standard deviation of the root's blood"),
    _row("uncovered", "Parts not covered by the CT", "", "0", "points and parts of the root that lie outside the CT"),
)


def assess(
    volume: Volume,
    plane: AnnulusPlane | None,
    outside: Sequence[str],
    blood: Blood | None,
    blood_reason: str = "",
) -> Suitability:
    """Judge a CT by its record (``volume.info``), its voxels' size, the blood and the root's place in it.

    ``outside`` are the ids of the landmarks that lie outside the CT.
    """
    percent, text = read_phase(volume.info)
    # Slices are the axis that runs most nearly head to foot; the record may say that they overlap.
    axes = volume.affine[:3, :3] / volume.spacing
    through = float(volume.spacing[np.abs(axes[2]).argmax()])
    recorded = volume.info.get("slice_thickness_mm")
    thickness = float(recorded) if isinstance(recorded, int | float) and np.isfinite(recorded) else 0.0
    slice_mm = max(through, thickness)
    beyond = [f"the point {schema.by_id(i).name}" for i in outside]
    parts = [] if plane is None else _uncovered(volume, plane)
    uncovered = [*beyond, *parts]

    concerns: dict[str, str] = {}
    if blood is None:
        concerns["lumen_hu"] = f"contrast not checked: {blood_reason}"
    elif not blood.contrasted:
        concerns["lumen_hu"] = (
            f"no contrast in the root ({fixed(blood.mean)} HU, under {MIN_CONTRAST_HU:.0f}): "
            "contour and calcium are not measured"
        )
    if uncovered:
        lie = "lies outside the CT and counts" if len(beyond) == 1 else "lie outside the CT and count"
        told = [f"{', '.join(beyond)} {lie} as missing: check it"] if beyond else []
        told += [f"the CT does not cover {'; '.join(parts)}"] if parts else []
        concerns["uncovered"] = "; ".join(told)
    if blood is not None and blood.contrasted:
        if blood.mean < LOW_CONTRAST_HU:
            concerns["lumen_hu"] = f"weak contrast: {fixed(blood.mean)} HU in the root, under {LOW_CONTRAST_HU:.0f}"
        if blood.sd > HIGH_NOISE_SHARE * blood.mean:
            concerns["lumen_noise"] = f"noisy: SD {fixed(blood.sd)} HU at {fixed(blood.mean)} HU in the root"
    if slice_mm > POOR_SLICE_MM:
        concerns["slice_thickness"] = f"slices of {trimmed(slice_mm)} mm are {TOO_THICK}"
    elif slice_mm > GOOD_SLICE_MM + 0.05:
        concerns["slice_thickness"] = f"slices of {trimmed(slice_mm)} mm; at most {GOOD_SLICE_MM:.0f} mm is asked for"
    systole = percent is None and "syst" in text.lower()
    if percent is None and text == "not recorded":
        concerns["phase"] = "cardiac phase not recorded: motion cannot be judged"
    elif percent is None and not systole and "diast" not in text.lower():
        concerns["phase"] = f"phase {text} does not say when in the heartbeat: motion cannot be judged"
    elif (percent is not None and not SYSTOLE_PERCENT[0] <= percent <= SYSTOLE_PERCENT[1]) or "diast" in text.lower():
        concerns["phase"] = f"phase {text} is not systolic: the annulus may be larger in systole"
    contrast = None if blood is None else blood.contrasted
    return Suitability(contrast, blood, blood_reason, percent, text, slice_mm, tuple(uncovered), concerns)


def read_phase(info: Mapping[str, Any]) -> tuple[float | None, str]:
    """(percent of the RR interval or None, text) from a reader's ``phase``: 35.0, "35%", "Systole" ...

    A number counts as percent when it has a % sign, or when it is a number (not text) from 0 to 100. A phase that was
    only assumed (``phase_assumed``: those of a file that does not name them) is not recorded.
    """
    phase = None if info.get("phase_assumed") else info.get("phase")
    if phase is None or phase == "" or isinstance(phase, bool):
        return None, "not recorded"
    if isinstance(phase, int | float):
        known = np.isfinite(phase) and 0 <= phase <= 100
        return (float(phase), f"{phase:g} %") if known else (None, "not recorded")
    text = " ".join(str(phase).split())
    told = info.get("phase_percent")  # what the reader made of it: of "300 ms", for one
    if isinstance(told, int | float) and not isinstance(told, bool) and np.isfinite(told) and 0 <= told <= 100:
        return float(told), text if "%" in text else f"{text} ({told:.0f} %)"
    found = re.search(r"(\d+(?:[.,]\d+)?)\s*%", text)
    percent = float(found[1].replace(",", ".")) if found else None
    return (percent if percent is not None and percent <= 100 else None), text or "not recorded"


def _uncovered(volume: Volume, plane: AnnulusPlane) -> list[str]:
    grid, missing = volume.grid, []
    if not grid.contains(plane.centre - COVER_BELOW_MM * plane.normal):
        missing.append(f"the outflow tract {COVER_BELOW_MM:.0f} mm below the annulus")
    if not grid.contains(plane.centre + COVER_ABOVE_MM * plane.normal):
        missing.append(f"the aorta {COVER_ABOVE_MM:.0f} mm above the annulus")
    angles = np.arange(12) * np.pi / 6
    ring = np.cos(angles)[:, None] * plane.u + np.sin(angles)[:, None] * plane.v
    if not grid.contains(plane.centre + COVER_AROUND_MM * ring).all():
        missing.append("the surroundings of the annulus")
    return missing
