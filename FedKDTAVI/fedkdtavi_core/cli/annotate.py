"""``fedkdtavi annotate``: from CT files to folders of labels, measurements and a picture."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import EXIT_OK, Cancelled, InputError, UsageError
from ..progress import Progress
from . import naming, options
from .clock import Clock
from .console import Console, describe
from .progress import shown
from .stop import stoppable

if TYPE_CHECKING:
    from ..bundle import Bundle

DESCRIPTION = """\
Annotate cardiac CTs: hinge points, coronary ostia, membranous septum, valve calcium, annulus, and what a TAVI
planner measures. A CT is a NIfTI, NRRD or MHA file, or a folder with one or more DICOM series.

For each CT, DIR/<name of the CT>/ receives landmarks.mrk.json, calcification.seg.nrrd, annulus.mrk.json (where the
annulus can be traced), measurements.json, measurements.csv, report.png and provenance.json: all of them or none.
The models are trained on synthetic phantoms; not for clinical use."""
EPILOG = """\
Exit codes: 0 done; 2 wrong use, or the output cannot be written; 3 no aortic root found, or not covered;
4 input unreadable or refused; 5 bundle refused; 130 cancelled; 1 anything unexpected.
With several CTs one failure stops none of the others; the exit code is that of the first CT that failed."""


# The parts of a run that are told apart, and which of the pipeline's stages belong to each.
_STAGES = {
    "coarse": ("coarse",),
    "fine": ("fine", "decode"),
    "measuring": ("plausibility", "calcium", "contour"),
}


@dataclass
class Outcome:
    """What became of one CT."""

    path: Path
    target: Path
    content: dict[str, Any] = field(default_factory=dict)
    error: dict[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON-able, as ``--json`` prints it."""
        result = {"input": str(self.path), "status": "failed" if self.error else "done"}
        result |= {"exit_code": self.error["exit_code"] if self.error else EXIT_OK}
        return result | ({"error": self.error} if self.error else {"output": str(self.target), **self.content})


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("ct", metavar="CT", nargs="+", help="CT file, or folder with DICOM files")
    parser.add_argument(
        "--out", metavar="DIR", required=True, type=Path, help="folder for the results, one folder per CT"
    )
    parser.add_argument(
        "--name", metavar="N", help="name of one CT's result: its folder, the picture's title (default: the CT's)"
    )
    parser.add_argument("--bundle", metavar="B", help="model bundle, folder or zip (default: the one in use)")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="where the networks run")
    parser.add_argument(
        "--points", metavar="FILE", type=Path, help="landmarks (.mrk.json) to use in place of predicted ones"
    )
    options.add_ct_choice(parser)
    parser.add_argument(
        "--force", action="store_true", help="replace results that are there already, corrections included"
    )
    parser.add_argument("--no-report", action="store_true", help="do not draw report.png")
    parser.add_argument("--timings", action="store_true", help="print how long each part took")
    options.add_output(parser)


def run(args: argparse.Namespace) -> int:
    """Annotate every CT; returns the exit code."""
    console = Console(args.json, events=args.progress == "json")
    paths = naming.expand(args.ct)
    if args.points is not None and len(paths) > 1:
        raise UsageError("--points belongs to one CT; annotate that CT in a run of its own.")
    targets = [args.out / name for name in naming.folder_names(paths, args.name)]
    outcomes: list[Outcome] = []
    with stoppable(on_stdin_close=args.cancel_on_stdin_close) as cancelled:
        try:
            from ..bundle import resolve

            bundle = resolve(args.bundle)
            with shown(console, args.progress, cancelled, len(paths)) as start:
                for index, (path, target) in enumerate(zip(paths, targets, strict=True)):
                    outcomes.append(_guarded(args, path, target, bundle, start(index, path.name)))
                    _tell(console, outcomes[-1], rows=len(paths) == 1, timings=args.timings)
        except (KeyboardInterrupt, Cancelled):
            done = sum(outcome.error is None for outcome in outcomes)
            error = Cancelled(f"Cancelled; {done} of {len(paths)} CTs are done and nothing half-written was left.")
            failure = describe(error)
            console.error(failure["message"])
            console.result(_summary(outcomes, failure["exit_code"]) | {"status": "cancelled", "error": failure})
            return failure["exit_code"]
    exit_code = next((outcome.error["exit_code"] for outcome in outcomes if outcome.error), EXIT_OK)
    if len(paths) > 1:
        _say_summary(console, outcomes)
    console.result(_summary(outcomes, exit_code))
    return exit_code


def _guarded(args: argparse.Namespace, path: Path, target: Path, bundle: Bundle, progress: Progress) -> Outcome:
    """One CT, its failure put into words so that the next CT has its turn; only a request to stop passes."""
    clock = Clock()
    try:
        content = annotate_one(path, target, bundle, args, progress, clock)
    except Cancelled:
        raise
    except Exception as error:  # noqa: BLE001 - whatever one CT does to us, the others are annotated
        return Outcome(path, target, error=describe(error, str(path)))
    return Outcome(path, target, content | {"seconds": clock.rounded(), "timings": clock.sentence()})


def _tell(console: Console, outcome: Outcome, *, rows: bool, timings: bool) -> None:
    if outcome.error:
        console.error(outcome.error["message"])
        console.event("failed", **outcome.to_dict())
        return
    content = outcome.content
    found, missing = content["landmarks_found"], content["landmarks_missing"]
    console.say(f"{outcome.path}: {len(found)} of {len(found) + len(missing)} landmarks, written to {outcome.target}")
    options.say_findings(console, content["notes"], content["warnings"], content["flags"])
    console.say(f"  {content['measurements']['suitability']['line']}")
    if rows:
        options.say_rows(console, content["measurements"]["rows"])
    if timings:
        console.say(f"  {content['timings']}")
    console.event("done", **outcome.to_dict())


def _say_summary(console: Console, outcomes: list[Outcome]) -> None:
    failed = [outcome for outcome in outcomes if outcome.error]
    console.say(f"{len(outcomes) - len(failed)} of {len(outcomes)} CTs annotated, {len(failed)} failed.")
    for outcome in failed:
        console.say(f"  {outcome.path}: exit code {outcome.error['exit_code']} ({outcome.error['code']})")


def _summary(outcomes: list[Outcome], exit_code: int) -> dict[str, Any]:
    status = "done" if exit_code == EXIT_OK else "failed"
    first = next((outcome.error for outcome in outcomes if outcome.error), None)
    result = {"status": status, "exit_code": exit_code, "cts": [outcome.to_dict() for outcome in outcomes]}
    return result | ({"error": first} if first else {})


def _check_same_ct(target: Path, digest: str) -> None:
    """Refuse to replace the results of another CT that happens to bear the same name: a person may have reviewed them.

    Raises:
        UsageError: it is another.
    """
    from ..labels.annotated import read_provenance

    try:
        there = read_provenance(target).get("ct")
    except InputError:  # nothing is there, or nothing that could be lost
        return
    if isinstance(there, dict) and there.get("sha256") not in (None, digest):
        raise UsageError(
            f"{target}: holds the results of another CT ({there.get('path', 'of unknown place')}); choose another "
            "--name or --out."
        )


def annotate_one(
    path: Path, target: Path, bundle: Bundle, args: argparse.Namespace, progress: Progress, clock: Clock
) -> dict[str, Any]:
    """Annotate one CT into the folder ``target``; returns what there is to say about it.

    Raises:
        FedKDTAVIError: with the reason; nothing was written.
    """
    from ..labels.annotated import read_points, write_annotation
    from ..labels.case import check_output, output_folder
    from ..labels.tables import write_measurements
    from ..measurements import measure
    from ..pipeline import annotate
    from ..readers import read_volume

    check_output(target, force=args.force)
    points = None if args.points is None else read_points(args.points)
    with clock("reading"):
        volume = read_volume(path, series=args.series, phase=args.phase, progress=progress.part(0.0, 0.25))
    with clock("rest"):
        annotation = annotate(
            volume, bundle, device=args.device, points=points and points.landmarks, progress=progress.part(0.25, 0.8)
        )
    _check_same_ct(target, annotation.provenance["ct"]["sha256"])
    clock.split("rest", _STAGES, annotation.provenance.get("timings", {}))
    progress.step(0.8, "Measuring")
    with clock("measuring"):
        measurements = measure(volume, annotation)
    if annotation.annulus_contour is None:
        annotation.annulus_contour = measurements.contour.points
    progress.step(0.85, "Writing")
    with output_folder(target, force=args.force) as folder:
        with clock("writing"):
            source = {"path": str(path.resolve()), "chosen_series": args.series, "chosen_phase": args.phase}
            write_annotation(folder, annotation, volume.grid, source)
            write_measurements(folder, measurements)
        if not args.no_report:
            progress.step(0.9, "Drawing")
            with clock("picture"):
                options.draw_report(volume, annotation, measurements, folder, target.name)
        files = sorted(entry.name for entry in folder.iterdir())
        progress.check()  # the last moment to stop
    progress.step(1.0, "Done")
    return {
        "files": files,
        "landmarks_found": [i for i, landmark in annotation.landmarks.items() if landmark.position is not None],
        "landmarks_missing": [i for i, landmark in annotation.landmarks.items() if landmark.position is None],
        "notes": [*(points.notes if points else []), *volume.info.get("notes", [])],
        "warnings": list(dict.fromkeys([*annotation.warnings, *measurements.warnings])),
        "flags": {i: landmark.flags for i, landmark in annotation.landmarks.items() if landmark.flags},
        "measurements": measurements.to_dict(),
    }
