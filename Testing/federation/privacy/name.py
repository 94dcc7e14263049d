"""Plant a name, and look for it: as it is, in other letters and encodings, and inside of archives."""

from __future__ import annotations

import base64
import gzip
import io
import shutil
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

NAME = "Zwirnhobel"  # no word of any program
CASE = f"{NAME}-Anna-1957"


def plant(site: Path, folder: Path) -> Path:
    """A copy of a site dataset in ``folder`` in which the name is wherever a careless hand could leave it.

    In the folder's name, in a case's id, in the DICOM series that another case comes from: its tags, its files' names,
    its folder. A dataset with a name in a CT's header is refused before a key is made, so that is not planted.
    """
    sys.path.append(str(Path(__file__).resolve().parents[2] / "core"))
    import ct_files

    from fedkdtavi_core.site.add import add_ct

    planted = folder / f"hospital of {NAME}"
    shutil.copytree(site, planted)
    (case,) = (planted / "cases").iterdir()
    case.rename(case.with_name(CASE))
    series = folder / "from the scanner" / NAME
    tags = {"PatientName": f"{NAME}^Anna", "PatientID": NAME, "StudyDescription": NAME, "SeriesDescription": NAME}
    ct_files.dicom_series(series, prefix=NAME, **tags)
    add_ct(planted, series, key=folder / f"{NAME}.key")
    return planted


def forms(name: str) -> list[bytes]:
    """What the name may look like in bytes, in small letters."""
    found = [name.encode(), name.encode("utf-16-le"), name.encode().hex().encode()]
    for shift in range(3):  # base64, wherever the name begins; its ends depend on what is beside it
        found.append(base64.b64encode(b"\0" * shift + name.encode())[4:-4])
    return [form.lower() for form in found]


def times_in(content: bytes, name: str = NAME) -> int:
    """How often the name is in ``content``, and in what is packed in it."""
    small = content.lower()
    count = sum(small.count(form) for form in forms(name))
    if content[:2] == b"PK":
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            count += sum(times_in(archive.read(one), name) for one in archive.namelist())
    elif content[:2] == b"\x1f\x8b":
        count += times_in(gzip.decompress(content), name)
    return count


def times_in_folder(folder: Path, name: str = NAME) -> dict[str, int]:
    """File -> how often the name is in it or in its path, for those in which it is."""
    return {str(path): count for path, count in _counted(folder, name) if count}


def _counted(folder: Path, name: str) -> Iterator[tuple[Path, int]]:
    for path in sorted(folder.rglob("*")):
        inside = times_in(path.read_bytes(), name) if path.is_file() else 0
        yield path, inside + times_in(str(path.relative_to(folder)).encode(), name)
