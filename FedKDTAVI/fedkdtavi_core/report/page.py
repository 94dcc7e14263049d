"""The page as a whole: warnings first, six pictures, the table, and what it must not be used for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..annotation import Annotation
from ..numbers import fixed, trimmed
from ..volume import Volume
from . import style
from .angles import draw_angles
from .deposits import draw_calcium
from .notices import Notice, notices
from .panel import CAPTION_SPACE, TITLE_SPACE, Panel
from .root import Root, draw_annulus, draw_ostium, draw_septum
from .sheet import Sheet, line_height
from .table import confidence_height, draw_confidence, draw_table

if TYPE_CHECKING:
    from ..measurements import Measurements

NOT_FOR_CLINICAL_USE = "Trained on synthetic phantoms; not for clinical use"
GAP = 0.2
PICTURES = 10.75  # inches for three columns of pictures
FOOT = 0.34
MOST_NOTICE_LINES = 7


def compose(volume: Volume, annotation: Annotation, measurements: Measurements, name: str | None = None) -> Sheet:
    """The drawn page. See :func:`fedkdtavi_core.report.draw`."""
    sheet = Sheet()
    y = _header(sheet, volume, name or case_name(volume), notices(annotation, measurements))
    bottom = sheet.height - FOOT - 0.08
    column = (PICTURES - 2 * GAP) / 3
    frame = TITLE_SPACE + CAPTION_SPACE
    side = min(column, (bottom - y) / 2 - frame - 0.04)
    root = Root.of(volume, annotation, measurements)

    def place(index: int) -> tuple[float, float]:
        line, position = divmod(index, 3)
        return style.MARGIN + position * (column + GAP), y + line * ((bottom - y) / 2)

    def panel(index: int, title: str, label: str) -> Panel:
        return Panel(sheet, *place(index), side, title, label=label)

    axial = root.plane is None and root.middle is not None
    draw_annulus(panel(0, "Axial slice" if axial else "Annulus plane", "annulus"), root)
    draw_ostium(panel(1, "Left main ostium", "ostium_lca"), root, "ostium_lca")
    draw_ostium(panel(2, "Right coronary ostium", "ostium_rca"), root, "ostium_rca")
    draw_septum(panel(3, "Membranous septum", "septum"), root)
    draw_calcium(panel(4, "Valve calcium", "calcium"), root)
    draw_angles(sheet, *place(5), side, root)

    left = style.MARGIN + PICTURES + 0.3
    width = sheet.width - style.MARGIN - left
    lower = bottom - confidence_height() - 0.1
    end = draw_table(sheet, left, y, width, lower - 0.2, measurements.rows())
    draw_confidence(sheet, left, min(end + 0.3, lower), width, annotation)
    _footer(sheet, annotation)
    return sheet


def _header(sheet: Sheet, volume: Volume, name: str, found: Sequence[Notice]) -> float:
    """Warnings, then the name of the case; returns where the pictures may begin."""
    x, width = style.MARGIN, sheet.width - 2 * style.MARGIN
    y = _notices(sheet, x, 0.2, width, found) + 0.42
    badge = NOT_FOR_CLINICAL_USE
    room = width - sheet.measure(badge, style.HEADING, "bold") - 0.4
    name = sheet.fit(name, min(room, 0.5 * width), style.TITLE, "bold")
    sheet.text(x, y, name, size=style.TITLE, fontweight="bold")
    after = sheet.measure(name, style.TITLE, "bold") + 0.25
    told = acquisition(volume)
    sizes = (style.BODY, style.SMALL, style.TINY, 0.9 * style.TINY)
    size = next((size for size in sizes if sheet.measure(told, size) <= room - after), sizes[-1])
    sheet.text(x + after, y, sheet.fit(told, room - after, size), size=size, color=style.MUTED)
    sheet.text(x + width, y, badge, size=style.HEADING, fontweight="bold", color=style.STOP.ink, ha="right")
    sheet.rule(x, y + 0.13, width)
    return y + 0.25


def _notices(sheet: Sheet, x: float, y: float, width: float, found: Sequence[Notice]) -> float:
    """The box of warnings; returns its lower edge. What does not fit is counted, never dropped silently."""
    size, step = style.BODY + 0.6, line_height(style.BODY + 0.6)
    lines = [
        (line, notice.tone)
        for notice in found
        for line in sheet.wrap(notice.words, width - 0.5, size, _weight(notice.tone))
    ]
    if len(lines) > MOST_NOTICE_LINES:  # the last line, on the CT's suitability, stays
        more = f"… and {len(lines) - MOST_NOTICE_LINES + 1} more lines, in measurements.json and landmarks.mrk.json."
        lines = [*lines[: MOST_NOTICE_LINES - 2], (more, style.STOP), lines[-1]]
    paper = next((tone for tone in (style.STOP, style.CAUTION) if any(n.tone is tone for n in found)), style.GOOD)
    height = step * len(lines) + 0.16
    sheet.box(x, y, width, height, paper)
    baseline = y + 0.08 + step * 0.72
    for line, tone in lines:
        sheet.text(x + 0.22, baseline, line, size=size, color=tone.ink, fontweight=_weight(tone))
        baseline += step
    return y + height


def _weight(tone: style.Tone) -> str:
    return "bold" if tone is style.STOP else "normal"


def case_name(volume: Volume) -> str:
    """The file's or folder's name without its ending; a name that says nothing ("ct") comes with its folder's."""
    path = Path(str(volume.info.get("path") or "unnamed CT"))
    name = path.name
    for ending in (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd"):
        if name.lower().endswith(ending):
            name = name[: -len(ending)]
            break
    return f"{path.parent.name} / {name}" if name.lower() in ("ct", "image", "volume") and path.parent.name else name


def acquisition(volume: Volume) -> str:
    """Matrix, spacing and where known series and phase, in one line."""
    shape = " × ".join(str(n) for n in volume.array.shape)
    spacing = " × ".join(fixed(value, 2) for value in volume.spacing)
    parts = [f"{shape} voxels of {spacing} mm"]
    thickness = volume.info.get("slice_thickness_mm")
    parts += [f"slice thickness {trimmed(thickness)} mm"] if thickness else []
    parts += [f"{key} {volume.info[key]}" for key in ("series", "phase") if volume.info.get(key) not in (None, "")]
    return "  ·  ".join(parts)


def _footer(sheet: Sheet, annotation: Annotation) -> None:
    width = sheet.width - 2 * style.MARGIN
    y = sheet.height - FOOT + 0.04
    sheet.rule(style.MARGIN, y - 0.15, width)
    words = (
        "Out of scope: access route, valve-to-coronary distance, device choice. Every point needs a person's review."
    )
    sheet.text(style.MARGIN, y, words, size=style.TINY, color=style.MUTED)
    origin = sheet.fit(_origin(annotation), width - sheet.measure(words, style.TINY) - 0.4, style.TINY)
    sheet.text(style.MARGIN + width, y, origin, size=style.TINY, color=style.MUTED, ha="right")


def _origin(annotation: Annotation) -> str:
    """Bundle and version that made the points, as far as the provenance tells."""
    bundle = annotation.provenance.get("bundle") or {}
    if isinstance(bundle, str):
        bundle = {"digest": bundle}
    digest = str(bundle.get("digest") or "")
    parts = [str(bundle[key]) for key in ("name", "version") if bundle.get(key)] + ([digest[:12]] if digest else [])
    return f"Bundle {' '.join(parts)}" if parts else ""
