"""NRRD and MetaImage, read by SimpleITK after their text headers were found possible."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ..progress import Progress
from ..volume import Volume
from . import phases
from .headers import check_affine, check_claim, check_shape, check_spacing
from .metaimage import check_fields, check_packed, numbers
from .refusal import reason, refuse
from .sniff import Kind
from .voxels import finish

_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_HEADER_BYTES = 1 << 20
# Text of the header's size field and of the field that names a file with the voxels.
_FIELDS = {Kind.NRRD: ("sizes", ("data file", "datafile")), Kind.METAIMAGE: ("dimsize", ("elementdatafile",))}


def read_itk(path: Path, kind: Kind, *, phase: str | int | None, progress: Progress) -> Volume:
    """Read a NRRD or MetaImage file. See :func:`~fedkdtavi_core.readers.read_volume`."""
    import SimpleITK as sitk

    info: dict[str, Any] = {"path": str(path), "format": str(kind), "notes": []}
    header = _text_header(path, kind)
    _check_text(path, kind, header)
    progress.step(0.05, "Reading the CT")
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        with quiet():
            reader.ReadImageInformation()
        claimed = _check_pixels(path, reader, header, kind)
        affine = check_affine(path, _affine(reader), info["notes"], reader.GetSize())
        size, frames = reader.GetSize(), _frames(reader)
        frame = phases.take(path, frames, phase, info)
        if kind is Kind.METAIMAGE:
            check_packed(path, header, claimed, progress.part(0.05, 0.3))
        if len(size) == 4:
            reader.SetExtractSize([*size[:3], 0])
            reader.SetExtractIndex([0, 0, 0, frame])
        with quiet():
            image = reader.Execute()
        if image.GetNumberOfComponentsPerPixel() > 1:
            image = sitk.VectorIndexSelectionCast(image, frame)
    except RuntimeError as error:
        raise refuse(path, f"cannot be read as {kind} ({_itk_reason(error)})", "copy or export it again") from error
    progress.step(0.8, "Checking the CT")
    array = _working_array(path, sitk.GetArrayFromImage(image))
    del image
    array = finish(path, array.transpose(), info)  # SimpleITK's [k, j, i] -> (i, j, k), a view
    progress.step(1.0, "CT read")
    return Volume(array, affine, info)


@contextmanager
def quiet() -> Iterator[None]:
    """No words of ITK on standard error meanwhile; what they are about is checked here.

    Its MetaImage part writes past Python, so the descriptor itself is turned away for that time.
    """
    import SimpleITK as sitk

    shown = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        with _standard_error_away():
            yield
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(shown)


@contextmanager
def _standard_error_away() -> Iterator[None]:
    try:
        kept = os.dup(2)
    except OSError:  # no standard error, as in a window program
        yield
        return
    try:
        with Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _text_header(path: Path, kind: Kind) -> dict[str, str]:
    """The header's fields by name in small letters: NRRD's ``name: value`` and ``name:=value``, ``Name = value``."""
    with path.open("rb") as file:
        text = file.read(_HEADER_BYTES)
    fields: dict[str, str] = {}
    for raw in text.split(b"\n"):
        line = raw.strip().decode("utf-8", "replace")
        if not line and kind is Kind.NRRD:
            break  # the voxels follow
        name, separator, value = line.partition(":" if kind is Kind.NRRD else "=")
        if separator:
            fields.setdefault(name.strip().lower(), value.lstrip("=").strip())
        if name.strip().lower() == "elementdatafile":
            break
    return fields


def _check_text(path: Path, kind: Kind, header: dict[str, str]) -> None:
    """Refuse by the header's own words, before SimpleITK takes memory or mends them silently."""
    if any(re.fullmatch(r"segment\d+_id", key) for key in header):
        raise refuse(path, "is a segmentation", "give the CT it was drawn on")
    modality = header.get("modality", "").upper()
    if (
        kind is Kind.METAIMAGE
        and modality.startswith("MET_MOD_")
        and modality
        not in (
            "MET_MOD_CT",
            "MET_MOD_OTHER",
            "MET_MOD_UNKNOWN",
        )
    ):
        raise refuse(path, f"is of modality {modality.removeprefix('MET_MOD_')} by its header", "give a CT")
    if kind is Kind.METAIMAGE:
        check_fields(path, header)
    size_field, data_fields = _FIELDS[kind]
    if not header.get(size_field):
        raise refuse(path, f"has no {size_field!r} in its header", "copy or export it again")
    sizes = numbers(path, header[size_field], size_field)
    if any(n <= 0 or n != int(n) for n in sizes):
        raise refuse(path, f"claims an impossible size ({header[size_field]})", "export it again")
    if len(sizes) == 3:
        check_shape(path, tuple(int(n) for n in sizes))
    for field in ("spacings", "elementspacing"):
        if field in header:
            spacing = numbers(path, header[field], field)
            check_spacing(path, np.array([s for s in spacing if not (np.isnan(s) and len(spacing) > 3)][-3:]))
    for field in data_fields:
        name = header.get(field, "LOCAL")
        single = name.upper() != "LOCAL" and not name.upper().startswith("LIST") and "%" not in name
        if single and not (path.parent / name).is_file():
            raise refuse(path, f"refers to the file {name!r}, which is not there", "copy both files together")


def _check_pixels(path: Path, reader: Any, header: dict[str, str], kind: Kind) -> int:
    """Refuse by what SimpleITK made of the header: shape, colours, and a size that cannot be in the file.

    Returns the bytes of voxels that must be there.
    """
    import SimpleITK as sitk

    size, components = reader.GetSize(), reader.GetNumberOfComponents()
    if len(size) > 4:
        raise refuse(path, f"has {len(size)} dimensions", "give one CT with three, or four with its phases")
    check_shape(path, size)
    if components > 1 and "list" not in header.get("kinds", ""):
        raise refuse(path, f"holds {components} values for every voxel (colours or vectors)", "give the CT itself")
    name = sitk.GetPixelIDValueAsString(reader.GetPixelID())
    if "complex" in name or "label" in name:
        raise refuse(path, f"holds voxels of type {name}", "give the CT itself")
    bits = re.search(r"(\d+)-bit", name)
    width = int(bits[1]) // 8 if bits else 4
    claimed = int(np.prod(size, dtype=np.int64)) * components * width
    external = next((header[f] for f in _FIELDS[kind][1] if header.get(f, "LOCAL").upper() != "LOCAL"), None)
    if external is None or (path.parent / external).is_file():
        stored = (path.parent / external if external else path).stat().st_size
        packed = (
            header.get("encoding", "raw").lower() not in ("raw",) or header.get("compresseddata", "").lower() == "true"
        )
        check_claim(path, claimed, stored, packed)
    return claimed


def _frames(reader: Any) -> int:
    size = reader.GetSize()
    return int(size[3]) if len(size) == 4 else int(reader.GetNumberOfComponents())


def _affine(reader: Any) -> np.ndarray:
    """SimpleITK's origin, spacing and direction (LPS) as one matrix to RAS."""
    dimension = reader.GetDimension()
    direction = np.array(reader.GetDirection()).reshape(dimension, dimension)[:3, :3]
    affine = np.eye(4)
    affine[:3, :3] = direction * np.array(reader.GetSpacing())[:3]
    affine[:3, 3] = reader.GetOrigin()[:3]
    return _LPS_TO_RAS @ affine


def _working_array(path: Path, array: np.ndarray) -> np.ndarray:
    if array.dtype.kind not in "iuf":
        raise refuse(path, f"holds voxels of type {array.dtype}", "give the CT itself")
    if array.dtype.kind == "f":
        with np.errstate(over="ignore"):  # what overflows becomes infinite and is judged later
            return array.astype(np.float32, copy=False)
    return array


def _itk_reason(error: RuntimeError) -> str:
    """What ITK says, without the place in its source code."""
    text = reason(error, limit=400)
    text = re.sub(r"^.*?\)\s*:\s*", "", text)
    return text if len(text) <= 160 else text[:159] + "…"
