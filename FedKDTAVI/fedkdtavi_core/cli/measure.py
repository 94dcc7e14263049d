"""``fedkdtavi measure``: measure again from label files that a person has corrected in 3D Slicer."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import schema
from ..errors import EXIT_OK, InputError, UsageError
from ..progress import Progress
from . import options
from .console import Console
from .progress import shown
from .stop import stoppable

if TYPE_CHECKING:
    from ..labels.annotated import AnnotatedCT
    from ..measurements import Measurements
    from ..volume import Volume

DESCRIPTION = """\
Measure again from the label files in a folder that annotate has written, after landmarks, calcification or annulus
were corrected in 3D Slicer. measurements.json, measurements.csv and report.png are replaced, all of them or none; an
annulus nobody has corrected is traced again, or removed where none can be traced. Other labels and files in the folder
stay as they are."""
EPILOG = (
    "Exit codes: 0 done; 2 wrong use; 4 label files or CT unreadable, or not the same CT; 130 cancelled; 1 unexpected."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("folder", metavar="ANNOTATION_DIR", type=Path, help="folder of one CT, written by annotate")
    parser.add_argument("--ct", metavar="CT", type=Path, help="the CT, if it is no longer where it was annotated")
    options.add_ct_choice(parser)
    parser.add_argument("--no-report", action="store_true", help="do not draw report.png again")
    options.add_output(parser)


def run(args: argparse.Namespace) -> int:
    """Measure again; returns the exit code."""
    console = Console(args.json, events=args.progress == "json")
    with (
        stoppable(on_stdin_close=args.cancel_on_stdin_close) as cancelled,
        shown(console, args.progress, cancelled, 1) as start,
    ):
        content = measure_again(args, start(0, args.folder.resolve().name))
    changed = ", ".join(schema.by_id(i).name for i in content["changed"]) or "nothing"
    console.say(f"{args.folder}: measured again, changed since the prediction: {changed}")
    options.say_findings(console, content["notes"], content["warnings"], content["flags"])
    console.say(f"  {content['measurements']['suitability']['line']}")
    options.say_rows(console, content["measurements"]["rows"])
    console.result({"status": "done", "exit_code": EXIT_OK, "output": str(args.folder), **content})
    return EXIT_OK


def measure_again(args: argparse.Namespace, progress: Progress) -> dict[str, Any]:
    """Read labels and CT, measure, and replace the measurements in the folder.

    Raises:
        InputError: a label file or the CT cannot be read, or it is another CT than the one that was annotated.
        UsageError: the folder cannot be written, or its labels were saved anew meanwhile.
    """
    from .. import plausibility
    from ..labels.annotated import read_annotation
    from ..labels.case import output_folder, recover
    from ..measurements import measure

    folder = args.folder.resolve()
    recover(folder)
    volume = _read_ct(args, folder, progress.part(0.0, 0.6))
    progress.step(0.6, "Reading labels")
    seen = _saved(folder)
    found = read_annotation(folder, volume.grid)
    plausibility.check_on(volume, found.annotation)  # the points may have been moved
    progress.step(0.7, "Measuring")
    measurements = measure(volume, found.annotation)
    with output_folder(folder, force=True) as fresh:
        progress.step(0.8, "Writing")
        shutil.copytree(folder, fresh, dirs_exist_ok=True)
        _write(fresh, volume, found, measurements)
        if not args.no_report:
            options.draw_report(volume, found.annotation, measurements, fresh, folder.name)
        progress.check()  # the last moment to stop
        if _saved(folder) != seen:  # by a person at work in Slicer; the folder is about to be replaced
            raise UsageError(f"{folder}: its labels were saved anew meanwhile; nothing was replaced, run again.")
    progress.step(1.0, "Done")
    return {
        "changed": found.changed,
        "notes": [*volume.info.get("notes", []), *found.notes],
        "warnings": list(dict.fromkeys([*found.annotation.warnings, *measurements.warnings])),
        "flags": {i: landmark.flags for i, landmark in found.annotation.landmarks.items() if landmark.flags},
        "measurements": measurements.to_dict(),
    }


def _saved(folder: Path) -> dict[str, tuple[int, int]]:
    """When and how large every file of the folder was saved last."""
    found = ((path, path.stat()) for path in folder.rglob("*") if path.is_file())
    return {str(path): (stat.st_mtime_ns, stat.st_size) for path, stat in found}


def _read_ct(args: argparse.Namespace, folder: Path, progress: Progress) -> Volume:
    from ..labels.annotated import read_provenance
    from ..labels.record import volume_digest
    from ..readers import read_volume

    source = read_provenance(folder).get("ct")
    source = source if isinstance(source, dict) else {}
    path = args.ct if args.ct is not None else source.get("path")
    if not path:
        raise InputError(f"{folder}: its provenance names no CT; give it with --ct.")
    if args.ct is None and not Path(path).exists():
        raise InputError(f"{path}: the CT is no longer where it was annotated; give its place with --ct.")
    series = args.series if args.series is not None else source.get("chosen_series")
    phase = args.phase if args.phase is not None else source.get("chosen_phase")
    volume = read_volume(path, series=series, phase=phase, progress=progress)
    wanted = source.get("sha256")
    if wanted and wanted != volume_digest(volume):
        raise InputError(
            f"{path}: is not the CT (or series, or phase) that {folder.name} was made from; give that one with --ct."
        )
    return volume


def _write(folder: Path, volume: Volume, found: AnnotatedCT, measurements: Measurements) -> None:
    from ..annotation import Status
    from ..labels.annotated import CONTOUR, PROVENANCE
    from ..labels.jsonfile import write_json
    from ..labels.markups import write_contour
    from ..labels.record import now
    from ..labels.tables import write_measurements

    write_measurements(folder, measurements)
    if measurements.contour.source == "traced":  # the one in the folder belonged to another plane
        if measurements.contour.points is None and (folder / CONTOUR).exists():
            found.notes.append(f"{CONTOUR} is removed: it was traced in another plane, and in this one none can be.")
        (folder / CONTOUR).unlink(missing_ok=True)
        found.annotation.annulus_contour = measurements.contour.points
        if measurements.contour.points is not None:
            found.annotation.contour_status = Status.PREDICTED
            write_contour(folder / CONTOUR, measurements.contour.points)
            found.provenance["annulus_contour_ras_mm"] = measurements.contour.points
        contour = measurements.contour
        found.provenance["contour"] = {"reason": contour.reason, "warning": contour.warning}
    found.provenance["measured"] = {"time": now(), "changed": found.changed}
    write_json(folder / PROVENANCE, found.provenance)
