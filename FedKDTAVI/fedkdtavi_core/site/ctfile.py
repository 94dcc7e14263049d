"""``ct.nii.gz``: a CT as a site keeps it, with its voxels and its place in space and nothing else.

No name, no date, no description and no extension enter the header, and the same CT gives the same bytes every time.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..niftifile import write_nifti
from ..volume import Volume

# Text fields of a NIfTI header, where converters leave names of patients, files and programs.
_TEXTS = ("descrip", "db_name", "aux_file", "intent_name")


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
