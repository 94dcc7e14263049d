"""A row of measurements in few words, the same on the page and in 3D Slicer: its section, short name, value and range.

Rows are dictionaries with the keys of :class:`fedkdtavi_core.measurements.Row`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from .numbers import printed

LOW_OSTIUM = "LOW OSTIUM"  # how the warning of one begins: it is told before all others
GROUPS = {
    "annulus": "Annulus",
    "coronary": "Coronary ostia",
    "septum": "Membranous septum",
    "calcium": "Valve calcium",
    "carm": "C-arm views",
    "suitability": "Suitability of the CT",
}
UNITS = {"mm2": "mm²", "mm3": "mm³", "deg": "°"}
_PREFIXES = ("Annulus ", "Membranous septum, ", "Calcium, ", "Calcium ")
# For a narrow column, where the definition stands in a tooltip; by the row's id.
_BRIEF = {
    "annulus_d_area": "Diameter by area",
    "annulus_d_perimeter": "Diameter by perimeter",
    "circle_proxy_diameter": "Hinge circle (proxy)",
    "height_lca": "LM height",
    "height_rca": "RCA height",
    "ms_lower_depth": "Lower margin, depth",
    "ms_upper_height": "Upper margin, height",
    "calcium_annular": "Annular part",
    "three_cusp_lao": "Three-cusp LAO",
    "three_cusp_cranial": "Three-cusp cranial",
    "cusp_overlap_lao": "Cusp overlap LAO",
    "cusp_overlap_cranial": "Cusp overlap cranial",
    "uncovered": "Parts not covered",
}


def format_value(row: Mapping[str, Any]) -> tuple[str, str]:
    """Number and unit as they are printed, of a row that has a value."""
    return printed(row).replace("-", "−"), UNITS.get(row["unit"], row["unit"])


def short_name(row: Mapping[str, Any]) -> str:
    """The name without the group's, under which it stands."""
    name = row["name"]
    for start in _PREFIXES:
        name = name.removeprefix(start)
    return name[:1].upper() + name[1:]


def brief_name(row: Mapping[str, Any]) -> str:
    """The shortest name that can be told from its neighbours under the group's heading."""
    return _BRIEF.get(row["id"]) or short_name(row)


def short_normal(normal: str) -> str:
    """A normal range as it fits the column; population and source stay in the CSV file."""
    short = re.sub(r"[;,]\s*[^;,()]*\d{4}[^;,()]*(?=\))", "", normal)  # "; PubMed 1234)"
    short = re.sub(r"\s*\((?:[^()]*\d{4}[^()]*|[^()\d]*)\)", "", short)  # "(Mori 2018)", "(mean diameter)"
    short = re.sub(r",[^,\d]*$", "", short)  # ", severe aortic stenosis"
    return short.replace("women", "♀").replace("men", "♂").strip()


def brief_normal(normal: str) -> str:
    """The same for a narrow column: mean and deviation, or the range where there is no mean."""
    short = short_normal(normal)
    if "±" in short:
        short = re.sub(r"\s*\([^()]*\)", "", short)  # "(18-90)"
    return short.replace(" ± ", "±")
