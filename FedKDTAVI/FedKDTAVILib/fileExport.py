"""Plain files for a person: labels in Slicer's formats, measurements, and the page that shows both."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from slicer.i18n import tr as _

from fedkdtavi_core.labels.annotated import write_annotation
from fedkdtavi_core.labels.case import output_folder
from fedkdtavi_core.labels.record import volume_digest
from fedkdtavi_core.labels.tables import write_measurements
from fedkdtavi_core.site.provenance import anonymous_provenance

from .caseNodes import CaseNodes
from .volumes import volumeFromNode

REPORT = "report.png"


@dataclass(frozen=True)
class ExportedFiles:
    """What was written: the ``folder``, the names of its ``files``, and ``notes`` on what was left out."""

    folder: Path
    files: tuple[str, ...]
    notes: tuple[str, ...] = field(default=())


def exportFiles(caseNodes: CaseNodes, folder: Path, *, replace: bool = False) -> ExportedFiles:
    """Write landmarks, calcification, contour, provenance, measurements and report, without the CT: all or none.

    Args:
        caseNodes: the case.
        folder: the folder that is to appear.
        replace: an earlier export there is replaced; no other folder ever is.

    Raises:
        UsageError: the place is taken or cannot be written, or the disk is full.
        InputError: the nodes hold no case that can be written.
    """
    from fedkdtavi_core.measurements import measure

    annotation, volume = caseNodes.toAnnotation(), volumeFromNode(caseNodes.volume)
    caseNodes.checkVolume()
    measurements = measure(volume, annotation)
    provenance = annotation.provenance
    annotation.provenance = anonymous_provenance(provenance)
    notes = []
    with output_folder(Path(folder), force=replace) as partial:
        write_annotation(partial, annotation, volume.grid, {"sha256": volume_digest(volume)})
        write_measurements(partial, measurements)
        try:
            from fedkdtavi_core.report import draw

            annotation.provenance = provenance  # the page names the bundle
            draw(volume, annotation, measurements, partial / REPORT)
        except ImportError:
            notes.append(_("The report picture was left out: matplotlib is not installed; install what is missing."))
        files = tuple(sorted(path.name for path in partial.iterdir()))
    return ExportedFiles(Path(folder), files, tuple(notes))
