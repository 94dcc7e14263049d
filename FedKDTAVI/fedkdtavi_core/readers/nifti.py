"""NIfTI-1 and -2, plain or gzip, read in one pass straight into the array that is returned.

nibabel reads and interprets the header. The voxels are unpacked with zlib directly: for a 512 x 512 x 300 int16 CT
this takes three quarters of nibabel's time and no memory beside the CT itself.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..progress import Progress
from ..volume import Volume
from . import phases
from .headers import check_affine, check_claim, check_shape, check_spacing
from .refusal import reason, refuse
from .sniff import unzip_head
from .voxels import finish

_CHUNK = 1 << 20  # bytes of the file taken at once, and of voxels unpacked at once
_PIECE = 1 << 22
_INTENT_LABEL = 1002  # NIFTI_INTENT_LABEL
_MM_PER_UNIT = {1: 1000.0, 3: 0.001}  # xyzt_units: metre, micrometre; 0 (unknown) and 2 are mm


def read_nifti(path: Path, *, phase: str | int | None, progress: Progress) -> Volume:
    """Read a NIfTI file; sform wins over qform. See :func:`~fedkdtavi_core.readers.read_volume`."""
    info: dict[str, Any] = {"path": str(path), "format": "NIfTI", "notes": []}
    with path.open("rb") as file:
        head = file.read(4096)
    packed = head.startswith(b"\x1f\x8b")
    header = _header(path, unzip_head(path, head))
    shape, frames = _shape(path, header)
    affine = _affine(path, header, info["notes"], shape)
    dtype, slope, intercept = _encoding(path, header)

    count = int(np.prod(shape, dtype=np.int64))
    offset = int(header["vox_offset"])
    check_claim(path, offset + count * frames * dtype.itemsize, path.stat().st_size, packed)
    frame = phases.take(path, frames, phase, info)
    flat = np.empty(count, _working_type(dtype, slope, intercept))
    pieces = _pieces(path, packed, progress)
    _fill(path, flat, pieces, offset + frame * count * dtype.itemsize, dtype, (slope, intercept))
    if frames == 1:
        for _ in pieces:  # to the end of the file: the gzip's checksum is compared there
            pass
    array = finish(path, flat.reshape(shape, order="F"), info)
    progress.step(1.0, "CT read")
    return Volume(array, affine, info)


def _header(path: Path, head: bytes) -> Any:
    import nibabel
    from nibabel.spatialimages import HeaderDataError
    from nibabel.wrapstruct import WrapStructError

    kind = nibabel.Nifti2Header if head[:4] in (b"\x1c\x02\0\0", b"\0\0\x02\x1c") else nibabel.Nifti1Header
    size = kind.template_dtype.itemsize
    if len(head) < size:
        raise refuse(path, "ends within its header", "copy or export it again")
    try:
        # The byte order by the header's own length; nibabel would guess it from the dimensions, which may be broken.
        order = "<" if head[:2] != b"\0\0" else ">"
        header = kind.from_fileobj(io.BytesIO(head[:size]), endianness=order, check=False)
    except (HeaderDataError, WrapStructError, ValueError) as error:
        raise refuse(path, f"has a broken NIfTI header ({reason(error)})", "export it again") from error
    if header["magic"].item()[:2] == b"ni":
        raise refuse(path, "is the header of a .hdr/.img pair", "convert the pair to one .nii.gz file")
    offset = float(header["vox_offset"])
    if not (np.isfinite(offset) and size <= offset <= 2**24):
        raise refuse(path, f"says its voxels start at byte {offset:g}", "export it again")
    return header


def _shape(path: Path, header: Any) -> tuple[tuple[int, int, int], int]:
    """Spatial shape and number of frames."""
    dim = [int(n) for n in header["dim"]]
    if not 1 <= dim[0] <= 7:
        raise refuse(path, f"claims {dim[0]} dimensions", "export it again")
    shape = tuple(dim[1 : dim[0] + 1])
    spatial = check_shape(path, shape)
    if any(n != 1 for n in shape[4:]):
        raise refuse(path, f"holds {int(np.prod(shape[4:]))} values for every voxel", "give the CT itself")
    return spatial, shape[3] if len(shape) > 3 else 1


def _affine(path: Path, header: Any, notes: list[str], shape: tuple[int, int, int]) -> np.ndarray:
    from nibabel.spatialimages import HeaderDataError

    spacing = np.array(header["pixdim"][1:4], float)
    scale = _MM_PER_UNIT.get(int(header["xyzt_units"]) & 7, 1.0)
    if scale != 1.0:
        notes.append(f"Positions were converted to mm (the header's unit is {scale:g} mm).")
    sform, qform = int(header["sform_code"]) > 0, int(header["qform_code"]) > 0
    check_spacing(path, spacing * scale)  # also beside a good sform: such a header contradicts itself
    try:
        affine = np.array(header.get_best_affine(), float)
        other = np.array(header.get_qform(), float) if sform and qform else affine
    except (ValueError, FloatingPointError, HeaderDataError) as error:
        raise refuse(path, f"has an impossible orientation ({reason(error)})", "export it again") from error
    if not (sform or qform):
        notes.append(
            "The header states no orientation (neither sform nor qform): axes were taken as "
            f"{'LAS' if affine[0, 0] < 0 else 'RAS'}; check that left and right are not swapped."
        )
    elif np.all(np.isfinite(other)) and np.abs(other - affine)[:3].max() > 0.1:
        notes.append("sform and qform differ; the sform was taken.")
    elif np.any(np.abs(np.linalg.norm(affine[:3, :3], axis=0) - spacing) > 0.01 * spacing):
        notes.append("The voxel sizes in the header differ from the sform's; the sform was taken.")
    affine[:3] *= scale
    return check_affine(path, affine, notes, shape)


def _encoding(path: Path, header: Any) -> tuple[np.dtype, float, float]:
    """Type of the stored numbers, slope and intercept."""
    from nibabel.spatialimages import HeaderDataError

    if int(header["intent_code"]) == _INTENT_LABEL:
        raise refuse(path, "is a label map by its header", "give the CT itself")
    try:
        dtype = header.get_data_dtype()
        slope, intercept = header.get_slope_inter()
    except (HeaderDataError, KeyError) as error:
        raise refuse(path, f"has a broken NIfTI header ({reason(error)})", "export it again") from error
    if dtype.names or dtype.kind not in "iuf" or dtype.itemsize > 8:
        what = "colours" if dtype.names else f"voxels of type {dtype}"
        raise refuse(path, f"holds {what}, not Hounsfield units", "give the CT itself")
    if np.isinf(header["scl_slope"]):  # nibabel takes an infinite slope for none
        slope = float(header["scl_slope"])
    slope, intercept = (1.0 if slope is None else float(slope)), (0.0 if intercept is None else float(intercept))
    if not (np.isfinite(slope) and np.isfinite(intercept)):
        raise refuse(path, f"has a slope of {slope} and an intercept of {intercept}", "export it again")
    return dtype, slope, intercept


def _working_type(dtype: np.dtype, slope: float, intercept: float) -> type:
    """The smallest type that holds the scaled numbers: never float64."""
    whole = dtype.kind in "iu" and slope == 1.0 and intercept == int(intercept) and abs(intercept) < 2**15
    if not whole or dtype.itemsize > 4 or (dtype.kind == "u" and dtype.itemsize == 4):
        return np.float32
    fits = dtype.itemsize == 1 or (dtype.itemsize == 2 and dtype.kind == "i")
    return np.int16 if fits and not intercept else np.int32


def _pieces(path: Path, packed: bool, progress: Progress) -> Iterator[bytes]:
    """The file's bytes, unpacked. Raises InputError where the gzip stream is cut or altered."""
    total, done = max(path.stat().st_size, 1), 0
    unpacker = zlib.decompressobj(31)
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                done += len(chunk)
                progress.step(0.95 * done / total, "Reading the CT")
                if not packed:
                    yield chunk
                    continue
                while chunk:
                    yield unpacker.decompress(chunk, _PIECE)
                    chunk = unpacker.unconsumed_tail
                    if unpacker.eof:  # gzip files may consist of several members, padded with zeros
                        chunk = unpacker.unused_data.lstrip(b"\0")
                        unpacker = zlib.decompressobj(31) if chunk else unpacker
        while packed and not unpacker.eof and (piece := unpacker.decompress(b"", _PIECE)):
            yield piece
    except zlib.error as error:
        raise refuse(path, f"is damaged inside its gzip ({reason(error)})", "copy or export it again") from error
    except OSError as error:
        raise refuse(path, f"cannot be read ({error.strerror or error})", "check the disk or network") from error
    if packed and not unpacker.eof:
        raise refuse(path, "is truncated inside its gzip", "copy or export it again")


def _fill(
    path: Path,
    flat: np.ndarray,
    pieces: Iterator[bytes],
    skip: int,
    dtype: np.dtype,
    scaling: tuple[float, float],
) -> None:
    """Fill ``flat`` with the numbers after the first ``skip`` bytes, converted and scaled piece by piece."""
    done, rest = 0, b""
    slope, intercept = scaling
    for piece in pieces:
        if skip >= len(piece):
            skip -= len(piece)
            continue
        piece = rest + piece[skip:] if rest or skip else piece
        skip = 0
        count = min(len(piece) // dtype.itemsize, flat.size - done)
        target = flat[done : done + count]
        with np.errstate(over="ignore", invalid="ignore"):  # what overflows becomes infinite and is judged later
            target[:] = np.frombuffer(piece, dtype, count)
            if slope != 1.0:
                target *= np.float32(slope)
            if intercept:
                target += flat.dtype.type(intercept)
        rest = piece[count * dtype.itemsize :]
        done += count
        if done == flat.size:
            return
    raise refuse(
        path,
        f"is truncated (the header claims {flat.size:,} voxels, {done:,} are there)",
        "copy or export it again",
    )
