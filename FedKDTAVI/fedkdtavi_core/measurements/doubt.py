"""Numbers that were derived from a flagged prediction say so, so that none of them is read without its point."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from .. import schema
from ..annotation import Annotation, Status
from .row import Row

# Which points a number stands or falls with; rows that are not named here do not depend on one landmark.
_FROM: dict[str, tuple[str, ...]] = {
    "circle_proxy_diameter": schema.HINGE_IDS,
    "root_angulation": schema.HINGE_IDS,
    "height_lca": (*schema.HINGE_IDS, "ostium_lca"),
    "height_rca": (*schema.HINGE_IDS, "ostium_rca"),
    "ms_lower_depth": (*schema.HINGE_IDS, "ms_lower"),
    "ms_height": ("ms_upper", "ms_lower"),
    "ms_upper_height": (*schema.HINGE_IDS, "ms_upper"),
    "three_cusp_lao": schema.HINGE_IDS,
    "three_cusp_cranial": schema.HINGE_IDS,
    "cusp_overlap_lao": schema.HINGE_IDS,
    "cusp_overlap_cranial": schema.HINGE_IDS,
}


def doubted(rows: Iterable[Row], annotation: Annotation) -> tuple[Row, ...]:
    """The rows, with a warning on each number that comes from a predicted and flagged point and has none yet."""
    flagged = {
        i
        for i, mark in annotation.landmarks.items()
        if mark.status is Status.PREDICTED and mark.position is not None and mark.flags
    }
    marked = []
    for row in rows:
        names = [schema.by_id(i).name for i in _FROM.get(row.id, ()) if i in flagged]
        if names and row.value is not None and not row.warning:
            row = replace(
                row, warning=f"derived from {', '.join(names)}, flagged: check {'it' if len(names) == 1 else 'them'}"
            )
        marked.append(row)
    return tuple(marked)
