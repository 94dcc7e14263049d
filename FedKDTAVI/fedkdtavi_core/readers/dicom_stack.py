"""From images to stacks that make one volume each, and from a stack to its geometry.

SimpleITK reads a series with a missing slice with stretched spacing and only a warning; so positions are checked here.
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from .dicom_scan import Image
from .phases import Phase
from .refusal import refuse

# A distance between neighbours this far from the usual one (share of it, at least 0.05 mm) is a gap.
GAP = 0.1
_SAME_PLACE_MM = 0.01
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def is_frame(orientation: tuple[float, ...]) -> bool:
    """Is this two perpendicular directions of length 1 (to 1 %), as ImageOrientationPatient must be?"""
    if len(orientation) != 6:
        return False
    axes = np.reshape(orientation, (2, 3))
    return bool(np.allclose(axes @ axes.T, np.eye(2), atol=0.01))


@dataclass(frozen=True)
class Stack:
    """Images of one series with the same orientation, size and phase."""

    images: tuple[Image, ...]
    phase: Phase

    @property
    def first(self) -> Image:
        return self.images[0]

    @property
    def normal(self) -> np.ndarray:
        """(3,) unit normal of the slices in LPS."""
        return np.cross(self.first.orientation[:3], self.first.orientation[3:])

    def places(self) -> np.ndarray:
        """(N,) mm along the normal."""
        return np.array([image.position for image in self.images]) @ self.normal

    @property
    def coverage_mm(self) -> float:
        return float(np.ptp(self.places()))

    @property
    def spacing_mm(self) -> float:
        """Usual distance between neighbouring slices."""
        gaps = np.diff(np.unique(self.places().round(3)))
        return float(np.median(gaps)) if len(gaps) else float(self.first.thickness or 0.0)


def stacks(images: Iterable[Image]) -> list[Stack]:
    """Split images into stacks: by series, orientation, size and kernel; then, where several images lie at the same
    place, by the first of phase, temporal position, trigger time and acquisition that tells them apart."""
    groups: dict[tuple, list[Image]] = defaultdict(list)
    for image in images:
        key = (image.series, image.rows, image.columns, image.kernel, image.percent, "LOCALIZER" in image.image_type)
        groups[(*key, tuple(np.round([*image.orientation, *image.pixel_spacing], 3)))].append(image)
    found = [stack for group in groups.values() for stack in _split(group)]
    return sorted(found, key=lambda s: (s.first.number or 0, s.first.series, s.phase.percent or 0, s.phase.name))


def _split(group: list[Image]) -> list[Stack]:
    group = list({image.uid: image for image in group}.values())  # the same file twice
    if _crowded(group):
        ways: tuple[Callable[[Image], object], ...] = (
            lambda image: image.temporal,
            lambda image: image.trigger_ms,
            lambda image: image.acquisition,
        )
        for way in ways:
            parts: dict[object, list[Image]] = defaultdict(list)
            for image in group:
                parts[way(image)].append(image)
            if len(parts) > 1 and not any(_crowded(part) for part in parts.values()):
                return [Stack(tuple(p), _phase(p[0], moment=True, order=n)) for n, p in enumerate(parts.values(), 1)]
    return [Stack(tuple(group), _phase(group[0]))]


def _crowded(group: list[Image]) -> bool:
    """Do two images lie at the same place?"""
    places = np.array([image.position for image in group]).round(2)
    return len(np.unique(places, axis=0)) < len(group)


_PERCENT = re.compile(r"(?<![\d.])(\d{1,3}(?:\.\d)?)\s*%")
# Percentages that say how strongly iterative reconstruction was mixed in, not when in the heartbeat.
_RECONSTRUCTION = re.compile(
    r"(asir|idose|aidr|safire|admire|veo|imr|karl|clear ?view|mix|blend)[^\d%]{0,6}\d{1,3}\s*%", re.IGNORECASE
)


def _phase(image: Image, *, moment: bool = False, order: int = 0) -> Phase:
    """Its part of the heartbeat: by tag, by words of the description, by trigger time and heart rate."""
    if image.percent is not None:
        return Phase(f"{image.percent:g}%", image.percent)
    words = _PERCENT.search(_RECONSTRUCTION.sub(" ", image.description))
    if words and float(words[1]) <= 100 and not moment:
        return Phase(f"{float(words[1]):g}%", float(words[1]))
    if moment and image.trigger_ms is not None:
        percent = 100 * image.trigger_ms / image.rr_ms if image.rr_ms else None
        return Phase(f"{image.trigger_ms:g} ms", percent)
    lower = image.description.lower()
    for word, name, percent in (("syst", "systole", 35.0), ("diast", "diastole", 75.0)):
        if word in lower and not moment:
            return Phase(name, percent)
    return Phase(f"part {order}" if order else "")


def ordered(folder: Path, stack: Stack, notes: list[str]) -> Stack:
    """The stack along its normal without duplicates. InputError for gaps, or different images at the same place."""
    along = np.argsort(stack.places(), kind="stable")
    images = [stack.images[n] for n in along]
    kept = images[:1]
    for image in images[1:]:
        if float((np.array(image.position) - kept[-1].position) @ stack.normal) > _SAME_PLACE_MM:
            kept.append(image)
        elif _digest(image) != _digest(kept[-1]):
            raise refuse(
                image.path,
                f"and {kept[-1].path.name} are different images at the same place",
                "give one series and one phase in the folder, or choose with --series and --phase",
            )
    if len(kept) < len(images):
        notes.append(f"{len(images) - len(kept)} duplicate images were left out.")
    stack = replace(stack, images=tuple(kept))
    gaps = np.diff(stack.places())
    if not len(gaps):
        raise refuse(folder, "holds a single slice", "give all slices of the CT")
    usual = float(np.median(gaps))
    odd = np.flatnonzero(np.abs(gaps - usual) > max(GAP * usual, 0.05))
    if len(odd):
        n = int(odd[np.argmax(np.abs(gaps[odd] - usual))])
        missing = round(gaps[n] / usual) - 1
        what = f"{missing} missing" if missing > 0 else "irregular spacing"
        raise refuse(
            folder,
            f"has slices with gaps ({what} between {kept[n].path.name} and {kept[n + 1].path.name}: "
            f"{gaps[n]:.2f} mm where {usual:.2f} mm are usual)",
            "export the whole series again",
        )
    return stack


def _digest(image: Image) -> str:
    """Digest of the stored pixels, or of the whole file where they cannot be told from the header."""
    import pydicom

    data = pydicom.dcmread(image.path, specific_tags=["PixelData"], force=True).get("PixelData")
    return hashlib.sha256(data if data is not None else image.path.read_bytes()).hexdigest()


def affine_of(folder: Path, stack: Stack) -> np.ndarray:
    """(4, 4) from (column, row, slice) to RAS mm. A tilted gantry shears it, as the slices really lie."""
    image = stack.first
    positions = np.array([im.position for im in stack.images])
    step = (positions[-1] - positions[0]) / (len(positions) - 1)
    line = positions[0] + np.arange(len(positions))[:, None] * step
    if np.abs(positions - line).max() > 0.5 * np.linalg.norm(step):
        raise refuse(folder, "has slices that do not lie on a straight line", "export the whole series again")
    affine = np.eye(4)
    # PixelSpacing is (between rows, between columns); the first direction runs along a row.
    affine[:3, 0] = np.array(image.orientation[:3]) * image.pixel_spacing[1]
    affine[:3, 1] = np.array(image.orientation[3:]) * image.pixel_spacing[0]
    affine[:3, 2] = step
    affine[:3, 3] = positions[0]
    return _LPS_TO_RAS @ affine
