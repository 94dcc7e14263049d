"""A small site with labelled cases, for the tests of site datasets."""

from __future__ import annotations

from pathlib import Path

import ct_files
import numpy as np

from fedkdtavi_core import schema
from fedkdtavi_core.annotation import Annotation, Landmark, Status
from fedkdtavi_core.labels.annotated import write_annotation
from fedkdtavi_core.labels.markups import write_landmarks
from fedkdtavi_core.labels.record import CaseRecord, LabelRecord, volume_digest, write_record
from fedkdtavi_core.labels.segmentation import write_segment
from fedkdtavi_core.readers import read_volume
from fedkdtavi_core.site.ctfile import write_ct
from fedkdtavi_core.site.dataset import SiteInfo, write_site
from fedkdtavi_core.volume import Volume


def ct(seed: int = 0) -> Volume:
    """A CT of 19 x 20 x 30 mm with its origin away from zero."""
    return Volume(ct_files.chest(seed=seed), ct_files.affine())


def inside(volume: Volume) -> dict[str, np.ndarray]:
    """A place inside the CT for every landmark, no two alike."""
    return {i: volume.grid.to_ras([4.0 + 2 * n, 9.0, 8.0 + n]) for n, i in enumerate(schema.LANDMARK_IDS)}


def make_site(folder: Path) -> Path:
    """A site without cases."""
    write_site(folder, SiteInfo("clinic"))
    return folder


def make_case(site: Path, name: str, statuses: dict[str, Status], *, seed: int = 0, confidence=None) -> Path:
    """A case whose labels have these statuses; all others are unlabelled."""
    volume, folder = ct(seed), site / "cases" / name
    folder.mkdir(parents=True)
    write_ct(folder / "ct.nii.gz", volume)
    volume = read_volume(folder / "ct.nii.gz")
    places, landmarks = inside(volume), {}
    for label_id in statuses.keys() & set(schema.LANDMARK_IDS):
        status = statuses[label_id]
        position = None if status is Status.ABSENT else places[label_id]
        landmarks[label_id] = Landmark(label_id, position, (confidence or {}).get(label_id), None, status)
    if landmarks:
        write_landmarks(folder / "landmarks.mrk.json", landmarks)
    if "calcification" in statuses:
        write_segment(folder / "calcification.seg.nrrd", mask(volume), volume.grid, status=statuses["calcification"])
    records = {i: LabelRecord(s, reviewer=None if s is Status.PREDICTED else "r1") for i, s in statuses.items()}
    write_record(folder / "labels.json", CaseRecord(volume_digest(volume), records))
    return folder


def mask(volume: Volume) -> np.ndarray:
    """A deposit of 8 voxels."""
    result = np.zeros(volume.array.shape, np.uint8)
    result[8:10, 8:10, 8:10] = 1
    return result


def annotated(folder: Path, volume: Volume, *, confirmed=()) -> Path:
    """What annotate writes for ``volume``; some labels confirmed."""
    annotation = Annotation()
    for label_id, place in inside(volume).items():
        status = Status.CONFIRMED if label_id in confirmed else Status.PREDICTED
        annotation.landmarks[label_id] = Landmark(label_id, place, 0.8, np.eye(3), status)
    annotation.calcification = mask(volume)
    annotation.provenance = {"ct": {"sha256": volume_digest(volume)}, "bundle": {"digest": "ab12"}}
    folder.mkdir(parents=True)
    write_annotation(folder, annotation, volume.grid, {"path": "/clinic/patients/ct.nii.gz"})
    return folder
