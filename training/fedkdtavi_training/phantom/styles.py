"""How a scanner and its protocol look: one dataclass, and the ranges that styles are drawn from.

All ranges are choices, made wide so that real scanners lie inside; none is a measurement.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace

import numpy as np


@dataclass(frozen=True)
class ScannerStyle:
    """One scan's look. The defaults are a clean gated thin-slice CT; zero switches a part off.

    Attributes:
        psf_mm: standard deviation of the kernel's point spread in the slice plane.
        edge: overshoot of a sharp kernel (0 none, 0.6 strong).
        slice_thickness_mm: width of the slice profile.
        slice_increment_mm: distance of the slices; slices overlap where it is smaller than the thickness.
        pixel_mm: pixel size in the slice plane.
        field_of_view_mm: width of the picture; larger than the body leaves air around it.
        circular: fill the corners outside the reconstruction circle with -1024 HU.
        noise_hu: standard deviation of the noise in one pixel of one slice.
        noise_grain_mm: width of the noise's point spread; small for sharp kernels.
        kvp: tube voltage; changes the brightness of iodine and calcium.
        contrast_scale: enhancement above soft tissue, relative to what was painted.
        streaks: strength of streaks and dark bands beside dense contrast, calcium and metal (1 strong).
        shading_hu: slow drifts over the picture.
        motion_mm: distance of the two pictures of a heart that moved during the scan (ungated).
        motion_share: share of the second picture, 0..0.5.
        motion_blur_mm: standard deviation of blur along a random direction.
        jitter_mm: in-plane shift of one slab of slices against the others (stair steps).
        slab_mm: thickness of a slab.
    """

    psf_mm: float = 0.5
    edge: float = 0.0
    slice_thickness_mm: float = 0.75
    slice_increment_mm: float = 0.5
    pixel_mm: float = 0.5
    field_of_view_mm: float = 250.0
    circular: bool = False
    noise_hu: float = 20.0
    noise_grain_mm: float = 0.5
    kvp: float = 120.0
    contrast_scale: float = 1.0
    streaks: float = 0.0
    shading_hu: float = 0.0
    motion_mm: float = 0.0
    motion_share: float = 0.0
    motion_blur_mm: float = 0.0
    jitter_mm: float = 0.0
    slab_mm: float = 30.0

    @classmethod
    def sample(cls, rng: np.random.Generator, ranges: StyleRanges | None = None) -> ScannerStyle:
        """A random style from ``ranges`` (:data:`TRAINING` when None)."""
        return (TRAINING if ranges is None else ranges).sample(rng)

    def to_dict(self) -> dict[str, float | bool]:
        """JSON-able."""
        return asdict(self)


@dataclass(frozen=True)
class StyleRanges:
    """Low and high end of every factor; ``log`` factors are drawn evenly in their logarithm.

    ``*_chance`` is how often a part that can be absent (streaks, motion ...) is there at all.
    """

    name: str
    psf_mm: tuple[float, float] = (0.3, 1.2)
    edge: tuple[float, float] = (0.0, 0.5)
    slice_thickness_mm: tuple[float, float] = (0.5, 5.0)
    pixel_mm: tuple[float, float] = (0.35, 0.95)
    field_of_view_mm: tuple[float, float] = (180.0, 420.0)
    noise_hu: tuple[float, float] = (5.0, 70.0)
    kvp: tuple[float, float] = (80.0, 130.0)
    contrast_scale: tuple[float, float] = (0.7, 1.3)
    streaks: tuple[float, float] = (0.1, 1.0)
    shading_hu: tuple[float, float] = (0.0, 12.0)
    motion_mm: tuple[float, float] = (1.0, 5.0)
    motion_blur_mm: tuple[float, float] = (0.3, 1.5)
    jitter_mm: tuple[float, float] = (0.2, 1.2)
    slab_mm: tuple[float, float] = (8.0, 40.0)
    streaks_chance: float = 0.5
    motion_chance: float = 0.35
    jitter_chance: float = 0.25
    circular_chance: float = 0.3
    overlap: tuple[float, float] = (0.5, 1.0)

    _LOG = ("slice_thickness_mm", "noise_hu", "psf_mm")
    _FACTORS = ("psf_mm", "edge", "slice_thickness_mm", "pixel_mm", "noise_hu", "kvp", "contrast_scale", "motion_mm")

    def sample(self, rng: np.random.Generator) -> ScannerStyle:
        """A style; the same generator state gives the same style."""

        def draw(name: str) -> float:
            low, high = getattr(self, name)
            if name in self._LOG and low > 0:
                return float(np.exp(rng.uniform(np.log(low), np.log(high))))
            return float(rng.uniform(low, high))

        value = {f.name: draw(f.name) for f in fields(ScannerStyle) if hasattr(self, f.name)}
        present = rng.random(6)
        psf, thickness = value["psf_mm"], value["slice_thickness_mm"]
        # Sharp kernels have the overshoot and the fine, strong noise; soft ones neither.
        sharp = 1 - (np.log(psf) - np.log(self.psf_mm[0])) / (np.log(self.psf_mm[1]) - np.log(self.psf_mm[0]))
        value["edge"] = float(max(value["edge"] * sharp, self.edge[0]))
        value["noise_grain_mm"] = float(max(psf * rng.uniform(0.8, 1.4), 0.25))
        value["slice_increment_mm"] = thickness * float(rng.uniform(*self.overlap))
        value["circular"] = bool(present[0] < self.circular_chance)
        if present[1] >= self.streaks_chance:
            value["streaks"] = 0.0
        value["motion_share"] = float(rng.uniform(0.2, 0.5))
        if present[2] >= self.motion_chance:
            value["motion_mm"] = value["motion_share"] = 0.0
        if present[3] >= self.motion_chance:
            value["motion_blur_mm"] = 0.0
        if present[4] >= self.jitter_chance:
            value["jitter_mm"] = 0.0
        return ScannerStyle(**value)

    def narrowed(self, name: str, rng: np.random.Generator, share: tuple[float, float] = (0.3, 0.6)) -> StyleRanges:
        """One hospital's part of these ranges: of every factor a random interval with ``share`` of its width."""
        part = {}
        for factor in (*self._FACTORS, "field_of_view_mm"):
            low, high = (np.log(v) if factor in self._LOG else v for v in getattr(self, factor))
            width = (high - low) * rng.uniform(*share)
            start = rng.uniform(low, high - width)
            ends = np.exp([start, start + width]) if factor in self._LOG else (start, start + width)
            part[factor] = (float(ends[0]), float(ends[1]))
        return replace(self, name=name, **part)

    def outside(self, style: ScannerStyle) -> tuple[str, ...]:
        """Names of the factors of ``style`` that lie outside these ranges (an absent part is inside)."""
        return tuple(
            name
            for name in self._FACTORS
            if getattr(style, name) > 0
            and not getattr(self, name)[0] - 1e-9 <= getattr(style, name) <= getattr(self, name)[1] + 1e-9
            and not (name == "motion_mm" and getattr(style, name) < self.motion_mm[0])
        )


TRAINING = StyleRanges("training")
"""What models are trained on."""

HELD_OUT = StyleRanges(
    "held_out",
    psf_mm=(1.3, 1.6),
    edge=(0.0, 0.0),
    slice_thickness_mm=(5.2, 6.5),
    pixel_mm=(1.0, 1.2),
    field_of_view_mm=(300.0, 450.0),
    noise_hu=(8.0, 35.0),
    kvp=(135.0, 140.0),
    contrast_scale=(0.55, 0.68),
    overlap=(0.7, 1.0),
)
"""Never trained on: softer kernel, thicker slices, larger pixels, more kV, weaker contrast than TRAINING."""

HELD_OUT_SHARP = StyleRanges(
    "held_out_sharp",
    psf_mm=(0.2, 0.28),
    edge=(0.8, 1.1),
    slice_thickness_mm=(0.5, 1.0),
    pixel_mm=(0.28, 0.34),
    field_of_view_mm=(150.0, 175.0),
    noise_hu=(75.0, 100.0),
    kvp=(70.0, 78.0),
    contrast_scale=(0.8, 1.3),
)
"""Never trained on: sharper kernel with more overshoot, smaller pixels, more noise, fewer kV than TRAINING."""

RANGES = {ranges.name: ranges for ranges in (TRAINING, HELD_OUT, HELD_OUT_SHARP)}
