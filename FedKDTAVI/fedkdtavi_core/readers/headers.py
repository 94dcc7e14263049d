"""Is what a header claims possible? Asked before any memory is taken for voxels."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import numpy as np

from .refusal import refuse

# Limits of what a CT can be: generous, but far from what a broken header says.
MIN_SIZE = 8  # voxels along each axis; fewer is a slice or a thumbnail
MAX_SIZE = 8192  # voxels along one axis
MAX_VOXELS = 2**30  # 2 GiB as int16
SPACING_MM = (0.05, 20.0)
MAX_ORIGIN_MM = 1e5
# Scanners see 800 mm across and lay a person of 2.2 m down; an aortic root alone is 40 mm long and wide.
MAX_LENGTH_MM, MAX_ACROSS_MM, MIN_EXTENT_MM = 2500.0, 1000.0, 20.0
MIN_VOLUME_SHARE = 0.1  # of the product of the spacings: below, the axes nearly lie in one plane
SHEAR = 0.01  # cosine between two axes from which on they are called not perpendicular (0.6 degrees)
# deflate cannot pack better than 1032:1, so a larger claim cannot be in the file.
MAX_PACKING = 1032


def check_shape(path: Path, shape: tuple[int, ...]) -> tuple[int, int, int]:
    """The shape as three ints, or InputError: not 3-D, zero, negative, absurd."""
    if any(n <= 0 for n in shape):
        raise refuse(path, f"claims an impossible size ({_times(shape)} voxels)", "export it again")
    if len(shape) < 3 or sum(n > 1 for n in shape[:3]) < 3:
        raise refuse(path, f"is a flat image ({_times(shape)}), not a volume", "give the whole CT, all slices of it")
    if any(n > MAX_SIZE for n in shape[:3]) or np.prod([float(n) for n in shape[:3]]) > MAX_VOXELS:
        raise refuse(
            path,
            f"claims {_times(shape[:3])} voxels, more than a CT can have here (2^30, at most {MAX_SIZE} along an axis)",
            "crop it to the chest or export it again",
        )
    if any(n < MIN_SIZE for n in shape[:3]):
        raise refuse(
            path,
            f"has only {_times(shape[:3])} voxels, and at least {MIN_SIZE} along each axis are needed",
            "give the whole CT",
        )
    return int(shape[0]), int(shape[1]), int(shape[2])


def check_affine(path: Path, affine: np.ndarray, notes: list[str], shape: Sequence[int]) -> np.ndarray:
    """The 4x4 affine as float64, or InputError: NaN, zero or absurd spacing, singular, no body's size with ``shape``.

    Notes axes that are sheared.
    """
    affine = np.array(affine, np.float64)
    if affine.shape != (4, 4) or not np.all(np.isfinite(affine)):
        raise refuse(path, "has a voxel-to-space matrix with NaN or infinite entries", "export it again")
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    check_spacing(path, spacing)
    if abs(np.linalg.det(affine[:3, :3] / spacing)) < MIN_VOLUME_SHARE:
        raise refuse(path, "has a singular voxel-to-space matrix (its axes lie in one plane)", "export it again")
    if np.any(np.abs(affine[:3, 3]) > MAX_ORIGIN_MM):
        raise refuse(path, f"lies {np.abs(affine[:3, 3]).max():.3g} mm from the origin", "export it again")
    check_extent(path, np.array(shape[:3]) * spacing)
    unit = affine[:3, :3] / spacing
    shear = max(abs(unit[:, a] @ unit[:, b]) for a, b in combinations(range(3), 2))
    if shear > SHEAR:
        notes.append(
            f"The axes are sheared by {np.degrees(np.arcsin(min(shear, 1.0))):.1f} degrees (as by a tilted gantry); "
            "positions and volumes account for it."
        )
    return affine


def check_spacing(path: Path, spacing: np.ndarray) -> None:
    """InputError when a voxel size is zero, negative, not finite or absurd."""
    spacing = np.asarray(spacing, float)
    if np.all(np.isfinite(spacing)) and np.all((spacing >= SPACING_MM[0]) & (spacing <= SPACING_MM[1])):
        return
    words = " x ".join(f"{s:.4g}" for s in spacing)
    raise refuse(
        path,
        f"claims voxels of {words} mm, and {SPACING_MM[0]:g} to {SPACING_MM[1]:g} mm are possible",
        "export it again with its spacing in mm",
    )


def check_extent(path: Path, extent: np.ndarray) -> None:
    """InputError when a CT of these sides (mm) would hold no body, or be held by none."""
    _, middle, long = np.sort(extent)
    if long <= MAX_LENGTH_MM and middle <= MAX_ACROSS_MM and long >= MIN_EXTENT_MM:
        return
    words = " x ".join(f"{side:.0f}" for side in extent)
    what = "less than an aortic root" if long < MIN_EXTENT_MM else "more than any scanner sees"
    raise refuse(path, f"covers {words} mm by its header, {what}", "check the spacing and export it again")


def check_claim(path: Path, claimed_bytes: int, file_bytes: int, packed: bool) -> None:
    """InputError when the voxels a header claims cannot be in a file of this size."""
    if claimed_bytes > file_bytes * (MAX_PACKING if packed else 1):
        raise refuse(
            path,
            f"is truncated or its header is wrong ({claimed_bytes:,} bytes of voxels claimed in a file of "
            f"{file_bytes:,})",
            "copy or export it again",
        )


def _times(shape: tuple[int, ...]) -> str:
    return " x ".join(str(n) for n in shape)
