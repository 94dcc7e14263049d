"""How good is a bundle? The product's own way from CT to labels, against the answer key of virtual hospitals.

Every case counts: a missing landmark is an infinite error, a root that is not found loses all its landmarks. Styles
inside and outside the training ranges are reported apart.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fedkdtavi_core import geometry, pipeline, schema
from fedkdtavi_core.bundle import Bundle, resolver
from fedkdtavi_core.cli.options import Parser
from fedkdtavi_core.errors import FedKDTAVIError, InputError, NoRootError, UsageError
from fedkdtavi_core.measurements import annulus_plane
from fedkdtavi_core.measurements.curve import measure_curve
from fedkdtavi_core.measurements.row import NotMeasurable
from fedkdtavi_core.readers import read_volume
from fedkdtavi_core.volume import Volume

from . import tally
from .disk import make_folder, write_bytes


@dataclass(frozen=True)
class Key:
    """The answer of one case: what is true, by construction of the phantom.

    Attributes:
        case, site, kind: names.
        ct: the CT's file.
        points: landmark id -> (3,) RAS mm or None.
        plane_normal: (3,) or None.
        annulus_area_mm2: or None.
        in_range: is the scanner's style within the training ranges?
        has_root: does the CT show all of an aortic root?
        calc: file of the true calcification mask on the CT's grid.
    """

    case: str
    site: str
    kind: str
    ct: Path
    points: dict[str, np.ndarray | None]
    plane_normal: np.ndarray | None
    annulus_area_mm2: float | None
    in_range: bool
    has_root: bool
    calc: Path


def read_keys(folder: Path) -> list[Key]:
    """All answers of the virtual hospitals in ``folder``, by case. Raises UsageError or InputError naming the file."""
    files = sorted(path for path in (folder / "key").glob("*.json") if path.stem != "phantom")
    if not files:
        raise UsageError(f"{folder}: holds no answer key; give a folder written by `fedkdtavi phantom`.")
    keys = []
    for path in files:
        try:
            entry = json.loads(path.read_text(encoding="utf-8"))
            case = path.stem
            points = {
                i: None if entry["points"].get(i) is None else np.array(entry["points"][i]) for i in schema.LANDMARK_IDS
            }
            normal = entry.get("plane_normal")
            keys.append(
                Key(
                    case=case,
                    site=str(entry.get("site", "")),
                    kind=str(entry.get("kind", "")),
                    ct=_ct(folder, str(entry.get("site", "*")), case),
                    points=points,
                    plane_normal=None if normal is None else np.array(normal),
                    annulus_area_mm2=entry.get("annulus_area_mm2"),
                    in_range=bool(entry["style_in_range"]),
                    has_root=bool(entry["has_root"]),
                    calc=path.with_name(f"{case}_calc.nii.gz"),
                )
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(f"{path} is no answer key ({error}); write the phantoms again.") from error
    return keys


def evaluate_case(key: Key, bundle: Bundle, device: str = "auto") -> dict[str, Any]:
    """Annotate one CT and compare it with its answer: one row; nothing is left out, empty cells are not applicable."""
    row: dict[str, Any] = {
        "case": key.case,
        "site": key.site,
        "kind": key.kind,
        "in_range": int(key.in_range),
        "has_root": int(key.has_root),
        "bundle": bundle.digest,
    }
    began = time.perf_counter()
    annotation = None
    volume = None
    try:
        volume = read_volume(key.ct)
        annotation = pipeline.annotate(volume, bundle, device=device)
        row |= {"status": "annotated", "reason": ""}
    except NoRootError as error:
        row |= {"status": "no_root", "reason": str(error).replace(str(key.ct), "the CT")}
    except FedKDTAVIError as error:  # a refused CT is a result; anything else is a defect and stops the run
        row |= {"status": error.code, "reason": str(error).replace(str(key.ct), "the CT")}
    row["seconds"] = round(time.perf_counter() - began, 2)
    raw = {} if annotation is None else annotation.provenance["fine"]["raw_confidence"]
    for label, truth in key.points.items():
        found = None if annotation is None else annotation.landmarks[label]
        given = None if found is None else found.position
        row[f"{label}_mm"] = _error(given, truth) if key.has_root else None
        row[f"{label}_raw"] = raw.get(label)
        sure = None if given is None else found.confidence
        row[f"{label}_confidence"] = None if sure is None else round(float(sure), 4)
        row[f"{label}_flags"] = "" if found is None else "; ".join(found.flags)
    predicted = dict.fromkeys(key.points) if annotation is None else {i: annotation.point(i) for i in key.points}
    row |= _plane(predicted, key)
    row |= _area(annotation, key)
    row |= _calcium(volume, annotation, key)
    return row


def evaluate(
    bundle: Bundle,
    cases: Path,
    out: Path,
    *,
    device: str = "auto",
    limit: int | None = None,
    report: Callable[[int, int, dict[str, Any]], None] = lambda done, todo, row: None,
) -> list[dict[str, Any]]:
    """Evaluate ``bundle`` on all virtual hospitals in ``cases``; rows go into the CSV ``out`` as they are made.

    Rows of the same bundle that are there already are kept, so an interrupted run goes on.
    """
    keys = read_keys(cases)[:limit]
    rows = [row for row in tally.read_rows(out) if row["bundle"] == bundle.digest] if out.exists() else []
    known = {row["case"] for row in rows}
    todo = [key for key in keys if key.case not in known]
    for number, key in enumerate(todo, 1):
        rows.append(evaluate_case(key, bundle, device))
        tally.write_rows(out, rows)
        report(number, len(todo), rows[-1])
    wanted = {key.case for key in keys}
    return [row for row in tally.read_rows(out) if row["case"] in wanted]


def main(arguments: list[str] | None = None) -> int:
    """``fedkdtavi evaluate``: per-case CSV, and a summary beside it."""
    parser = Parser(prog="fedkdtavi evaluate", description="Evaluate a bundle on virtual hospitals.")
    parser.add_argument("--bundle", type=Path, help="model bundle; the installed one if not given")
    parser.add_argument("--cases", type=Path, required=True, help="folder written by `fedkdtavi phantom`")
    parser.add_argument("--out", type=Path, required=True, help="CSV, one row a case; the summary goes beside it")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--limit", type=int, help="only the first so many cases")
    options = parser.parse_args(arguments)

    def report(done: int, todo: int, row: dict[str, Any]) -> None:
        print(f"{done}/{todo} {row['case']}: {row['status']} ({row['seconds']} s)", file=sys.stderr, flush=True)

    bundle = resolver.resolve(options.bundle)
    _check_out(options.out)
    rows = evaluate(bundle, options.cases, options.out, device=options.device, limit=options.limit, report=report)
    summary = tally.summarise(rows)
    text = json.dumps(summary, indent=2)
    write_bytes(options.out.with_suffix(".summary.json"), (text + "\n").encode())
    print(tally.as_text(summary))
    return 0


def _check_out(out: Path) -> None:
    """Before the first CT is annotated: can the results be kept there? Raises UsageError when they cannot."""
    if out.is_dir():
        raise UsageError(f"{out}: is a folder; give --out a CSV file in it.")
    if out.is_file():
        try:
            header = tally.read_header(out)
        except (OSError, ValueError) as error:
            raise UsageError(f"{out}: cannot be read as results ({error}); choose another --out.") from error
        if header and not {"case", "bundle"} <= set(header):
            raise UsageError(f"{out}: holds other things than results of an evaluation; choose another --out.")
    make_folder(out.parent)
    if not os.access(out.parent, os.W_OK | os.X_OK):
        raise UsageError(f"{out.parent}: cannot be written; choose another folder for --out.")


def true_calcium(key: Key, volume: Volume) -> np.ndarray:
    """Mask (i, j, k) of the true calcification on the CT's grid."""
    import nibabel

    # Not by the CT reader, which rightly refuses a volume without contents: a valve may have no calcium.
    mask = nibabel.load(key.calc)
    return geometry.resample_labels(np.asarray(mask.dataobj, np.uint8), mask.affine, volume.grid) > 0


def _ct(folder: Path, site: str, case: str) -> Path:
    found = sorted(folder.glob(f"{site}/cases/{case}/ct.nii.gz"))
    if len(found) != 1:
        raise ValueError(f"{len(found)} CTs lie at {site}/cases/{case}")
    return found[0]


def _error(given: np.ndarray | None, truth: np.ndarray | None) -> float | None:
    """Distance in mm, inf when the landmark was not given; None when there is nothing to find."""
    if truth is None:
        return None
    return float("inf") if given is None else round(float(np.linalg.norm(given - truth)), 3)


def _plane(predicted: dict[str, np.ndarray | None], key: Key) -> dict[str, Any]:
    """Angle between the planes in degrees, and error of each coronary height in mm (signed, predicted - true)
    beside the true height."""
    row: dict[str, Any] = {"plane_deg": None, **{f"{label}_height_error_mm": None for label in schema.OSTIUM_IDS}}
    row |= {f"{label}_height_mm": None for label in schema.OSTIUM_IDS}
    if not key.has_root:
        return row
    try:
        truth = annulus_plane(key.points)
    except NotMeasurable:
        return row
    normal = truth.normal if key.plane_normal is None else key.plane_normal
    wanted = [label for label in schema.OSTIUM_IDS if key.points[label] is not None]
    row |= {f"{label}_height_mm": round(float(truth.height(key.points[label])), 3) for label in wanted}
    try:
        plane = annulus_plane(predicted)
    except NotMeasurable:
        return row | {"plane_deg": float("inf")} | {f"{label}_height_error_mm": float("inf") for label in wanted}
    cosine = np.clip(plane.normal @ normal / np.linalg.norm(normal), -1, 1)
    row["plane_deg"] = round(float(np.degrees(np.arccos(cosine))), 2)
    for label in wanted:
        found = predicted[label]
        height = float("inf") if found is None else float(plane.height(found) - truth.height(key.points[label]))
        row[f"{label}_height_error_mm"] = round(height, 3)
    return row


def _area(annotation: Any, key: Key) -> dict[str, Any]:
    """Relative error of the annulus area in per cent; inf when a contour that should be there was not measurable."""
    if not key.has_root or not key.annulus_area_mm2:
        return {"area_error_percent": None}
    if annotation is None or annotation.annulus_contour is None:
        return {"area_error_percent": float("inf")}
    try:
        plane = annulus_plane({i: annotation.point(i) for i in schema.LANDMARK_IDS})
        area = measure_curve(annotation.annulus_contour, plane.normal).area
    except NotMeasurable:
        return {"area_error_percent": float("inf")}
    return {"area_error_percent": round(100 * (area / key.annulus_area_mm2 - 1), 2)}


def _calcium(volume: Any, annotation: Any, key: Key) -> dict[str, Any]:
    """Dice of the final calcification, on the CT's grid; volumes in mm^3. A refused assessment counts as empty."""
    empty = {"calc_dice": None, "calc_true_mm3": None, "calc_mm3": None, "calc_refused": None}
    if not key.has_root or volume is None:
        return empty
    truth = true_calcium(key, volume)
    found = None if annotation is None else annotation.calcification
    predicted = np.zeros(truth.shape, bool) if found is None else found > 0
    size = int(truth.sum() + predicted.sum())
    voxel = volume.grid.voxel_volume
    return {
        "calc_dice": round(float(2 * (truth & predicted).sum() / size), 4) if size else None,
        "calc_true_mm3": round(float(truth.sum()) * voxel, 1),
        "calc_mm3": None if found is None else round(float(predicted.sum()) * voxel, 1),
        "calc_refused": int(found is None),
    }
