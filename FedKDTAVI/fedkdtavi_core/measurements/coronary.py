"""Coronary heights: how far the ostia lie above the annulus plane."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from ..numbers import fixed
from ..rowtext import LOW_OSTIUM
from .plane import AnnulusPlane
from .points import MISSING
from .row import Row

# Mean height of the left ostium in reported obstructions after TAVI is about 10 mm (Ribeiro 2013, systematic review,
# JACC Cardiovasc Interv, 24 patients). A low ostium gets a warning; its number is never withheld.
LOW_OSTIUM_MM = 10.0

_DEFINITION = (
    "signed distance of the ostium's centre (not its lower lip) from the annulus plane, positive towards the aorta"
)
_ROWS = {
    "ostium_lca": Row(
        "height_lca",
        "Left main height (ostium centre)",
        None,
        "mm",
        "15.5 ± 2.9 (8.8-24.3), severe aortic stenosis (Stolzmann 2009)",
        _DEFINITION,
        "",
        "coronary",
    ),
    "ostium_rca": Row(
        "height_rca",
        "RCA height (ostium centre)",
        None,
        "mm",
        "17.3 ± 3.6 (7.3-26.0), severe aortic stenosis (Stolzmann 2009)",
        _DEFINITION,
        "",
        "coronary",
    ),
}


def coronary_rows(
    plane: AnnulusPlane | None,
    points: Mapping[str, np.ndarray | None],
    no_plane: str = "",
    gone: Mapping[str, str] | None = None,
) -> list[Row]:
    """Heights of both ostia; ``no_plane`` is the reason when there is no plane, ``gone`` (id -> why) for a point."""
    rows = []
    for label_id, row in _ROWS.items():
        point = points.get(label_id)
        if point is None:
            rows.append(row.missing(f"the ostium {(gone or {}).get(label_id, MISSING)}"))
        elif plane is None:
            rows.append(row.missing(no_plane))
        else:
            height = float(plane.height(point))
            rows.append(replace(row, value=height, warning=_warning(height)))
    return rows


def _warning(height: float) -> str:
    if height < 0:
        return f"{LOW_OSTIUM}: {fixed(height, 1)} mm, below the annulus plane; check the points"
    if height < LOW_OSTIUM_MM:
        return f"{LOW_OSTIUM}: {fixed(height, 1)} mm, under {LOW_OSTIUM_MM:.0f} mm; risk of coronary obstruction"
    return ""
