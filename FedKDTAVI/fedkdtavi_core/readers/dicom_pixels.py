"""The pixels of a stack as one array in HU.

Uncompressed pixels are taken from the file as they are; compressed ones are decoded by SimpleITK (JPEG, JPEG-LS,
JPEG 2000, RLE), and by pydicom's plugins where that fails and one is installed.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np

from ..progress import Progress
from .dicom_scan import BREAKS, Image, unreadable
from .dicom_stack import Stack
from .itk import quiet
from .refusal import refuse
from .voxels import AIR_HU, HU_RANGE


def read_pixels(stack: Stack, progress: Progress, notes: list[str]) -> np.ndarray:
    """(i, j, k) in HU: int16, or float32 where a slope is not 1 or an intercept no whole number."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom warns of values that break DICOM's letter; they are judged here
        return _read_pixels(stack, progress, notes)


def _read_pixels(stack: Stack, progress: Progress, notes: list[str]) -> np.ndarray:
    first = stack.first
    whole = all(im.slope == 1 and im.intercept == int(im.intercept) for im in stack.images)
    volume = np.empty((len(stack.images), first.rows, first.columns), np.int16 if whole else np.float32)
    beyond = 0
    opened: tuple[Path, Any] | None = None  # multi-frame files are opened once
    for n, image in enumerate(stack.images):
        progress.step(n / len(stack.images), f"Reading {len(stack.images)} slices")
        if opened is None or opened[0] != image.path:
            opened = (image.path, _open(image.path))
        try:
            stored, padding = _stored(image, opened[1])
        except BREAKS as error:
            raise unreadable(image.path, error) from error
        if whole:
            hu = stored.astype(np.int32) + np.int32(image.intercept)
        else:
            hu = stored.astype(np.float32) * np.float32(image.slope) + np.float32(image.intercept)
        if padding is not None:
            hu[stored == padding] = AIR_HU
        if whole:  # padding without a tag of its own may lie below what int16 holds, and would come out as metal
            hu[hu < HU_RANGE[0]] = AIR_HU
        if whole and hu.max() > HU_RANGE[1]:
            beyond += int(np.count_nonzero(hu > HU_RANGE[1]))
            np.minimum(hu, HU_RANGE[1], out=hu)
        volume[n] = hu
    if beyond:
        notes.append(f"{beyond:,} voxels above {HU_RANGE[1]} HU were set to {HU_RANGE[1]}.")
    return volume.transpose()


def _open(path: Path) -> Any:
    import pydicom

    try:
        return pydicom.dcmread(path, force=True)
    except BREAKS as error:
        raise unreadable(path, error) from error


def _stored(image: Image, dataset: Any) -> tuple[np.ndarray, int | None]:
    """(rows, columns) of stored numbers, and the number that stands for padding outside the scanned circle."""
    if image.samples != 1 or dataset.get("PhotometricInterpretation", "MONOCHROME2") not in (
        "MONOCHROME2",
        "MONOCHROME1",
    ):
        raise refuse(image.path, "is a colour picture", "leave screenshots and colour overlays out")
    bits = int(dataset.get("BitsAllocated", 16))
    if bits not in (8, 16, 32) or "PixelData" not in dataset:
        what = "has no pixels" if "PixelData" not in dataset else f"has {bits} bits a pixel"
        raise refuse(image.path, what, "export the series again")
    signed = bool(dataset.get("PixelRepresentation", 0))
    syntax = getattr(getattr(dataset, "file_meta", None), "TransferSyntaxUID", None)
    if syntax is not None and syntax.is_compressed and not syntax.is_deflated:
        stored = _decode(image, dataset, syntax)
    else:
        order = ">" if syntax is not None and not syntax.is_little_endian else "<"
        dtype = np.dtype(f"{order}{'i' if signed else 'u'}{bits // 8}")
        count = image.rows * image.columns
        if len(dataset.PixelData) < (image.frame + 1) * count * dtype.itemsize:
            raise refuse(image.path, "is truncated (pixels are missing)", "copy or export the series again")
        stored = np.frombuffer(dataset.PixelData, dtype, count, image.frame * count * dtype.itemsize)
    return stored.reshape(image.rows, image.columns), _padding(dataset, bits, signed)


def _padding(dataset: Any, bits: int, signed: bool) -> int | None:
    """The padding value as the pixels would store it: some scanners write it with the wrong sign."""
    value = dataset.get("PixelPaddingValue")
    if not isinstance(value, int):
        return None
    value %= 1 << bits
    return value - (1 << bits) if signed and value >= 1 << (bits - 1) else value


def _decode(image: Image, dataset: Any, syntax: Any) -> np.ndarray:
    import SimpleITK as sitk

    try:
        if image.frame == 0 and int(dataset.get("NumberOfFrames", 1) or 1) == 1:
            with quiet():
                decoded = sitk.ReadImage(str(image.path), imageIO="GDCMImageIO")
            scaled = sitk.GetArrayFromImage(decoded).reshape(image.rows, image.columns)
            # SimpleITK has applied slope and intercept; take them back, as they are applied for all alike later.
            return np.round((scaled - image.intercept) / image.slope).astype(np.int32)
    except (RuntimeError, ValueError):
        pass  # pydicom's plugins are asked next; both failing is the refusal below
    try:
        pixels = dataset.pixel_array
        return np.asarray(pixels[image.frame] if pixels.ndim == 3 else pixels)
    except (RuntimeError, IndexError, *BREAKS) as error:
        raise refuse(
            image.path,
            f"is damaged or compressed in a way that cannot be decoded here ({syntax.name})",
            "export the series uncompressed (Explicit VR Little Endian)",
        ) from error
