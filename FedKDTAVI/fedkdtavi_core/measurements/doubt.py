"""Numbers that depend on a flagged prediction say so, so that none of them is read without its points."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from .. import schema
from ..annotation import Annotation, Status
from .row import Row

_HINGES = schema.HINGE_IDS
# Which points a number depends on, by the beginning of its id. The sizes are those of the lumen in the plane of the
# hinge points, calcium is sorted by that plane and its sectors.
_FROM: dict[str, tuple[str, ...]] = {
    "annulus_": _HINGES,
    "circle_proxy_diameter": _HINGES,
    "root_angulation": _HINGES,
    "height_lca": (*_HINGES, "ostium_lca"),
    "height_rca": (*_HINGES, "ostium_rca"),
    "ms_lower_depth": (*_HINGES, "ms_lower"),
    "ms_height": ("ms_upper", "ms_lower"),
    "ms_upper_height": (*_HINGES, "ms_upper"),
    "calcium_rcc": _HINGES,
    "calcium_lcc": _HINGES,
    "calcium_ncc": _HINGES,
    "calcium_annular": _HINGES,
    "calcium_lvot": _HINGES,
    "three_cusp_": _HINGES,
    "cusp_overlap_": ("hinge_rcc", "hinge_lcc"),  # the view along these two; the third has no part in it
}
_SIZES = ("annulus_", "circle_proxy_diameter", "height_", "ms_")
DOUBT = "depends on flagged points"  # how that warning begins
_KIND = {"hinge": "hinge point {}", "ostium": "ostium {}"}


def doubted(rows: Iterable[Row], annotation: Annotation) -> tuple[Row, ...]:
    """The rows, with a warning on each number that depends on predicted points that are flagged.

    What a row warns of already stands before it. Sizes of a contour that a person has drawn depend on no point.
    """
    flagged = {
        i
        for i, mark in annotation.landmarks.items()
        if mark.status is Status.PREDICTED and mark.position is not None and mark.flags
    }
    drawn = annotation.contour_status in (Status.CORRECTED, Status.CONFIRMED)
    marked = []
    for row in rows:
        names = [] if drawn and row.id.startswith("annulus_") else [_name(i) for i in _points(row.id) if i in flagged]
        if names and row.value is not None:
            row = _warned(row, f"{DOUBT}: check {', '.join(names)}")
        marked.append(row)
    return tuple(marked)


def too_thick(rows: Iterable[Row], words: str) -> tuple[Row, ...]:
    """The rows, with these words on each length, area and height: the CT's slices are too thick for sizing."""
    return tuple(_warned(row, words) if row.id.startswith(_SIZES) and row.value is not None else row for row in rows)


def contradicted(rows: Iterable[Row], words: str) -> tuple[Row, ...]:
    """The rows, with these words on each number that changes with the side on which the aorta lies."""
    return tuple(
        _warned(row, words)
        if set(_HINGES) <= set(_points(row.id))
        and not row.id.startswith("annulus_")
        and words not in row.warning
        and row.value is not None
        else row
        for row in rows
    )


def _warned(row: Row, words: str) -> Row:
    return replace(row, warning=f"{row.warning}; {words}" if row.warning else words)


def _points(row_id: str) -> tuple[str, ...]:
    return next((points for start, points in _FROM.items() if row_id.startswith(start)), ())


def _name(label_id: str) -> str:
    return _KIND.get(label_id.split("_")[0], "{}").format(schema.by_id(label_id).name)
