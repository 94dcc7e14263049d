"""Sealing a bundle's folder with checksums, and packing it as one zip that is the same byte for byte every time."""

from __future__ import annotations

import zipfile
from pathlib import Path

from ..atomic import part_of, replace_file
from ..errors import BundleError, UsageError
from . import layout
from . import source as sources
from .verify import Bundle, verify

_EARLIEST = (1980, 1, 1, 0, 0, 0)  # of a zip; a fixed date keeps the bytes the same


def seal(folder: str | Path) -> Bundle:
    """Write SHA256SUMS over all other files of ``folder``, and verify the result.

    Raises:
        UsageError: there is no such folder, or it cannot be written.
        BundleError: what lies in it is no valid bundle.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UsageError(f"{folder}: there is no such folder; give the folder of a bundle.")
    part_of(folder / layout.SUMS).unlink(missing_ok=True)  # of a run that was killed: it would be sealed in
    try:
        source = sources.open_source(folder, sealed=False)
        content = layout.format_sums(
            {name: sources.sha256(source, name) for name in source.sizes if name != layout.SUMS}
        )
        replace_file(folder / layout.SUMS, content)
    except OSError as error:
        raise UsageError(f"{folder}: the checksums cannot be written ({error}).") from error
    return verify(folder)


def pack(folder: str | Path, out: str | Path) -> Bundle:
    """Seal ``folder`` and pack it as the zip ``out``, which appears only when it is complete and verified.

    Files are stored uncompressed (weights hardly compress), sorted, with a fixed date, so that the same folder always
    gives the same bytes.

    Raises:
        UsageError: ``folder`` or ``out`` cannot be used.
        BundleError: what lies in ``folder`` is no valid bundle.
    """
    folder, out = Path(folder), Path(out)
    if out.resolve().is_relative_to(folder.resolve()):
        raise UsageError(f"{out}: the zip cannot lie inside the folder it packs; choose another place.")
    bundle = seal(folder)
    temporary = out.with_name(f".{out.name}.part")
    try:
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
            for name in [layout.SUMS, *sorted(bundle.files)]:
                content = bundle.read_sums() if name == layout.SUMS else bundle.read(name)
                entry = zipfile.ZipInfo(name, _EARLIEST)
                entry.create_system = 3  # Unix, wherever it is packed
                entry.external_attr = 0o100644 << 16
                archive.writestr(entry, content)
        packed = verify(temporary)
        if packed.digest != bundle.digest:
            raise BundleError(f"{out}: the zip differs from {folder}; did something change it meanwhile?")
        temporary.replace(out)
    except OSError as error:
        raise UsageError(f"{out}: the zip cannot be written ({error}).") from error
    finally:
        temporary.unlink(missing_ok=True)
    return verify(out)
