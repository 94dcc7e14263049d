"""Does the frame of a prosthetic valve surround the root? It hides what is to be measured, and looks like calcium.

A frame is thin, brighter than blood, and runs all round the root at every height over at least a centimetre. Calcium
has gaps or fills one height only; heart chambers with brighter blood are not thin. On 307 phantoms (seeds 1160, 1161,
1162, 1178, 1191) five of seven frames were found, and no other valve was taken for one.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from .measurements.blood import Blood
from .measurements.contour import longest_arc
from .measurements.plane import AnnulusPlane
from .volume import Volume

SECTORS = 48
# Of the hinge circle's radius: from inside the annulus to the sinuses' wall.
RADII = (0.6, 1.5)
MARGIN = (0.2, 0.4)  # looked at beyond those, so that a chamber there is seen as thick
RADIAL_STEP_MM = 0.5
THIN_MM = 5.0
HEIGHTS_MM = np.arange(-7.0, 21.0)
BRIGHT_HU, BRIGHT_SD = 100.0, 3.0  # over the blood
BAND_MM = 2  # heights looked at together
LARGEST_GAP_DEG = 67.5  # without anything bright
CLOSED_MM = 9  # so many bands one above the other, each a millimetre higher


def frame_around(volume: Volume, plane: AnnulusPlane, blood: Blood) -> bool:
    """Is there what looks like the frame of a prosthetic valve around the axis of the annulus plane?"""
    bright = _thin_and_bright(volume, plane, blood.mean) >= max(BRIGHT_HU, BRIGHT_SD * blood.sd)
    rows = [bright[low : low + BAND_MM].any(axis=0) for low in range(len(bright) - BAND_MM + 1)]
    run = 0
    for row in rows:
        run = run + 1 if longest_arc(~row) <= LARGEST_GAP_DEG else 0
        if run >= CLOSED_MM:
            return True
    return False


def _thin_and_bright(volume: Volume, plane: AnnulusPlane, blood_hu: float) -> np.ndarray:
    """(heights, sectors) HU over the blood of what is at most ``THIN_MM`` thick along the radius."""
    middle, radius = plane.reach
    radii = np.arange((RADII[0] - MARGIN[0]) * radius, (RADII[1] + MARGIN[1]) * radius, RADIAL_STEP_MM)
    angles = np.arange(SECTORS) * 2 * np.pi / SECTORS
    along = np.cos(angles)[:, None] * plane.u + np.sin(angles)[:, None] * plane.v
    points = middle + HEIGHTS_MM[:, None, None, None] * plane.normal + radii[:, None] * along[:, None, :]
    ijk = volume.grid.to_ijk(points.reshape(-1, 3))
    low = np.clip(np.floor(ijk.min(axis=0)).astype(int), 0, np.array(volume.array.shape) - 1)
    high = np.clip(np.ceil(ijk.max(axis=0)).astype(int) + 1, low + 1, volume.array.shape)
    part = np.asarray(volume.array[tuple(slice(a, b) for a, b in zip(low, high, strict=True))], np.float32)
    seen = ndimage.map_coordinates(part, (ijk - low).T, order=1, mode="nearest").reshape(points.shape[:3])
    opened = ndimage.grey_opening(seen, size=(1, 1, round(THIN_MM / RADIAL_STEP_MM) + 1))
    shown = np.minimum(seen - opened, seen - blood_hu)
    here = (radii >= RADII[0] * radius) & (radii <= RADII[1] * radius)
    return shown[:, :, here].max(axis=2)
