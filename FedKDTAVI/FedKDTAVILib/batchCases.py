"""Which CTs lie in a folder, for a batch: files, DICOM folders, or the cases of a site dataset."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from slicer.i18n import tr as _

from fedkdtavi_core.cli.naming import folder_names
from fedkdtavi_core.errors import UsageError

_ENDINGS = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd")
_LABELS = (".seg.nrrd",)
# A DICOM folder tells itself by its first files; nobody wants a whole archive opened for that.
_LOOK_AT = 200


@dataclass(frozen=True)
class BatchCase:
    """A CT: ``path`` of its file or DICOM folder, and the ``name`` its result gets."""

    path: Path
    name: str


def findCases(folder: Path) -> list[BatchCase]:
    """The CTs in ``folder``, in the order of their names.

    A site dataset (``cases/<case>/ct.nii.gz``) gives its cases by name. Otherwise every NIfTI, NRRD or MHA file in
    the folder or below it is a CT, and so is every folder directly in it that holds DICOM files at any depth; where
    there is neither, the folder itself may hold a DICOM series.

    Raises:
        UsageError: there is no such folder, or no CT in it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UsageError(_("{folder}: is no folder; give the folder with the CTs.").format(folder=folder))
    try:
        cases = _siteCases(folder)
        if not cases:
            paths = _paths(folder)
            cases = [BatchCase(*pair) for pair in zip(paths, folder_names(paths), strict=True)] if paths else []
    except OSError as error:
        raise UsageError(
            _("{folder}: cannot be read ({reason}); check its permissions.").format(
                folder=folder, reason=error.strerror or error
            )
        ) from error
    if not cases:
        raise UsageError(
            _("{folder}: holds no CT; give a folder with NIfTI, NRRD or MHA files, DICOM folders or a site dataset.")
            .format(folder=folder)
        )  # fmt: skip
    return cases


def _siteCases(folder: Path) -> list[BatchCase]:
    cases = folder / "cases"
    if not cases.is_dir():
        return []
    return [
        BatchCase(case / "ct.nii.gz", case.name)
        for case in sorted(cases.iterdir())
        if not case.name.startswith(".") and (case / "ct.nii.gz").is_file()
    ]


def _paths(folder: Path) -> list[Path]:
    found = []
    entries = _entries(folder)
    for entry in entries:
        if entry.is_dir():
            found += [entry] if _holdsDicom(entry) else _volumes(entry)
        elif _isVolume(entry):
            found.append(entry)
    return found or ([folder] if _holdsDicom(folder) else [])


def _volumes(folder: Path) -> list[Path]:
    found = []
    for entry in _entries(folder):
        if entry.is_dir() and not entry.is_symlink():
            found += _volumes(entry)
        elif entry.is_file() and _isVolume(entry):
            found.append(entry)
    return found


def _entries(folder: Path) -> list[Path]:
    return sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))


def _isVolume(path: Path) -> bool:
    name = path.name.lower()
    return name.endswith(_ENDINGS) and not name.endswith(_LABELS)


def _holdsDicom(folder: Path) -> bool:
    from fedkdtavi_core.readers.sniff import is_dicom

    files = (path for path in folder.rglob("*") if path.is_file() and not _isVolume(path))
    for path in islice(files, _LOOK_AT):
        with path.open("rb") as file:
            if is_dicom(file.read(256)):
                return True
    return False
