"""The scanner: from an ideal picture in Hounsfield units to what a CT makes of it.

Blur, slice profile, sampling and linear interpolation are linear along each axis, so an axis needs one small matrix.
:func:`degrade` keeps the grid (dense crops, and augmentation in training); :func:`simulate_acquisition` ends on the
scanner's own grid, where thick slices are really fewer slices.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .artefacts import noise_slices, shading, streaks
from .operators import apply, box, kernel, linear
from .styles import HELD_OUT, HELD_OUT_SHARP, RANGES, TRAINING, ScannerStyle, StyleRanges

__all__ = [
    "HELD_OUT",
    "HELD_OUT_SHARP",
    "RANGES",
    "TRAINING",
    "Acquisition",
    "ScannerStyle",
    "StyleRanges",
    "contrast_curve",
    "degrade",
    "simulate_acquisition",
]

HU_MIN, HU_MAX = -1024.0, 3071.0
SOFT_TISSUE_HU, DENSE_HU = 60.0, 650.0


def contrast_curve(hu: np.ndarray, style: ScannerStyle) -> np.ndarray:
    """Brightness of iodine and calcium at ``style.kvp`` and ``contrast_scale``; soft tissue and below are unchanged.

    Iodine attenuates more at low voltage. The exponents are rounded fits to the usual tube spectra (iodine about 1.6
    times as bright at 80 kVp as at 120, calcium 1.3 times), good enough to vary, not to calibrate with. Voxels above
    650 HU count as calcium, for the part above.
    """
    iodine = np.float32(style.contrast_scale * (style.kvp / 120.0) ** -1.2)
    calcium = np.float32((style.kvp / 120.0) ** -0.6)
    if abs(iodine - 1) < 1e-3 and abs(calcium - 1) < 1e-3:
        return np.array(hu, np.float32)
    enhanced = np.clip(hu, np.float32(SOFT_TISSUE_HU), np.float32(DENSE_HU)) - np.float32(SOFT_TISSUE_HU)
    out = np.minimum(hu, np.float32(SOFT_TISSUE_HU)) + iodine * enhanced
    out += calcium * np.maximum(hu - np.float32(DENSE_HU), 0)
    return out


def degrade(
    hu: np.ndarray, spacing: np.ndarray, style: ScannerStyle, rng: np.random.Generator, *, axis: int = 2
) -> np.ndarray:
    """The imaging chain of ``style`` on a dense grid; on average the anatomy stays where it is.

    Args:
        hu: (i, j, k) HU, ideal; not changed.
        spacing: (3,) mm.
        style: the scanner.
        rng: all randomness of this scan.
        axis: the slice axis.

    Returns:
        float32 of the same shape and grid: whole HU in [-1024, 3071].
    """
    image = np.ascontiguousarray(np.moveaxis(np.asarray(hu, np.float32), axis, 2))
    step = [float(s) for s in spacing]
    step.append(step.pop(axis))
    n = image.shape[2]
    depth = np.arange(n) * step[2]
    increment = max(style.slice_increment_mm, step[2])
    if increment > step[2] * 1.01:
        slices = np.arange(-rng.uniform(0, increment), depth[-1] + increment, increment)
        back = linear(depth, slices)
    else:
        slices, back = depth, np.eye(n, dtype=np.float32)
    profile = back @ box(slices, n, step[2], max(style.slice_thickness_mm, step[2]))
    image = contrast_curve(image, style)
    extra = _additions(image, step, style, rng)
    image = _scan(image, step, (np.arange(image.shape[0]) * step[0], np.arange(image.shape[1]) * step[1], depth),
                  profile, style, rng)  # fmt: skip
    if extra is not None:
        image += extra
    if style.noise_hu > 0:
        noise = noise_slices(len(slices), image.shape[:2], (step[0], step[1]), style, rng)
        mix = back @ _slice_noise_mix(slices, increment, step[2], style)
        image += (mix @ noise.reshape(len(slices), -1)).reshape(n, *image.shape[:2]).transpose(1, 2, 0)
    return np.ascontiguousarray(np.moveaxis(_whole(image), 2, axis))


@dataclass(frozen=True)
class Acquisition:
    """A scan on the scanner's own grid.

    Attributes:
        hu: int16 (i, j, k).
        spacing: (3,) mm.
        first_mm: (3,) mm from the canvas' first voxel to this grid's first voxel, along the canvas' axes.
        canvas_shape, canvas_spacing: the canvas it was taken from.
    """

    hu: np.ndarray
    spacing: np.ndarray
    first_mm: np.ndarray
    canvas_shape: tuple[int, int, int]
    canvas_spacing: np.ndarray

    def affine(self, canvas_affine: np.ndarray) -> np.ndarray:
        """(4, 4) of this grid, from the canvas' (4, 4) to RAS mm."""
        out = np.array(canvas_affine, float)
        out[:3, :3] *= self.spacing / self.canvas_spacing
        out[:3, 3] += np.asarray(canvas_affine, float)[:3, :3] @ (self.first_mm / self.canvas_spacing)
        return out

    def fraction(self, canvas_field: np.ndarray) -> np.ndarray:
        """A share (0..1) painted on the canvas, averaged over this grid's voxels: float32."""
        matrices = [
            box(first + np.arange(n) * s, m, t, max(s, t))
            for first, n, s, m, t in zip(
                self.first_mm, self.hu.shape, self.spacing, self.canvas_shape, self.canvas_spacing, strict=True
            )
        ]
        return apply(*matrices, np.asarray(canvas_field, np.float32))

    def nearest(self, canvas_labels: np.ndarray) -> np.ndarray:
        """Class labels of the canvas on this grid (nearest voxel)."""
        index = [
            np.clip(np.rint((first + np.arange(n) * s) / t).astype(int), 0, m - 1)
            for first, n, s, m, t in zip(
                self.first_mm, self.hu.shape, self.spacing, self.canvas_shape, self.canvas_spacing, strict=True
            )
        ]
        return canvas_labels[np.ix_(*index)]


def simulate_acquisition(
    canvas_hu: np.ndarray,
    spacing: np.ndarray,
    style: ScannerStyle,
    rng: np.random.Generator,
    *,
    center_mm: np.ndarray | None = None,
    output_spacing: np.ndarray | float | None = None,
) -> Acquisition:
    """Scan a whole ideal chest: pixels, slices and field of view as ``style`` has them.

    Args:
        canvas_hu: (i, j, k) HU; slices are the planes of the third axis.
        spacing: (3,) mm.
        style: the scanner.
        rng: all randomness of this scan.
        center_mm: (3,) the heart, mm from the canvas' first voxel along its axes: the field of view is centred there
            (as far as the canvas reaches) and only there the heart moves. None: the middle of the canvas.
        output_spacing: mm, instead of the style's pixel size and increment.
    """
    image = np.ascontiguousarray(canvas_hu, np.float32)
    step = [float(s) for s in spacing]
    extent = [(n - 1) * s for n, s in zip(image.shape, step, strict=True)]
    center = np.asarray(extent) / 2 if center_mm is None else np.asarray(center_mm, float)
    if output_spacing is None:
        pixel = max(style.pixel_mm, style.field_of_view_mm / 512)
        out_step = np.array([pixel, pixel, style.slice_increment_mm])
    else:
        out_step = np.broadcast_to(np.asarray(output_spacing, float), 3).copy()
    places = []
    for axis in range(3):
        width = min(style.field_of_view_mm, extent[axis]) if axis < 2 else extent[axis]
        first = float(np.clip(center[axis] - width / 2, 0, extent[axis] - width))
        if axis == 2:
            first += float(rng.uniform(0, min(out_step[2], extent[2] / 2)))
        count = max(int((first + width - first) / out_step[axis] + 1e-6) + (axis < 2), 1)
        count = min(count, int((extent[axis] - first) / out_step[axis] + 1e-6) + 1)
        places.append(first + np.arange(count) * out_step[axis])
    image = contrast_curve(image, style)
    profile = box(places[2], image.shape[2], step[2], max(style.slice_thickness_mm, step[2]))
    out = _scan(image, step, places, profile, style, rng, center=center)
    extra = _additions(out, out_step, style, rng)
    if extra is not None:
        out += extra
    if style.noise_hu > 0:
        noise = noise_slices(len(places[2]), out.shape[:2], (out_step[0], out_step[1]), style, rng)
        mix = _slice_noise_mix(places[2], out_step[2], out_step[2], style)
        if np.count_nonzero(mix) > len(mix):
            noise = (mix @ noise.reshape(len(mix), -1)).reshape(noise.shape)
        out += noise.transpose(1, 2, 0)
    out = _whole(out)
    if style.circular:
        across = [(p - (p[0] + p[-1]) / 2) ** 2 for p in places[:2]]
        out[across[0][:, None] + across[1][None, :] > max(a.max() for a in across)] = HU_MIN
    first_mm = np.array([p[0] for p in places])
    return Acquisition(out.astype(np.int16), out_step, first_mm, canvas_hu.shape, np.asarray(spacing, float))


def _scan(image, step, places, profile, style, rng, center=None):
    """Blur, profile, slabs and double picture; from the canvas to ``places`` (3 arrays of mm)."""
    blur_direction = rng.normal(size=3)
    blur_direction /= np.linalg.norm(blur_direction)
    smear = style.motion_blur_mm * np.abs(blur_direction)
    sigma = []
    for axis in range(2):
        wider = np.diff(places[axis][:2])[0] if len(places[axis]) > 1 else step[axis]
        pixel = max(wider**2 - step[axis] ** 2, 0.0) / 12  # a coarser pixel averages over itself
        sigma.append(float(np.sqrt(style.psf_mm**2 + smear[axis] ** 2 + pixel)))
    if smear[2] > 0.1 * step[2]:
        profile = profile @ kernel(np.arange(image.shape[2]) * step[2], image.shape[2], step[2], smear[2])
    shifts = _slab_shifts(places[2], style, rng)

    def picture(box_: tuple[slice, slice, slice], move: np.ndarray) -> np.ndarray:
        depth = profile[box_[2]]
        if move[2]:
            depth = depth @ linear((np.arange(image.shape[2]) * step[2]) - move[2], np.arange(image.shape[2]) * step[2])
        sliced = apply(None, None, depth, image)
        out = np.empty((len(places[0][box_[0]]), len(places[1][box_[1]]), sliced.shape[2]), np.float32)
        start = 0
        for count, shift in _runs(shifts[box_[2]]):
            x, y = (
                kernel(places[a][box_[a]] - move[a] - shift[a], image.shape[a], step[a], sigma[a], style.edge)
                for a in (0, 1)
            )
            out[:, :, start : start + count] = apply(x, y, None, sliced[:, :, start : start + count])
            start += count
        return out

    everything = (slice(None), slice(None), slice(None))
    if style.motion_mm <= 0 or style.motion_share <= 0:
        return picture(everything, np.zeros(3))
    direction = rng.normal(size=3)
    direction *= style.motion_mm / np.linalg.norm(direction)
    share = np.float32(style.motion_share)
    # Both pictures move so that their weighted mean stays: the truth is the mean position of the anatomy.
    if center is None:
        return (1 - share) * picture(everything, -share * direction) + share * picture(
            everything, (1 - share) * direction
        )
    out = picture(everything, np.zeros(3))
    reach = (80.0, 80.0, 70.0)
    region = tuple(
        slice(int(np.searchsorted(p, c - r)), int(np.searchsorted(p, c + r)))
        for p, c, r in zip(places, center, reach, strict=True)
    )
    if any(r.stop - r.start < 2 for r in region):
        return out
    double = (1 - share) * picture(region, -share * direction) + share * picture(region, (1 - share) * direction)
    near = [
        np.clip(1.5 * (1 - np.abs(p[r] - c) / w), 0, 1).astype(np.float32)
        for p, r, c, w in zip(places, region, center, reach, strict=True)
    ]
    weight = near[0][:, None, None] * near[1][None, :, None] * near[2][None, None, :]
    out[region] += weight * (double - out[region])
    return out


def _slab_shifts(depth: np.ndarray, style: ScannerStyle, rng: np.random.Generator) -> np.ndarray:
    """(slices, 2) mm: in-plane shift of the slab each slice belongs to."""
    if style.jitter_mm <= 0:
        return np.zeros((len(depth), 2))
    slab = ((depth - depth[0] + rng.uniform(0, style.slab_mm)) / style.slab_mm).astype(int)
    return rng.normal(scale=style.jitter_mm, size=(slab[-1] + 1, 2))[slab]


def _runs(shifts: np.ndarray):
    """(count, shift) of neighbouring slices with the same shift."""
    start = 0
    for index in range(1, len(shifts) + 1):
        if index == len(shifts) or np.any(shifts[index] != shifts[start]):
            yield index - start, shifts[start]
            start = index


def _additions(image, step, style, rng):
    """Streaks and drifts, or None."""
    extra = streaks(image, (step[0], step[1]), style.streaks, rng) if style.streaks > 0 else None
    if style.shading_hu > 0:
        drift = shading(image.shape, tuple(step), style.shading_hu, rng)
        extra = drift if extra is None else np.add(extra, drift, out=extra)
    return extra


def _slice_noise_mix(slices: np.ndarray, increment: float, step: float, style: ScannerStyle) -> np.ndarray:
    """(slices, slices): neighbours share data where slices overlap, and a coarse grid averages thin slices."""
    mix = box(slices - slices[0], len(slices), increment, max(style.slice_thickness_mm, increment))
    mix /= np.linalg.norm(mix, axis=1, keepdims=True)
    if style.slice_increment_mm < step:
        own = max(style.slice_thickness_mm, style.slice_increment_mm)
        mix *= np.float32((own / np.hypot(own, step)) ** 0.5)
    return mix


def _whole(image: np.ndarray) -> np.ndarray:
    np.rint(image, out=image)
    return np.clip(image, HU_MIN, HU_MAX, out=image)
