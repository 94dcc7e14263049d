"""A DICOM folder, or one file of it, to a Volume."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..progress import Progress
from ..volume import Volume
from .dicom_choice import choose, describe
from .dicom_pixels import read_pixels
from .dicom_scan import Image, scan
from .dicom_stack import affine_of, is_frame, ordered, stacks
from .headers import MIN_SIZE, check_affine, check_shape
from .refusal import refuse
from .voxels import finish

_IMAGE_SUFFIXES = (".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd")


def read_dicom(path: Path, *, series: str | int | None, phase: str | int | None, progress: Progress) -> Volume:
    """Read one stack of a folder, or the series in its folder that a single file belongs to.

    Which stack is taken follows the rule of :mod:`~.dicom_choice`; see also
    :func:`~fedkdtavi_core.readers.read_volume`.
    """
    info: dict[str, Any] = {"path": str(path), "format": "DICOM", "notes": []}
    folder = path if path.is_dir() else path.parent
    images, broken = scan(folder, progress.part(0.0, 0.3), recursive=path.is_dir())
    if not path.is_dir():
        own = [image for image in images if image.path == path]
        if not own:
            raise refuse(path, "is a damaged DICOM file", "copy or export the series again")
        images = [image for image in images if image.series == own[0].series]
        info["notes"].append(f"One file was given; its whole series in {folder.name!r} was read.")
    usable = _usable(path, images, broken, info["notes"])
    offered = [stack for stack in stacks(usable) if len(stack.images) >= MIN_SIZE]
    if not offered:
        raise refuse(
            path, f"has no series of at least {MIN_SIZE} parallel slices", "give all slices of the CT in one folder"
        )
    chosen = ordered(path, choose(path, offered, series, phase, info["notes"]), info["notes"])
    first = chosen.first
    shape = check_shape(path, (first.columns, first.rows, len(chosen.images)))
    affine = check_affine(path, affine_of(path, chosen), info["notes"], shape)
    if broken:
        info["notes"].append(f"{len(broken)} damaged files were left out ({broken[0].name} and others).")
    info["series"] = describe(chosen)
    info["series_uid"] = first.series
    info["phase"] = chosen.phase.name or None
    info["phase_percent"] = chosen.phase.percent
    info["slice_thickness_mm"] = first.thickness
    info["kernel"] = first.kernel or None
    array = finish(path, read_pixels(chosen, progress.part(0.3, 0.95), info["notes"]), info)
    progress.step(1.0, "CT read")
    return Volume(array, affine, info)


def _usable(path: Path, images: list[Image], broken: list[Path], notes: list[str]) -> list[Image]:
    """CT images with a place in space; InputError that says what there is instead."""
    if not images:
        raise _no_images(path, broken)
    ct = [image for image in images if image.modality == "CT"]
    if not ct:
        found = ", ".join(sorted({image.modality or "unknown" for image in images}))
        raise refuse(path, f"holds no CT but {found}", "give a CT")
    pictures = [im for im in ct if im.samples == 1 and "LOCALIZER" not in im.image_type]
    if not pictures:
        raise refuse(path, "holds only scouts or colour pictures", "give the CT's slices")
    placed = [
        im
        for im in pictures
        if im.position and is_frame(im.orientation) and im.pixel_spacing and im.rows and im.columns
    ]
    if not placed:
        raise refuse(
            path,
            "has images without position, possible orientation, pixel spacing or size in their headers",
            "export the original series, not secondary captures",
        )
    if len(placed) < len(ct):
        notes.append(f"{len(ct) - len(placed)} images without a place in space (scouts, captures) were left out.")
    return placed


def _no_images(path: Path, broken: list[Path]) -> Exception:
    if broken:
        return refuse(path, f"holds only damaged DICOM files ({broken[0].name})", "copy or export the series again")
    if path.is_dir():
        other = sorted(p.name for p in path.iterdir() if p.name.lower().endswith(_IMAGE_SUFFIXES))
        if len(other) == 1:
            return refuse(path, f"is a folder without DICOM images but with {other[0]}", "give that file itself")
        if other:
            what = f"is a folder without DICOM images but with {len(other)} other image files, such as {other[0]}"
            return refuse(path, what, "give the files themselves")
        if not any(path.iterdir()):
            return refuse(path, "is an empty folder", "give a folder with DICOM images")
    return refuse(path, "holds no DICOM images", "give a folder with DICOM images, or a NIfTI, NRRD or MHA file")
