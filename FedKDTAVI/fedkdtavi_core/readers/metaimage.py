"""What must be checked in a MetaImage before SimpleITK reads it.

Its reader takes unreadable numbers for 0, and never returns from a damaged compressed block: both are found here.
"""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np

from ..progress import Progress
from .headers import check_claim
from .refusal import reason, refuse

_VECTORS = ("dimsize", "elementspacing", "elementsize", "offset", "position", "origin")
_MATRICES = ("transformmatrix", "rotation", "orientation")
_CHUNK, _PIECE = 1 << 20, 1 << 22


def numbers(path: Path, text: str, field: str) -> list[float]:
    """The numbers of a header's field, or InputError."""
    try:
        return [float(word) for word in text.split()]
    except ValueError as error:
        raise refuse(path, f"has an unreadable {field!r} in its header ({text[:40]})", "export it again") from error


def check_fields(path: Path, header: dict[str, str]) -> None:
    """InputError unless all numbers of a MetaImage header (names in small letters) are there and finite."""
    for name in ("ndims", "dimsize", "elementtype", "elementdatafile"):
        if not header.get(name):
            raise refuse(path, f"has no {name!r} in its header", "copy or export it again")
    dimensions = numbers(path, header["ndims"], "ndims")
    if dimensions not in ([2.0], [3.0], [4.0]):
        raise refuse(path, f"claims {header['ndims']!r} dimensions", "give a CT with three, or four with its phases")
    for names, power in ((_VECTORS, 1), (_MATRICES, 2)):
        for name in names:
            if name not in header:
                continue
            values = numbers(path, header[name], name)
            if len(values) != dimensions[0] ** power:
                raise refuse(path, f"has {len(values)} numbers as {name!r} in its header", "export it again")
            if name not in ("elementspacing", "elementsize") and not np.all(np.isfinite(values)):
                raise refuse(path, f"has NaN or infinite numbers as {name!r} in its header", "export it again")


def check_packed(path: Path, header: dict[str, str], expected: int, progress: Progress) -> None:
    """InputError unless the compressed block unpacks to ``expected`` bytes; does nothing where nothing is packed."""
    if header.get("compresseddata", "").lower() != "true":
        return
    name = header["elementdatafile"]
    local = name.upper() == "LOCAL"
    data = path if local else path.parent / name
    if not data.is_file():
        raise refuse(
            path, f"is compressed but refers to {name!r}, which is no single file", "export it as one .mha file"
        )
    claimed = numbers(path, header.get("compresseddatasize", "0"), "compresseddatasize")
    check_claim(path, int(claimed[0]) if claimed and np.isfinite(claimed[0]) else 0, data.stat().st_size, packed=False)
    unpacker, count, size = zlib.decompressobj(47), 0, max(data.stat().st_size, 1)
    try:
        with data.open("rb") as file:
            if local:
                while (line := file.readline(1 << 16)) and b"elementdatafile" not in line.lower():
                    pass
            while (chunk := file.read(_CHUNK)) and not unpacker.eof:
                progress.step(file.tell() / size, "Checking the CT")
                while chunk and not unpacker.eof:
                    count += len(unpacker.decompress(chunk, _PIECE))
                    chunk = unpacker.unconsumed_tail
            while not unpacker.eof and (piece := unpacker.decompress(b"", _PIECE)):
                count += len(piece)
    except zlib.error as error:
        raise refuse(
            path, f"is damaged in its compressed voxels ({reason(error)})", "copy or export it again"
        ) from error
    if not unpacker.eof or count != expected:
        raise refuse(
            path, f"is truncated ({expected:,} bytes of voxels claimed, {count:,} are there)", "copy or export it again"
        )
