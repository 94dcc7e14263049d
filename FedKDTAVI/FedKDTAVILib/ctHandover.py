"""A CT written for the child process: plain NIfTI, in one go from the memory of the volume node, no copy of the CT.

Only the voxels and where they are travel: no name, no header of the scanner. NumPy is all it needs.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

import numpy as np
from slicer.i18n import tr as _

from fedkdtavi_core.errors import UsageError
from fedkdtavi_core.volume import Volume

_HEADER_BYTES = 352  # NIfTI-1: 348, and four that say "no extensions"
_TYPES = {"<i2": 4, "<f4": 16}
_SCANNER_SPACE = 1
_MILLIMETRES = 2


def writeCt(path: Path, volume: Volume) -> None:
    """Write ``volume`` as an uncompressed NIfTI file, int16 where that loses nothing, otherwise float32.

    Args:
        path: file to write, ending in ``.nii``.
        volume: HU as (i, j, k), affine to RAS mm.

    Raises:
        UsageError: it cannot be written, for instance because the disk is full.
    """
    try:
        with path.open("wb") as file:
            streamCt(file, volume)
    except OSError as error:
        place = path.parent
        raise UsageError(
            _("{place}: the CT cannot be written there ({reason}); free some space on this disk.").format(
                place=place, reason=error.strerror or error
            )
        ) from error


def streamCt(file: BinaryIO, volume: Volume) -> None:
    """Write ``volume`` as NIfTI into an open file, packed or not. Raises OSError."""
    array = _stored(volume.array)
    file.write(_header(array, volume.affine))
    # Files hold i fastest, and so does Slicer: one contiguous block as a rule.
    for k in range(array.shape[2]):
        file.write(np.ascontiguousarray(array[:, :, k].T).data)


def _stored(array: np.ndarray) -> np.ndarray:
    """The voxels as little-endian int16 or float32, the same memory where they are that already."""
    if array.dtype == np.int16:
        return array.astype("<i2", copy=False)
    limits = np.iinfo(np.int16)
    fits = array.size > 0 and limits.min <= array.min() and array.max() <= limits.max
    if fits:
        whole = array.astype("<i2")
        if array.dtype.kind in "iu" or np.array_equal(whole, array):
            return whole
    return array.astype("<f4", copy=False)


def _header(array: np.ndarray, affine: np.ndarray) -> bytes:
    header = bytearray(_HEADER_BYTES)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, 3, *array.shape, 1, 1, 1, 1)
    struct.pack_into("<2h", header, 70, _TYPES[array.dtype.newbyteorder("<").str], 8 * array.dtype.itemsize)
    struct.pack_into("<8f", header, 76, 1.0, *spacing, 0.0, 0.0, 0.0, 0.0)
    struct.pack_into("<3f", header, 108, float(_HEADER_BYTES), 1.0, 0.0)
    struct.pack_into("<B", header, 123, _MILLIMETRES)
    struct.pack_into("<2h", header, 252, 0, _SCANNER_SPACE)
    struct.pack_into("<12f", header, 280, *np.asarray(affine, float)[:3].ravel())
    struct.pack_into("<4s", header, 344, b"n+1\0")
    return bytes(header)
