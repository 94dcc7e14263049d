"""Membranous septum: how deep its lower margin lies under the annulus plane, and how high it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from .plane import AnnulusPlane
from .points import MISSING, lacking
from .row import Row

_DEPTH = Row(
    "ms_lower_depth",
    "Membranous septum, depth of lower margin",
    None,
    "mm",
    "2.1 ± 2.1 (Mori 2018)",
    "distance of the lower margin from the annulus plane, positive towards the ventricle",
    "",
    "septum",
)
_HEIGHT = Row(
    "ms_height",
    "Membranous septum, own height",
    None,
    "mm",
    "6.6 ± 2.0 (Mori 2018)",
    "distance between the upper and the lower margin",
    "",
    "septum",
)
_UPPER = Row(
    "ms_upper_height",
    "Membranous septum, height of upper margin",
    None,
    "mm",
    "4.5 ± 2.3 (Mori 2018)",
    "distance of the upper margin from the annulus plane, positive towards the aorta",
    "",
    "septum",
)


def septum_rows(
    plane: AnnulusPlane | None,
    points: Mapping[str, np.ndarray | None],
    no_plane: str = "",
    gone: Mapping[str, str] | None = None,
) -> list[Row]:
    """Depth of the lower margin first: it is the planning number.

    ``no_plane`` is the reason when there is no plane, ``gone`` (id -> why) where a point is not simply missing.
    """
    why = {i: (gone or {}).get(i, MISSING) for i in ("ms_upper", "ms_lower")}
    upper, lower = points.get("ms_upper"), points.get("ms_lower")
    if lower is None:
        depth = _DEPTH.missing(f"the lower point {why['ms_lower']}")
    else:
        depth = _DEPTH.missing(no_plane) if plane is None else replace(_DEPTH, value=-float(plane.height(lower)))
    if upper is None or lower is None:
        margins = (("upper", "ms_upper", upper), ("lower", "ms_lower", lower))
        words = lacking("point", {name: why[i] for name, i, point in margins if point is None})
        height = _HEIGHT.missing(words)
    else:
        height = replace(_HEIGHT, value=float(np.linalg.norm(np.asarray(upper, float) - np.asarray(lower, float))))
    if upper is None:
        top = _UPPER.missing(f"the upper point {why['ms_upper']}")
    else:
        top = _UPPER.missing(no_plane) if plane is None else replace(_UPPER, value=float(plane.height(upper)))
    return [depth, height, top]
