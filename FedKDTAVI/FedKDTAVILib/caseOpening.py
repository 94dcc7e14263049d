"""From the folder of a case back to nodes, with what is known of every label, so that a review goes on."""

from __future__ import annotations

import gzip
import struct
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import slicer
from slicer.i18n import tr as _

from fedkdtavi_core.annotation import Annotation, Status
from fedkdtavi_core.errors import InputError
from fedkdtavi_core.labels.annotated import CALCIFICATION, CONTOUR, LANDMARKS, PROVENANCE, AnnotatedCT, read_annotation
from fedkdtavi_core.labels.markups import read_contour, read_landmarks
from fedkdtavi_core.labels.record import CaseRecord, read_record, volume_digest
from fedkdtavi_core.labels.segmentation import read_segment
from fedkdtavi_core.site.dataset import CT
from fedkdtavi_core.site.dataset import LABELS as RECORD
from fedkdtavi_core.volume import Grid

from .caseFolder import folderDigest
from .caseNodes import VOLUME, CaseNodes, removeNode
from .reviewRecords import keep
from .transforms import toMatrix
from .volumes import volumeFromNode

MODULE = "FedKDTAVI"
# On a CT that came with a case: it leaves the scene when the next case is opened.
OPENED = "FedKDTAVI.openedCase"
_SFORM = 280  # where NIfTI-1 keeps the affine, and at 252 + 2 whether it does


def openCase(folder: Path, parameterNode: Any = None) -> CaseNodes:
    """Load a case and show it in place of the one that is open; that one stays when the new one cannot be read.

    Args:
        folder: as :func:`~.siteCase.exportCase` wrote it, or with fewer label files.
        parameterNode: holds the nodes; the module's own when left out.

    Returns:
        The case; ``notes`` says what was not as expected.

    Raises:
        InputError: a file is missing or broken, or the labels belong to another CT.
    """
    folder = Path(folder).absolute()
    record = read_record(folder / RECORD)
    digest = folderDigest(folder)
    volumeNode = _loadCt(folder)
    try:
        volume = volumeFromNode(volumeNode)
        if volume_digest(volume) != record.ct_sha256:
            raise InputError(
                _("{folder}: its labels belong to another CT than {ct}; export the case again.").format(
                    folder=folder, ct=CT
                )
            )
        found = _read(folder, volume.grid, record)
    except InputError:
        removeNode(volumeNode)
        raise
    caseNodes = CaseNodes.find(parameterNode or moduleParameterNode())
    _close(caseNodes)
    caseNodes.parameterNode.SetNodeReferenceID(VOLUME, volumeNode.GetID())
    annotation = found.annotation
    caseNodes.showAnnotation(annotation)
    # What was changed in the files since has no reviewer yet: that will be who exports it.
    known = {i: label for i, label in record.labels.items() if i not in found.changed}
    caseNodes.state.update(
        records=keep(annotation, known, np.eye(4)),
        case={"path": str(folder), "digest": digest, "ct": record.ct_sha256, "notes": found.notes},
    )
    return caseNodes


def moduleParameterNode() -> Any:
    """The module's parameter node of the scene, made as Slicer's ScriptedLoadableModuleLogic makes it."""
    scene = slicer.mrmlScene
    node = scene.GetSingletonNode(MODULE, "vtkMRMLScriptedModuleNode")
    if node is None:
        node = scene.CreateNodeByClass("vtkMRMLScriptedModuleNode")
        node.UnRegister(None)
        node.SetSingletonTag(MODULE)
        node.SetAttribute("ModuleName", MODULE)
        node.SetName(slicer.mrmlScene.GenerateUniqueName(MODULE))
        node = scene.AddNode(node)
    return node


def _loadCt(folder: Path) -> Any:
    path = folder / CT
    if not path.is_file():
        raise InputError(_("{folder}: holds no {name}; export the case again.").format(folder=folder, name=CT))
    affine = _headerAffine(path)
    try:
        node = slicer.util.loadVolume(str(path), {"name": folder.name, "show": False})
    except RuntimeError as error:
        raise InputError(_("{path}: cannot be read as a CT; export the case again.").format(path=path)) from error
    if affine is not None:  # the reader's detour through quaternions costs the digits that the CT's digest is made of
        node.SetIJKToRASMatrix(toMatrix(affine))
    node.SetAttribute(OPENED, "1")
    return node


def _headerAffine(path: Path) -> np.ndarray | None:
    """The sform of a packed NIfTI-1 file, (4, 4) to RAS mm; None where it has none that can be taken as it is."""
    try:
        with gzip.open(path) as file:
            header = file.read(348)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(_("{path}: cannot be read as a CT; export the case again.").format(path=path)) from error
    if len(header) < 348 or struct.unpack_from("<i", header)[0] != 348 or struct.unpack_from("<h", header, 254)[0] < 1:
        return None
    if header[123] & 7 not in (0, 2):
        return None  # not in mm
    affine = np.eye(4)
    affine[:3] = np.reshape(struct.unpack_from("<12f", header, _SFORM), (3, 4))
    return affine


def _read(folder: Path, grid: Grid, record: CaseRecord) -> AnnotatedCT:
    if (folder / PROVENANCE).is_file():
        return read_annotation(folder, grid)
    return _readPartial(folder, grid, record)


def _readPartial(folder: Path, grid: Grid, record: CaseRecord) -> AnnotatedCT:
    """A case that holds some labels only and no prediction; ``labels.json`` says what they are."""
    result = AnnotatedCT(Annotation(), {})
    annotation = result.annotation
    statuses = {labelId: label.status for labelId, label in record.labels.items()}
    if (folder / LANDMARKS).is_file():
        found = read_landmarks(folder / LANDMARKS)
        result.notes += found.notes
        for labelId, landmark in found.landmarks.items():
            status = statuses.get(labelId, Status.PREDICTED)
            if (status is Status.ABSENT) != (landmark.position is None) and status is not Status.PREDICTED:
                status = landmark.status  # the file was changed after its record
                result.changed.append(labelId)
            annotation.landmarks[labelId] = replace(landmark, status=status)
    if (folder / CALCIFICATION).is_file():
        segment = read_segment(folder / CALCIFICATION, grid)
        result.notes += segment.notes
        annotation.calcification = segment.mask
        annotation.calcification_status = statuses.get("calcification", segment.status)
    if (folder / CONTOUR).is_file():
        annotation.annulus_contour, status = read_contour(folder / CONTOUR)
        annotation.contour_status = statuses.get("annulus_contour", status)
    return result


def _close(caseNodes: CaseNodes) -> None:
    before = caseNodes.volume
    caseNodes.remove(withVolume=before is not None and bool(before.GetAttribute(OPENED)))
