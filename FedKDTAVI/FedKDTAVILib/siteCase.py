"""A reviewed case as a folder of a site dataset: written whole or not at all, without anything that names a patient."""

from __future__ import annotations

import re
import secrets
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from slicer.i18n import tr as _

from fedkdtavi_core import schema
from fedkdtavi_core.annotation import Annotation
from fedkdtavi_core.errors import FedKDTAVIError, InputError, UsageError
from fedkdtavi_core.labels.annotated import write_annotation
from fedkdtavi_core.labels.case import output_folder
from fedkdtavi_core.labels.record import CaseRecord, now, read_record, volume_digest, write_record
from fedkdtavi_core.site.caseid import case_of, new_case_id
from fedkdtavi_core.site.ctfile import stored, write_ct
from fedkdtavi_core.site.dataset import CASES, CT, SITE, case_folders
from fedkdtavi_core.site.dataset import LABELS as RECORD
from fedkdtavi_core.site.init import init_site
from fedkdtavi_core.site.provenance import anonymous_provenance
from fedkdtavi_core.site.pseudonym import check_pseudonym
from fedkdtavi_core.volume import Volume

from .caseFolder import OURS, folderDigest
from .caseNodes import CaseNodes
from .caseOpening import openCase
from .fileExport import exportFiles
from .labelState import REVIEWED
from .prediction import movedPrediction
from .reviewRecords import keep, recordsOf
from .transforms import worldFromNode
from .volumes import volumeFromNode

__all__ = ["CaseSummary", "exportCase", "exportFiles", "openCase", "siteCases"]

_CASE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


@dataclass(frozen=True)
class CaseSummary:
    """One case of a site: ``reviewed`` of ``total`` labels, or the ``error`` that keeps it from being read."""

    path: Path
    caseId: str
    reviewed: int
    total: int
    error: str | None = None


def exportCase(caseNodes: CaseNodes, siteFolder: Path, caseId: str | None = None, *, reviewer: str) -> Path:
    """Write the case into ``siteFolder/cases/<caseId>``; killed at any moment, the old state or the new one is there.

    Args:
        caseNodes: the case.
        siteFolder: the site dataset; made when it is not there.
        caseId: letters, digits, - and _; by default the one it was opened or exported as, else that of the site's case
            with the same CT, which is then refused until it is opened, else a new one that tells nothing.
        reviewer: pseudonym of who reviewed what has no reviewer yet.

    Returns:
        The case's folder.

    Raises:
        UsageError: no pseudonym, a wrong id, the place cannot be written, the disk is full, or somebody else has
            changed the case since it was opened here.
        InputError: the nodes hold no case that can be written.
    """
    if not reviewer.strip():
        raise UsageError(_("The reviewer has no pseudonym; set one in the settings and export again."))
    reviewer = check_pseudonym(reviewer)
    annotation = caseNodes.toAnnotation()
    caseNodes.checkVolume()
    content = caseNodes.state.read()
    case = content.get("case") or {}
    volume = _kept(volumeFromNode(caseNodes.volume), case.get("ct"))
    digest = volume_digest(volume)
    target = _target(Path(siteFolder), caseId, case, digest)
    toWorld = worldFromNode(caseNodes.volume)
    toLocal = np.linalg.inv(toWorld)
    records = recordsOf(annotation, content.get("records", {}), toLocal, reviewer, now())
    known = case.get("digest") if case.get("path") == str(target) else None
    annotation.provenance = _anonymous(annotation, digest, movedPrediction(content.get("prediction", {}), toWorld))
    with output_folder(target, force=True, marker=RECORD) as folder:
        _refuseChanged(target, known)
        _writeCt(folder / CT, volume, target if known and case.get("ct") == digest else None)
        write_annotation(folder, annotation, volume.grid, {"sha256": digest})
        write_record(folder / RECORD, CaseRecord(digest, records))
        _keepOthers(target, folder)
        written = folderDigest(folder)
        _refuseChanged(target, known)  # once more, right before the folders change places
    caseNodes.state.update(
        records=keep(annotation, records, toLocal),
        case={"path": str(target), "digest": written, "ct": digest},
    )
    _nameSite(Path(siteFolder))
    return target


def siteCases(siteFolder: Path) -> list[CaseSummary]:
    """The cases of a site dataset by id; one that cannot be read says why. Raises UsageError where there is no site."""
    if not (Path(siteFolder) / CASES).is_dir():
        raise UsageError(_("{folder}: holds no cases; choose the folder of a site.").format(folder=siteFolder))
    return [_summary(folder) for folder in case_folders(siteFolder)]


def _anonymous(annotation: Annotation, digest: str, prediction: dict[str, Any]) -> dict[str, Any]:
    kept = anonymous_provenance(annotation.provenance)
    kept["ct"]["sha256"] = digest
    kept["prediction"] = prediction
    return kept


def _target(siteFolder: Path, caseId: str | None, case: dict[str, Any], digest: str) -> Path:
    cases = siteFolder.absolute() / CASES
    before = Path(case["path"]) if case.get("path") else None
    if caseId is None:
        caseId = before.name if before and before.parent == cases else case_of(siteFolder, digest)
        caseId = caseId or new_case_id(siteFolder)
    if not _CASE_ID.fullmatch(caseId):
        raise UsageError(
            _("The case id '{caseId}' may have letters, digits, - and _ only, 64 at most; choose another.").format(
                caseId=caseId
            )
        )
    return cases / caseId


def _refuseChanged(target: Path, known: str | None) -> None:
    """Refuse to replace what was not read or written here, or was changed since."""
    if not target.is_dir() or not any(target.iterdir()):
        return
    if known is None:
        raise UsageError(
            _("{target}: is there already; open that case to go on with it or choose another id.").format(target=target)
        )
    if folderDigest(target) != known:
        raise UsageError(
            _(
                "{target}: somebody has changed this case since it was opened; open it again or choose another id."
            ).format(target=target)
        )


def _kept(volume: Volume, before: str | None) -> Volume:
    """The CT as a site keeps it; one that was opened from a site stays as it is there."""
    exact = replace(volume, affine=volume.affine.astype(np.float32).astype(float))
    return exact if before is not None and volume_digest(exact) == before else stored(volume)


def _writeCt(path: Path, volume: Volume, before: Path | None) -> None:
    """The CT without name, text or time; the same CT of an earlier export is linked instead."""
    if before is not None and (before / CT).is_file():
        try:
            path.hardlink_to(before / CT)
            return
        except OSError:  # a drive without links
            pass
    write_ct(path, volume)


def _keepOthers(target: Path, folder: Path) -> None:
    """What a person has put beside the label files stays there."""
    if not target.is_dir():
        return
    for entry in target.iterdir():
        if entry.name not in OURS:
            copy = shutil.copytree if entry.is_dir() else shutil.copy2
            copy(entry, folder / entry.name)


def _nameSite(siteFolder: Path) -> None:
    if (siteFolder / SITE).exists():
        return
    try:
        # The folder's name may tell anything; the name of a site that nobody has named tells nothing.
        init_site(siteFolder, f"site-{secrets.token_hex(4)}")
    except FedKDTAVIError as error:
        raise UsageError(
            _("The case was written, but not what names its site: {reason}").format(reason=error)
        ) from error


def _summary(folder: Path) -> CaseSummary:
    total = len(schema.LABELS) - 1
    try:
        record = read_record(folder / RECORD)
        if not (folder / CT).is_file():
            raise InputError(_("{folder}: holds no {name}; export the case again.").format(folder=folder, name=CT))
    except FedKDTAVIError as error:
        return CaseSummary(folder, folder.name, 0, total, str(error))
    reviewed = sum(label.status in REVIEWED for label in record.labels.values())
    return CaseSummary(folder, folder.name, reviewed, total + ("annulus_contour" in record.labels))
