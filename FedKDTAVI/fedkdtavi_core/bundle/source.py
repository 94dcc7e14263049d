"""Reading a bundle where it lies, folder or zip, without unpacking it and without following anything out of it."""

from __future__ import annotations

import hashlib
import os
import stat
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Protocol

from ..errors import BundleError
from . import layout

_CHUNK = 1 << 20
_UNSEALED = f"this is no model bundle, as it holds no {layout.SUMS}; give the folder that holds it, or its zip."


class Source(Protocol):
    """The files of a bundle."""

    location: Path
    sizes: dict[str, int]

    def open(self, name: str) -> BinaryIO:
        """The file's content as a stream."""
        ...


def open_source(path: Path, *, sealed: bool = True) -> Source:
    """The bundle at ``path``: names, kinds of entries and sizes are checked here, contents are not read.
    ``sealed``: it must hold its list of checksums.

    Raises:
        BundleError: there is no bundle, or its entries are unsafe.
    """
    if path.is_dir():
        if sealed and not (path / layout.SUMS).is_file():  # said before a whole disk is walked
            raise BundleError(f"{path}: {_UNSEALED}")
        source: Source = _Folder(path)
    elif path.is_file():
        source = _Zip(path)
    else:
        raise BundleError(f"{path}: there is no such bundle; give a bundle's folder or zip.")
    if sealed and layout.SUMS not in source.sizes:
        raise BundleError(f"{path}: {_UNSEALED}")
    _check_sizes(source)
    return source


@contextmanager
def _told(source: Source, name: str) -> Iterator[None]:
    """Turn what can go wrong while reading into one sentence."""
    try:
        yield
    except (OSError, EOFError, ValueError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        # RuntimeError: encrypted entries; its subclass NotImplementedError: unknown compression.
        raise BundleError(f"{source.location}: {name} cannot be read ({error}); get the bundle again.") from error


def read(source: Source, name: str, limit: int = layout.LARGEST_FILE) -> bytes:
    """The whole content of one file, at most ``limit`` bytes of it."""
    if source.sizes[name] > limit:
        raise BundleError(f"{source.location}: {name} has {source.sizes[name]} bytes, more than {limit}; refused.")
    with _told(source, name), source.open(name) as stream:
        content = stream.read(limit + 1)
    if len(content) > limit:
        raise BundleError(f"{source.location}: {name} is longer than {limit} bytes; refused.")
    return content


def sha256(source: Source, name: str) -> str:
    """SHA-256 of one file, hexadecimal, read piece by piece."""
    digest = hashlib.sha256()
    with _told(source, name), source.open(name) as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _check_sizes(source: Source) -> None:
    for name, size in source.sizes.items():
        if size > layout.LARGEST_FILE:
            raise BundleError(f"{source.location}: {name} would unpack to {size} bytes; refused.")
    if sum(source.sizes.values()) > layout.LARGEST_BUNDLE:
        raise BundleError(f"{source.location}: the bundle would unpack to more than {layout.LARGEST_BUNDLE} bytes.")
    seen: dict[str, str] = {}
    for name in source.sizes:
        layout.check_name(name, str(source.location))
        if (other := seen.setdefault(name.casefold(), name)) != name:
            raise BundleError(f"{source.location}: {other} and {name} are one file on some systems; refused.")


class _Folder:
    def __init__(self, path: Path) -> None:
        self.location = path
        self.sizes: dict[str, int] = {}
        try:
            self._walk(path, "")
        except OSError as error:
            raise BundleError(f"{path}: the folder cannot be read ({error}).") from error

    def _walk(self, folder: Path, prefix: str) -> None:
        with os.scandir(folder) as entries:
            for entry in sorted(entries, key=lambda e: e.name):
                name = prefix + entry.name
                mode = entry.stat(follow_symlinks=False)
                if stat.S_ISLNK(mode.st_mode):
                    raise BundleError(f"{self.location}: {name} is a link; a bundle holds plain files only.")
                if stat.S_ISDIR(mode.st_mode):
                    self._walk(Path(entry.path), f"{name}/")
                elif stat.S_ISREG(mode.st_mode):
                    self.sizes[name] = mode.st_size
                else:
                    raise BundleError(f"{self.location}: {name} is no plain file; refused.")
                if len(self.sizes) > layout.MOST_FILES:
                    raise BundleError(f"{self.location}: more than {layout.MOST_FILES} files; this is no bundle.")

    def open(self, name: str) -> BinaryIO:
        return (self.location / name).open("rb")


class _Zip:
    def __init__(self, path: Path) -> None:
        self.location = path
        try:
            with zipfile.ZipFile(path) as archive:
                entries = [info for info in archive.infolist() if not info.is_dir()]
        except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile) as error:
            raise BundleError(f"{path}: this is no readable zip ({error}); get the bundle again.") from error
        if len(entries) > layout.MOST_FILES:
            raise BundleError(f"{path}: more than {layout.MOST_FILES} files; this is no bundle.")
        for info in entries:
            kind = stat.S_IFMT(info.external_attr >> 16)
            if kind not in (0, stat.S_IFREG):
                raise BundleError(f"{path}: {info.filename} is a link or a special file; refused.")
            if info.flag_bits & 0x1:
                raise BundleError(f"{path}: {info.filename} is encrypted; a bundle is not.")
        top = _common_folder([info.filename for info in entries])
        self._entries = {info.filename[len(top) :]: info for info in entries}
        if len(self._entries) < len(entries):
            raise BundleError(f"{path}: a file name occurs twice in the zip; refused.")
        self.sizes = {name: info.file_size for name, info in self._entries.items()}

    def open(self, name: str) -> BinaryIO:
        archive = zipfile.ZipFile(self.location)
        try:
            stream = archive.open(self._entries[name])
        finally:
            archive.close()  # the file itself stays open until the stream is closed
        return stream


def _common_folder(names: list[str]) -> str:
    """``folder/`` when somebody zipped the bundle's folder instead of its content, otherwise nothing."""
    sums = [name for name in names if name == layout.SUMS or name.endswith(f"/{layout.SUMS}")]
    if layout.SUMS in sums or not sums:
        return ""
    top = min(sums, key=len).removesuffix(layout.SUMS)
    return top if top.count("/") == 1 and all(name.startswith(top) for name in names) else ""
