"""The headers of all DICOM images in a folder, as plain records; no pixel is read here."""

from __future__ import annotations

import os
import struct
import warnings
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.errors import BytesLengthException, InvalidDicomError

from ..progress import Progress
from .refusal import reason, refuse
from .sniff import is_dicom

# All that is read of a header: nothing that names the patient.
TAGS = [
    "SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "SeriesNumber", "SeriesDescription", "Modality", "ImageType",
    "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "Rows", "Columns",
    "SamplesPerPixel", "RescaleSlope", "RescaleIntercept", "SliceThickness", "ConvolutionKernel", "ContrastBolusAgent",
    "AcquisitionNumber", "TemporalPositionIdentifier", "TriggerTime", "NominalInterval",
    "HeartRate", "NominalPercentageOfCardiacPhase", "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
]  # fmt: skip
_MAX_FILES = 20_000
# What pydicom raises on damaged files.
BREAKS = (
    OSError,
    EOFError,
    ValueError,
    TypeError,
    KeyError,
    NotImplementedError,
    AttributeError,
    OverflowError,
    struct.error,
    zlib.error,
    BytesLengthException,
    InvalidDicomError,
)
# What stands in the field for a contrast agent where none was given.
_NO_AGENT = ("", "none", "no", "nein", "0", "n/a")


@dataclass(frozen=True)
class Image:
    """One image (one frame of one file). Lengths in mm, positions and directions in DICOM's LPS.

    ``slope`` and ``intercept`` lead from stored numbers to HU; ``rr_ms`` is the length of a heartbeat where known.
    """

    path: Path
    frame: int
    uid: str
    series: str
    number: int | None
    description: str
    modality: str
    image_type: tuple[str, ...]
    position: tuple[float, ...]
    orientation: tuple[float, ...]
    pixel_spacing: tuple[float, ...]
    rows: int
    columns: int
    samples: int
    slope: float
    intercept: float
    thickness: float | None
    kernel: str
    contrast: bool
    acquisition: int | None
    temporal: int | None
    trigger_ms: float | None
    rr_ms: float | None
    percent: float | None


def scan(folder: Path, progress: Progress, *, recursive: bool = True) -> tuple[list[Image], list[Path]]:
    """All images below ``folder``, and the files that are DICOM by their start but could not be read."""
    images: list[Image] = []
    broken: list[Path] = []
    paths = sorted(_files(folder, recursive))
    if len(paths) > _MAX_FILES:
        raise refuse(
            folder, f"holds {len(paths):,} files", f"give a folder with one study (at most {_MAX_FILES:,} files)"
        )
    for n, path in enumerate(paths):
        progress.step(n / len(paths), f"Looking through {len(paths)} files")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pydicom warns of values that break DICOM's letter; they are judged here
            dataset = _header(path, broken)
            if dataset is not None:
                images.extend(_images(path, dataset))
    return images, broken


def _files(folder: Path, recursive: bool) -> Iterator[Path]:
    for root, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if recursive and not name.startswith(".")]
        for name in names:
            if not name.startswith(".") and name.upper() != "DICOMDIR":
                yield Path(root) / name


def _header(path: Path, broken: list[Path]) -> Any:
    """The header as a pydicom dataset, or None for what is no DICOM (or is broken, and then noted)."""
    try:
        with path.open("rb") as file:
            head = file.read(256)
        if not is_dicom(head):
            return _noted(path, broken) if path.suffix.lower() in (".dcm", ".ima") else None
        dataset = pydicom.dcmread(path, stop_before_pixels=True, force=True, specific_tags=TAGS)
        return dataset if "SeriesInstanceUID" in dataset else _noted(path, broken)
    except BREAKS:
        return _noted(path, broken)


def _noted(path: Path, broken: list[Path]) -> None:
    broken.append(path)


def _images(path: Path, dataset: Any) -> Iterator[Image]:
    """One record a file; one a frame for enhanced multi-frame CT, whose geometry stands in functional groups."""
    groups = list(dataset.get("PerFrameFunctionalGroupsSequence") or [])
    if not groups:
        yield _image(path, 0, [dataset])
        return
    shared = list(dataset.get("SharedFunctionalGroupsSequence") or [])
    for frame, group in enumerate(groups):
        nested = [
            item for owner in (group, *shared) for element in owner if element.VR == "SQ" for item in element.value
        ]
        yield _image(path, frame, [*nested, dataset])


def _image(path: Path, frame: int, datasets: list[Any]) -> Image:
    """The record of one frame; a field is taken from the first of ``datasets`` that has it."""

    def words(name: str) -> list[str]:
        return [str(word).strip() for word in _several(datasets, name)]

    def text(name: str) -> str:
        return " ".join(words(name))

    def numbers(name: str, length: int) -> tuple[float, ...]:
        """``length`` finite numbers, or () where the field is missing or unreadable."""
        try:
            values = tuple(float(v) for v in _several(datasets, name))
        except (ValueError, TypeError):
            return ()
        return values if len(values) == length and all(np.isfinite(values)) else ()

    def number(name: str, default: float | None = None) -> float | None:
        return next(iter(numbers(name, 1)), default)

    def integer(name: str) -> int | None:
        value = number(name)
        return None if value is None else int(value)

    rate = number("HeartRate")
    return Image(
        path=path,
        frame=frame,
        uid=f"{text('SOPInstanceUID') or path}#{frame}",
        series=text("SeriesInstanceUID"),
        number=integer("SeriesNumber"),
        description=text("SeriesDescription"),
        modality=text("Modality").upper(),
        image_type=tuple(word.upper() for word in words("FrameType") or words("ImageType")),
        position=numbers("ImagePositionPatient", 3),
        orientation=numbers("ImageOrientationPatient", 6),
        pixel_spacing=numbers("PixelSpacing", 2),
        rows=integer("Rows") or 0,
        columns=integer("Columns") or 0,
        samples=integer("SamplesPerPixel") or 1,
        slope=number("RescaleSlope", 1.0),
        intercept=number("RescaleIntercept", 0.0),
        thickness=number("SliceThickness"),
        kernel=text("ConvolutionKernel"),
        contrast=(text("ContrastBolusAgent") or "").strip().lower() not in _NO_AGENT,
        acquisition=integer("AcquisitionNumber"),
        temporal=integer("TemporalPositionIdentifier"),
        trigger_ms=number("TriggerTime"),
        rr_ms=number("NominalInterval") or (60000.0 / rate if rate else None),
        percent=number("NominalPercentageOfCardiacPhase"),
    )


def _several(datasets: list[Any], name: str) -> list[Any]:
    """The values of the first dataset that has the field, as a list; [] where none has or it cannot be read."""
    for dataset in datasets:
        try:
            value = dataset.get(name)
        except BREAKS:
            continue
        if value is not None and value != "":
            return list(value) if hasattr(value, "__iter__") and not isinstance(value, str) else [value]
    return []


def unreadable(path: Path, error: BaseException) -> Exception:
    """The refusal for a DICOM file that breaks while it is read."""
    return refuse(path, f"cannot be read as DICOM ({reason(error)})", "export the series again")
