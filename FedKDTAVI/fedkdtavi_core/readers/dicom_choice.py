"""Which stack of a DICOM folder is taken.

The rule, in this order; each line decides only where the lines before leave several:

1. axial slices (within 35 degrees) before coronal, sagittal or reformatted ones;
2. original images before derived ones;
3. stacks over at least 60 mm along the body before shorter ones (a root with its surroundings takes 60 mm);
4. with contrast agent (by its tag, or "CTA", "angio", "contrast", "KM" in the description) before without;
5. soft or standard kernels before lung and bone kernels;
6. slices at most 1.5 mm apart before thicker ones;
7. the phase nearest to 35 % of the heartbeat (systole; 30 to 40 % is the usual window for sizing);
8. the longer coverage (in steps of 10 mm), then the thinner slices, then the more images, then the lower series number.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from . import phases
from .dicom_stack import Stack
from .refusal import refuse

RULE = (
    "axial, original, at least 60 mm long, with contrast, no lung or bone kernel, slices up to 1.5 mm, "
    "phase nearest to 35 %, then longest and thinnest"
)
_COVERAGE_MM = 60.0
_THIN_MM = 1.5
_CONTRAST = re.compile(r"\bcta\b|angio|contrast|kontrast|\bkm\b|\btavi|\btavr|arteri", re.IGNORECASE)
_NO_CONTRAST = re.compile(
    r"non?[- ]?contrast|without|nativ|\bohne\b|\bo\. ?km\b|\bkeine? (km|kontrast)|w/o|calcium ?scor|ca[- ]?sc",
    re.IGNORECASE,
)
_SHARP = re.compile(r"lung|bone|edge|detail|\b[bhi][rfvl]?[6-9]\d|\bfc(5\d|8\d)|\b(yb|yc|yd|l|d)\b", re.IGNORECASE)
_LISTED = 12


def choose(
    folder: Path, offered: Sequence[Stack], series: str | int | None, phase: str | int | None, notes: list[str]
) -> Stack:
    """The stack that fits ``series`` and ``phase`` and wins by the rule; what was on offer is noted."""
    fitting = _of_series(folder, offered, series)
    if phase is not None:
        fitting = [fitting[n] for n in phases.choose(folder, [s.phase for s in fitting], phase)]
    chosen = min(fitting, key=_rank)
    if len(offered) > 1:
        place = next(n for n, stack in enumerate(offered, 1) if stack is chosen)
        how = "as asked for" if len(fitting) == 1 and (series or phase) is not None else f"rule: {RULE}"
        notes.append(f"Series {place} of {len(offered)} taken ({describe(chosen)}); {how}.")
        notes.append("On offer: " + _listing(offered) + ".")
    return chosen


def describe(stack: Stack) -> str:
    """A stack in words: description, number of images, spacing, phase."""
    name = stack.first.description or (f"number {stack.first.number}" if stack.first.number is not None else "unnamed")
    words = [f"{name!r}" if stack.first.description else name, f"{len(stack.images)} images"]
    words.append(f"{stack.spacing_mm:.2f} mm")
    if stack.first.kernel:
        words.append(f"kernel {stack.first.kernel}")
    if stack.phase.name:
        words.append(f"phase {stack.phase.name}")
    return ", ".join(words)


def _of_series(folder: Path, offered: Sequence[Stack], wish: str | int | None) -> list[Stack]:
    if wish is None:
        return list(offered)
    text = str(wish).strip()
    if text.isdigit() and 1 <= int(text) <= len(offered):
        return [offered[int(text) - 1]]
    found = [
        stack
        for stack in offered
        if text and (text == stack.first.series or text.lower() in stack.first.description.lower())
    ]
    if not found:
        raise refuse(
            folder, f"has no series {text!r}", f"choose one of these by its place or name: {_listing(offered)}"
        )
    return found


def _listing(offered: Sequence[Stack]) -> str:
    lines = [f"{n}: {describe(stack)}" for n, stack in enumerate(offered[:_LISTED], 1)]
    more = len(offered) - _LISTED
    return "; ".join(lines) + (f"; and {more} more" if more > 0 else "")


def _rank(stack: Stack) -> tuple:
    """Smaller is better; see the module's docstring."""
    image = stack.first
    axial = abs(float(stack.normal[2])) > np.cos(np.radians(35))
    return (
        not axial,
        "DERIVED" in image.image_type,
        stack.coverage_mm < _COVERAGE_MM,
        not _has_contrast(stack),
        bool(_SHARP.search(image.kernel)),
        stack.spacing_mm > _THIN_MM,
        stack.phase.from_systole,
        -round(stack.coverage_mm / 10),
        round(stack.spacing_mm, 2),
        -len(stack.images),
        image.number or 0,
    )


def _has_contrast(stack: Stack) -> bool:
    if _NO_CONTRAST.search(stack.first.description):
        return False
    return stack.first.contrast or bool(_CONTRAST.search(stack.first.description))
