"""What kind of input a path is, by its content."""

from __future__ import annotations

import zlib
from enum import StrEnum
from pathlib import Path

from .refusal import reason, refuse

_HEAD = 4096
# zip (also empty or in parts), 7z, rar, xz, bzip2, zstd
_ARCHIVES = (
    b"PK\x03\x04",
    b"PK\x05\x06",
    b"PK\x07\x08",
    b"7z\xbc\xaf\x27\x1c",
    b"Rar!",
    b"\xfd7zXZ",
    b"BZh",
    b"\x28\xb5\x2f\xfd",
)
FORMATS = "give a CT as NIfTI, NRRD, MHA/MHD or a folder with DICOM files"

_ARCHIVE = ("is an archive (zip, tar or the like)", "unpack it and give the CT file or DICOM folder in it")


class Kind(StrEnum):
    """Kinds of input, each read by one module."""

    FOLDER = "folder"
    DICOM = "DICOM"
    NIFTI = "NIfTI"
    NRRD = "NRRD"
    METAIMAGE = "MetaImage"


def sniff(path: Path) -> Kind:
    """The kind of ``path``. Raises InputError when there is nothing, nothing to read, or nothing known."""
    try:
        if path.is_dir():
            return Kind.FOLDER
        if not path.exists():
            raise refuse(path, "does not exist", "check the path")
        if not path.is_file():
            raise refuse(path, "is neither a file nor a folder", FORMATS)
        if path.stat().st_size == 0:  # also what the system makes up as it is read (/proc, /sys)
            raise refuse(path, "is empty (0 bytes)", "copy or export the CT again and give that file")
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except OSError as error:
        raise refuse(path, f"cannot be opened ({error.strerror or error})", "check its permissions") from error
    if head.startswith(_ARCHIVES):
        raise refuse(path, *_ARCHIVE)
    unpacked = unzip_head(path, head)
    if unpacked[257:262] == b"ustar" and not is_nifti(unpacked):
        raise refuse(path, *_ARCHIVE)
    if is_nifti(unpacked):
        return Kind.NIFTI
    if is_dicom(head):
        return Kind.DICOM
    if head.startswith(b"NRRD"):
        return Kind.NRRD
    if _is_metaimage(head):
        return Kind.METAIMAGE
    raise _unknown(path, head)


def unzip_head(path: Path, head: bytes) -> bytes:
    """The first bytes of a file, unpacked where it is gzip."""
    if not head.startswith(b"\x1f\x8b"):
        return head
    try:
        return zlib.decompressobj(31).decompress(head, _HEAD)
    except zlib.error as error:
        raise refuse(path, f"is a broken gzip file ({reason(error)})", "copy or export it again") from error


def is_nifti(head: bytes) -> bool:
    """NIfTI-1 or -2, either byte order, single file; by the header's length and its magic."""
    length = head[:4]
    if length in (b"\x5c\x01\0\0", b"\0\0\x01\x5c"):
        return head[344:347] in (b"n+1", b"ni1")
    return length in (b"\x1c\x02\0\0", b"\0\0\x02\x1c") and head[4:7] in (b"n+2", b"ni2")


def is_dicom(head: bytes) -> bool:
    """DICOM by its mark, or (old files without a preamble) by a first element of group 8 in little endian."""
    return head[128:132] == b"DICM" or (head[:2] == b"\x08\0" and head[3:4] == b"\0" and len(head) > 132)


def _is_metaimage(head: bytes) -> bool:
    start = head.lstrip()[:64].lower()
    return any(start.startswith(key) for key in (b"objecttype", b"ndims", b"comment")) and b"NDims" in head


def _unknown(path: Path, head: bytes) -> Exception:
    name = path.name.lower()
    if head.strip(b"\0") == b"":
        return refuse(path, "holds only zeros where its header should be", "copy or export it again")
    for suffixes, what in (
        ((".nii", ".nii.gz", ".hdr"), "NIfTI"),
        ((".nrrd", ".nhdr"), "NRRD"),
        ((".mha", ".mhd"), "MetaImage"),
        ((".dcm", ".ima"), "DICOM"),
    ):
        if name.endswith(suffixes):
            return refuse(path, f"has a name like {what} but no {what} header", "copy or export it again")
    return refuse(path, "is no image format known here", FORMATS)
