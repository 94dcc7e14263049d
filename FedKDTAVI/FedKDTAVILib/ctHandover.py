"""A CT written for the child process: plain NIfTI, in one go from the memory of the volume node, no copy of the CT.

Only the voxels and where they are travel: no name, no header of the scanner.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from slicer.i18n import tr as _

from fedkdtavi_core.errors import UsageError
from fedkdtavi_core.niftifile import write_nifti
from fedkdtavi_core.volume import Volume


def writeCt(path: Path, volume: Volume) -> None:
    """Write ``volume`` as an uncompressed NIfTI file, int16 where that loses nothing, otherwise float32.

    Args:
        path: file to write, ending in ``.nii``.
        volume: HU as (i, j, k), affine to RAS mm.

    Raises:
        UsageError: it cannot be written, for instance because the disk is full.
    """
    try:
        write_nifti(path, _stored(volume.array), volume.affine)
    except OSError as error:
        place = path.parent
        raise UsageError(
            _("{place}: the CT cannot be written there ({reason}); free some space on this disk.").format(
                place=place, reason=error.strerror or error
            )
        ) from error


def _stored(array: np.ndarray) -> np.ndarray:
    """The voxels as int16 or float32, the same memory where they are that already."""
    if array.dtype == np.int16:
        return array
    limits = np.iinfo(np.int16)
    fits = array.size > 0 and limits.min <= array.min() and array.max() <= limits.max
    if fits:
        whole = array.astype(np.int16)
        if array.dtype.kind in "iu" or np.array_equal(whole, array):
            return whole
    return array.astype(np.float32, copy=False)
