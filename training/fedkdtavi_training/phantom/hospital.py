"""Virtual hospitals on disk: each site's cases as the module would export them, the truth beside them under ``key/``.

Layout: ``OUT/<site>/site.json``, ``OUT/<site>/cases/<case>/{ct.nii.gz, landmarks.mrk.json, calcification.seg.nrrd,
labels.json}`` (label files only where the site has such labels) and, for ``evaluate`` alone, ``OUT/key/<case>.json``
and ``OUT/key/<case>_calc.nii.gz``. A site's labels carry its observer's bias and noise, never the exact points.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fedkdtavi_core import schema
from fedkdtavi_core.annotation import Landmark, Status
from fedkdtavi_core.errors import UsageError
from fedkdtavi_core.labels.case import output_folder
from fedkdtavi_core.labels.jsonfile import read_json, replace_json
from fedkdtavi_core.labels.markups import write_landmarks
from fedkdtavi_core.labels.record import CaseRecord, LabelRecord, volume_digest, write_record
from fedkdtavi_core.labels.segmentation import write_segment
from fedkdtavi_core.niftifile import write_nifti
from fedkdtavi_core.site.dataset import CT, SiteInfo, write_site
from fedkdtavi_core.volume import Volume

from .observers import Observer, dice
from .plan import CasePlan, SitePlan, fitted, outside_training

if TYPE_CHECKING:
    from .render import Chest

NOTE = "Virtual hospital: synthetic phantoms, not patients; nothing learned here is for clinical use."
MARKER = "labels.json"


@dataclass(frozen=True)
class Job:
    """One case to write; small enough to hand to another process."""

    out: Path
    case: CasePlan
    observers: tuple[Observer, ...]
    spacing_mm: float
    own_grid: bool

    @property
    def folder(self) -> Path:
        """Where the site keeps the case."""
        return self.out / self.case.site / "cases" / self.case.case

    @property
    def key(self) -> Path:
        """The case's answer."""
        return self.out / "key" / f"{self.case.case}.json"

    def done(self) -> bool:
        """Is the case complete? The key is written first, so the folder's marker tells."""
        return (self.folder / MARKER).is_file() and self.key.is_file()


def prepare(out: Path, sites: list[SitePlan], settings: dict[str, Any], spacing_mm: float, own_grid: bool) -> list[Job]:
    """Write ``site.json`` of every site and ``key/phantom.json``; return what there is to do, done or not.

    Raises:
        UsageError: the folder holds hospitals that were made with other settings.
    """
    made_by = out / "key" / "phantom.json"
    if made_by.exists():
        before = read_json(made_by, "the settings of virtual hospitals")
        if before != settings:
            names = ", ".join(k for k in sorted({*before, *settings}) if before.get(k) != settings.get(k))
            raise UsageError(
                f"{out}: holds virtual hospitals made with another {names}; give the same options to go on or choose "
                "another --out (another phantom: they were made by another version of FedKDTAVI)."
            )
    elif out.is_dir() and any(out.iterdir()):
        raise UsageError(f"{out}: is not empty and holds no virtual hospitals; choose another --out.")
    made_by.parent.mkdir(parents=True, exist_ok=True)
    replace_json(made_by, settings)
    jobs = []
    for site in sites:
        write_site(out / site.site, SiteInfo(site.site, synthetic=True, note=NOTE))
        jobs += [Job(out, case, site.observers, spacing_mm, own_grid) for case in site.cases]
    return jobs


def make(job: Job) -> str:
    """Render and write one case; returns its id. The folder appears complete or not at all, after its answer."""
    from .render import render_chest

    case = job.case
    chest = render_chest(
        case.anatomy_seed, job.spacing_mm, fitted(case.style, job.spacing_mm), kind=case.kind, own_grid=job.own_grid
    )
    rng = np.random.default_rng(case.label_seed)
    chest = on_the_table(chest, case.orientation, rng)
    affine = chest.affine
    volume = Volume(chest.hu, affine)
    readings = {o.name: o.read(chest.points, chest.info.get("plane_normal"), rng) for o in job.observers}
    drawings = {o.name: o.outline(chest.calc, volume.spacing, rng) for o in job.observers}
    _write_key(job, chest, affine, readings, drawings)
    author = job.observers[0].name
    with output_folder(job.folder, marker=MARKER) as folder:
        write_nifti(folder / CT, chest.hu, affine)
        record = CaseRecord(volume_digest(volume))
        ids = [label for head in ("hps", "ms") if head in case.heads for label in schema.HEADS[head]]
        if ids:
            landmarks = {}
            for label in ids:
                position = readings[author][label]
                status = Status.ABSENT if position is None else Status.CORRECTED
                landmarks[label] = Landmark(label, position, status=status)
                record.labels[label] = LabelRecord(status, reviewer=author)
            write_landmarks(folder / "landmarks.mrk.json", landmarks)
        if "calc" in case.heads:
            path = folder / "calcification.seg.nrrd"
            write_segment(path, drawings[author], volume.grid, status=Status.CORRECTED)
            record.labels["calcification"] = LabelRecord(Status.CORRECTED, reviewer=author)
        write_record(folder / MARKER, record)
    return case.case


def on_the_table(chest: Chest, orientation: str, rng: np.random.Generator) -> Chest:
    """The same CT as a scanner stores it: the patient anywhere on the table, axes by ``orientation`` ("LPS", "RAS").

    Changes arrays, affine and every position together; the affine is rounded to what a NIfTI header keeps.
    """
    shift = np.array([*rng.uniform(-40, 40, 2), rng.uniform(-700, 100)])
    flips = tuple(axis for axis, (have, want) in enumerate(zip("RAS", orientation, strict=True)) if have != want)
    hu, calc, heart = (np.ascontiguousarray(np.flip(a, flips)) for a in (chest.hu, chest.calc, chest.heart))
    affine = np.array(chest.affine, float)
    for axis in flips:
        affine[:3, 3] += affine[:3, axis] * (hu.shape[axis] - 1)
        affine[:3, axis] *= -1
    affine[:3, 3] += shift
    affine = affine.astype(np.float32).astype(float)
    info = dict(chest.info)
    for name in ("annulus_contour", "centre"):
        if info.get(name) is not None:
            info[name] = (np.asarray(info[name], float) + shift).tolist()
    points = {label: None if p is None else np.asarray(p, float) + shift for label, p in chest.points.items()}
    return replace(chest, hu=hu, affine=affine, points=points, calc=calc, heart=heart, info=info)


def _write_key(
    job: Job,
    chest: Chest,
    affine: np.ndarray,
    readings: dict[str, dict[str, np.ndarray | None]],
    drawings: dict[str, np.ndarray],
) -> None:
    outside = outside_training(job.case.style, job.spacing_mm)
    info = chest.info
    content = {
        "case": job.case.case,
        "site": job.case.site,
        "synthetic": True,
        "kind": job.case.kind,
        "has_root": bool(info.get("has_root", job.case.kind not in ("noheart", "truncated"))),
        "points": {label: chest.points.get(label) for label in schema.LANDMARK_IDS},
        "plane_normal": info.get("plane_normal"),
        "annulus_area_mm2": info.get("annulus_area_mm2"),
        "annulus_contour": info.get("annulus_contour"),
        "style_in_range": not outside,
        "style_outside": list(outside),
        "style": job.case.style.to_dict(),
        "observers": {
            name: {"points": points, "calcification_dice": dice(drawings[name], chest.calc)}
            for name, points in readings.items()
        },
        "anatomy_seed": str(job.case.anatomy_seed),  # as text: JSON readers round large numbers
    }
    job.key.parent.mkdir(parents=True, exist_ok=True)
    mask = job.key.with_name(f"{job.case.case}_calc.nii.gz")
    partial = mask.with_name(f".{mask.name}")
    write_nifti(partial, chest.calc.astype(np.uint8), affine)
    partial.replace(mask)
    replace_json(job.key, content)
