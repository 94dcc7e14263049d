"""Writing a NIfTI-1 file with NumPy alone: voxels and their place in space, and nothing else.

No name, no date, no description and no extension enters the header, and the same input gives the same bytes every time.
"""

from __future__ import annotations

import gzip
import struct
from pathlib import Path
from typing import BinaryIO

import numpy as np

from .errors import InputError

_HEADER_BYTES = 352  # NIfTI-1: 348, and four that say "no extensions"
_LONGEST = 32767  # the header counts in int16
_CODES = {"|u1": 2, "<i2": 4, "<i4": 8, "<f4": 16, "<f8": 64, "|i1": 256, "<u2": 512, "<u4": 768}
_SCANNER_SPACE = 1
_MILLIMETRES = 2
_SQUARE = 1e-5  # cosines between axes up to this are rounding


def write_nifti(path: Path, array: np.ndarray, affine: np.ndarray) -> None:
    """Write ``array`` as it is, whole or not at all; packed when ``path`` ends in ``.gz``.

    Args:
        path: file to write, ``.nii`` or ``.nii.gz``; one that is there is replaced.
        array: (i, j, k), integers up to 32 bit, float32 or float64; no scaling is applied.
        affine: (4, 4) to RAS mm, kept as the sform, and as the qform unless it has a shear.

    Raises:
        InputError: a NIfTI file cannot hold such an array.
        OSError: it cannot be written.
    """
    path = Path(path)
    header = _header(array, affine)
    partial = path.with_name(f".{path.name}.part")
    try:
        with partial.open("wb") as file:
            if path.suffix == ".gz":
                # CT noise hardly compresses: the fastest level. No name and no time in the header of the gzip, either.
                with gzip.GzipFile("", "wb", 1, file, mtime=0) as packed:
                    _stream(packed, header, array)
            else:
                _stream(file, header, array)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _stream(file: BinaryIO, header: bytes, array: np.ndarray) -> None:
    file.write(header)
    little = array.dtype.newbyteorder("<")
    # Files hold i fastest, and so does Slicer: a slice at a time there is one block as a rule, and never a second CT.
    for k in range(array.shape[2]):
        file.write(np.ascontiguousarray(array[:, :, k].T, dtype=little).data)


def _header(array: np.ndarray, affine: np.ndarray) -> bytes:
    code = _CODES.get(array.dtype.newbyteorder("<").str)
    if array.ndim != 3 or not array.size or max(array.shape) > _LONGEST or code is None:
        raise InputError(f"{array.dtype} {array.shape}: no NIfTI file can hold this; give three dimensions of numbers.")
    matrix = np.asarray(affine, float)
    header = bytearray(_HEADER_BYTES)
    spacing = np.linalg.norm(matrix[:3, :3], axis=0)
    axes = matrix[:3, :3] / spacing
    handed = -1.0 if np.linalg.det(axes) < 0 else 1.0
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, 3, *array.shape, 1, 1, 1, 1)
    struct.pack_into("<2h", header, 70, code, 8 * array.dtype.itemsize)
    struct.pack_into("<8f", header, 76, handed, *spacing, 0.0, 0.0, 0.0, 0.0)
    struct.pack_into("<3f", header, 108, float(_HEADER_BYTES), 1.0, 0.0)  # slope 1, intercept 0: values are HU
    struct.pack_into("<B", header, 123, _MILLIMETRES)
    struct.pack_into("<h", header, 254, _SCANNER_SPACE)
    # A qform cannot hold a shear: readers that prefer it must not find a straightened CT.
    if np.abs(axes.T @ axes - np.eye(3)).max() < _SQUARE:
        struct.pack_into("<h", header, 252, _SCANNER_SPACE)
        struct.pack_into("<6f", header, 256, *_quaternion(axes @ np.diag([1.0, 1.0, handed])), *matrix[:3, 3])
    struct.pack_into("<12f", header, 280, *matrix[:3].ravel())
    struct.pack_into("<4s", header, 344, b"n+1\0")
    return bytes(header)


def _quaternion(rotation: np.ndarray) -> np.ndarray:
    """(b, c, d) of the unit quaternion a + bi + cj + dk, a >= 0, nearest to a (3, 3) rotation.

    Bar-Itzhack, New method for extracting the quaternion from a rotation matrix, J. Guidance 23:1085 (2000).
    """
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = rotation
    lower = np.array(
        [
            [xx - yy - zz, 0, 0, 0],
            [yx + xy, yy - xx - zz, 0, 0],
            [zx + xz, zy + yz, zz - xx - yy, 0],
            [zy - yz, xz - zx, yx - xy, xx + yy + zz],
        ]
    )
    *vector, scalar = np.linalg.eigh(lower, UPLO="L")[1][:, -1]
    return np.array(vector) if scalar >= 0 else -np.array(vector)
