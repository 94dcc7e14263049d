"""Take CTs into a site: read by the core's readers, stripped of identity, each under an id that is made here."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from ..errors import InputError
from ..labels.case import output_folder
from ..labels.record import CaseRecord, now, volume_digest, write_record
from ..progress import SILENT, Progress
from ..readers import read_volume
from .caseid import new_case_id
from .ctfile import write_ct
from .dataset import CASES, CT, LABELS, Site, open_site
from .localkey import KeyEntry, append_key, default_key, locked_key, read_key


@dataclass(frozen=True)
class Added:
    """A CT that was taken in: its case id, the CT's digest in the site, and what the reader chose or mended."""

    case: str
    ct_sha256: str
    notes: list[str] = field(default_factory=list)


def add_ct(
    folder: Path,
    ct: Path,
    *,
    key: Path | None = None,
    series: str | int | None = None,
    phase: str | int | None = None,
    expected: str | None = None,
    progress: Progress = SILENT,
) -> Added:
    """Take one CT into the site ``folder``, without any label.

    Args:
        folder: of the site.
        ct: NIfTI, NRRD or MHA file, or a folder with DICOM files.
        key: the local key; default see :func:`~.localkey.default_key`.
        series, phase: which of several, see :func:`~fedkdtavi_core.readers.read_volume`.
        expected: digest that the CT must have as it is read.
        progress: reports and can cancel.

    Raises:
        UsageError: no site, or it cannot be written.
        InputError: the CT cannot be read, is in the site already, or is not the ``expected`` one.
    """
    folder = Path(folder)
    key = default_key(folder) if key is None else Path(key)
    with locked_key(folder, key):
        site = open_site(folder)
        volume = read_volume(ct, series=series, phase=phase, progress=progress.part(0.0, 0.6))
        source = volume_digest(volume)
        if expected not in (None, source):
            raise InputError(f"{ct}: is not the CT that was annotated, or has changed since; annotate it again.")
        _refuse_known(ct, site, key, source)
        case_id = new_case_id(site.folder)
        with output_folder(folder / CASES / case_id, marker=LABELS) as partial:
            progress.step(0.6, "Writing")
            write_ct(partial / CT, volume)
            # Of the file, not of what was read: a header keeps fewer digits than DICOM does.
            digest = volume_digest(read_volume(partial / CT))
            _refuse_known(ct, site, key, digest)
            write_record(partial / LABELS, CaseRecord(digest))
            progress.check()  # the last moment to stop
            # Before the case appears: a key with one case too many harms nobody, a case of nobody does.
            info = volume.info
            entry = KeyEntry(
                str(Path(ct).resolve()), info.get("series_uid"), _text(info.get("series")), _text(info.get("phase")),
                source, digest, now(),
            )  # fmt: skip
            append_key(key, site.info.id, case_id, entry)
    progress.step(1.0, "Added")
    return Added(case_id, digest, list(info.get("notes", [])))


def _refuse_known(ct: Path, site: Site, key: Path, digest: str) -> None:
    here = {case.id: case.record.ct_sha256 for case in site.cases}
    known = [case for case, known in here.items() if known == digest]
    known += [case for case, entry in read_key(key).items() if case in here and entry.source_sha256 == digest]
    if known:
        raise InputError(f"{ct}: is in the site already, as {known[0]}; leave it out.")


def _text(value: object) -> str | None:
    return None if value is None else str(value)
