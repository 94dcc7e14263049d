"""``ct.nii.gz``: a CT as a site keeps it, with its voxels and its place in space and nothing else.

No name, no date, no description and no extension enter the header, and the same CT gives the same bytes every time.
"""

from __future__ import annotations

import gzip
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..volume import Volume

# Text fields of a NIfTI header, where converters leave names of patients, files and programs.
_TEXTS = ("descrip", "db_name", "aux_file", "intent_name")
_SQUARE = 1e-5  # cosines between axes up to this are rounding


def stored(volume: Volume) -> Volume:
    """A CT as its file keeps it: int16 HU, fractions of a HU rounded, and the affine's digits that a header holds."""
    array = volume.array
    if array.dtype != np.int16:
        array = np.rint(array).clip(-32768, 32767).astype(np.int16)
    return replace(volume, array=array, affine=volume.affine.astype(np.float32).astype(float))


def write_ct(path: Path, volume: Volume) -> None:
    """Write a CT as :func:`stored` gives it, without any trace of where it came from."""
    kept = stored(volume)
    write_nifti(path, kept.array, kept.affine)


def write_nifti(path: Path, array: np.ndarray, affine: np.ndarray) -> None:
    """Write ``array`` (i, j, k) with ``affine`` to RAS mm as ``.nii.gz``, of the array's own type."""
    import nibabel

    image = nibabel.Nifti1Image(array, affine, dtype=array.dtype)
    image.header.set_xyzt_units("mm")
    image.set_sform(affine, 1)
    # A qform cannot hold a shear: readers that prefer it must not find a straightened CT.
    image.set_qform(affine, 1 if _is_square(affine) else 0)
    # CT noise hardly compresses: the fastest level. No name and no time in the header of the gzip, either.
    with path.open("wb") as file, gzip.GzipFile("", "wb", 1, file, mtime=0) as packed:
        image.to_stream(packed)


def header_texts(path: Path) -> list[str]:
    """What a NIfTI header says beside geometry: its text fields that are not empty, and ``extensions`` if it has some.

    Raises:
        InputError: it is no NIfTI file.
    """
    import nibabel

    try:
        header = nibabel.load(path).header
    except (OSError, EOFError, nibabel.filebasedimages.ImageFileError) as error:
        raise InputError(f"{path}: cannot be read as NIfTI; export the case again.") from error
    found = [name for name in _TEXTS if name in header and bytes(header[name].tobytes()).strip(b"\0 ")]
    return found + (["extensions"] if len(getattr(header, "extensions", ())) else [])


def _is_square(affine: np.ndarray) -> bool:
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    return bool(np.abs(axes.T @ axes - np.eye(3)).max() < _SQUARE)
