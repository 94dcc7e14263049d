"""From a file or folder to a :class:`~fedkdtavi_core.volume.Volume`: NIfTI, NRRD, MetaImage and DICOM.

What a file is, is decided by its content, not by its name. Everything a reader chose or mended stands in
``Volume.info["notes"]``; everything it refuses is an InputError of one sentence.
"""

from __future__ import annotations

import os
from pathlib import Path

from ..progress import SILENT, Progress
from ..volume import Volume
from .refusal import refuse
from .sniff import Kind, sniff


def read_volume(
    path: str | os.PathLike[str],
    *,
    series: str | int | None = None,
    phase: str | int | None = None,
    progress: Progress = SILENT,
) -> Volume:
    """Read one CT.

    Args:
        path: a NIfTI (.nii, .nii.gz), NRRD (.nrrd, .nhdr) or MetaImage (.mha, .mhd) file, a folder with DICOM files
            (searched with its subfolders), or one DICOM file, which stands for its series in its folder.
        series: which DICOM series: a whole number is its place in the list that ``info["notes"]`` prints (from 1),
            text is looked for in its description, or is its UID. By default the rule of
            :mod:`~.dicom_choice` decides.
        phase: which phase of a CT with several: a whole number is its place (from 1), text like ``"40%"`` its part of
            the heartbeat or part of its name. By default the phase nearest to 35 % of the heartbeat (systole, when
            the annulus is largest).
        progress: reports how far reading is and can cancel it.

    Returns:
        Volume with ``array`` (i, j, k) in HU, int16 where the values are whole numbers, float32 otherwise, and its
        affine to RAS mm. ``info`` holds ``path``, ``format``, ``notes`` and what the format knows of ``series``,
        ``phase``, ``slice_thickness_mm``, ``kernel``; ``repaired_share`` where NaN or infinite voxels were mended.

    Raises:
        InputError: the file is missing, broken, no CT, or its geometry is impossible.
        Cancelled: the person asked to stop.
    """
    path = Path(path)
    progress.step(0.0, f"Reading {path.name}")
    kind = sniff(path)
    if kind in (Kind.FOLDER, Kind.DICOM):
        from .dicom import read_dicom

        return read_dicom(path, series=series, phase=phase, progress=progress)
    if series is not None:
        raise refuse(path, "is no DICOM and so has no series to choose from", "leave the choice of a series out")
    if kind is Kind.NIFTI:
        from .nifti import read_nifti

        return read_nifti(path, phase=phase, progress=progress)
    from .itk import read_itk

    return read_itk(path, kind, phase=phase, progress=progress)


__all__ = ["read_volume"]
