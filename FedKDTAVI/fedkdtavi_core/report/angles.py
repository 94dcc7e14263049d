"""The C-arm's angles in which the annulus plane is seen edge-on, with the two named views."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..measurements.carm import REACH_CRANIAL_CAUDAL_DEG, REACH_LAO_RAO_DEG
from ..measurements.doubt import DOUBT
from . import style
from .panel import TITLE_SPACE, Panel
from .sheet import Sheet, line_height

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ..measurements.carm import View
    from .root import Root

SPAN_LAO, SPAN_CRANIAL = 90.0, 60.0  # degrees shown
THREE_CUSP, CUSP_OVERLAP = "#0f5c8c", "#b4472f"
OUT_OF_REACH = "#e9edf1"


def draw_angles(sheet: Sheet, x: float, y: float, side: float, root: Root) -> None:
    """The curve of perpendicular views in a square at (x, y) inches; grey is out of a usual C-arm's reach."""
    title = "C-arm angles"
    views = root.measurements.carm
    if views is None:
        Panel(sheet, x, y, side, title, label="carm").message(f"No C-arm angles: {root.reason}.")
        return
    sheet.text(x, y + 0.17, title, size=style.HEADING, fontweight="bold")
    top = y + TITLE_SPACE + 0.13
    named = (("Three-cusp", views.three_cusp, THREE_CUSP), ("Cusp overlap", views.cusp_overlap, CUSP_OVERLAP))
    for name, view, color in named:
        sheet.text(x + 0.02, top, "●", size=style.BODY, color=color)
        sheet.text(x + 0.2, top, name, size=style.BODY, fontweight="bold", color=color)
        beyond = "" if view.reachable else "  out of reach"
        sheet.text(x + 1.25, top, f"{view}{beyond}", size=style.BODY)
        top += line_height(style.BODY)
    top -= 0.02
    left, bottom = 0.52, 0.26
    height = y + TITLE_SPACE + side - bottom - top
    axes = sheet.axes(x + left, top, side - left - 0.08, height, label="carm")
    _chart(axes)
    axes.plot(views.curve[:, 0], views.curve[:, 1], color=style.INK, lw=1.9, zorder=3)
    for _, view, color in named:
        _view(axes, view, color)
    caption = "Views perpendicular to the annulus plane, patient supine. Grey: out of a usual C-arm's reach."
    warning = next(row["warning"] for row in root.measurements.rows() if row["id"] == "three_cusp_lao")
    _, doubt, points = warning.partition(DOUBT)
    if doubt:
        caption += f" {doubt.capitalize()}{points}."
    sheet.paragraph(x, y + TITLE_SPACE + side + 0.15, side, caption, size=style.TINY, color=style.MUTED)


def _chart(axes: Axes) -> None:
    from matplotlib.patches import Rectangle

    axes.set_facecolor(OUT_OF_REACH)
    axes.set_xlim(-SPAN_LAO, SPAN_LAO)
    axes.set_ylim(-SPAN_CRANIAL, SPAN_CRANIAL)
    corner = (-REACH_LAO_RAO_DEG, -REACH_CRANIAL_CAUDAL_DEG)
    axes.add_patch(Rectangle(corner, -2 * corner[0], -2 * corner[1], color=style.PAPER, lw=0, zorder=0.5))
    axes.set_xticks(np.arange(-60, 61, 30), [_angle(v, "RAO", "LAO") for v in range(-60, 61, 30)])
    axes.set_yticks(np.arange(-40, 41, 20), [_angle(v, "CAU", "CRA") for v in range(-40, 41, 20)])
    axes.tick_params(labelsize=style.TINY, labelcolor=style.MUTED, length=0, pad=3)
    axes.grid(True, color=style.RULE, lw=0.6)
    axes.set_axisbelow(True)
    axes.axhline(0, color=style.FAINT_ON_DARK, lw=0.9, zorder=1)
    axes.axvline(0, color=style.FAINT_ON_DARK, lw=0.9, zorder=1)


def _angle(value: int, negative: str, positive: str) -> str:
    """Only the outermost ticks name the direction: the others would run into each other."""
    name = "" if abs(value) < 40 else negative if value < 0 else positive
    return f"{name} {abs(value)}°".strip()


def _view(axes: Axes, view: View, color: str) -> None:
    """A view on the curve; hollow at the edge where it lies beyond the picture."""
    shown = np.clip((view.lao, view.cranial), (-SPAN_LAO, -SPAN_CRANIAL), (SPAN_LAO, SPAN_CRANIAL))
    inside = np.allclose(shown, (view.lao, view.cranial))
    axes.plot(
        [shown[0]], [shown[1]], "o", ms=9, mfc=color if inside else style.PAPER, mec=style.PAPER if inside else color,
        mew=1.5, zorder=4, clip_on=False,
    )  # fmt: skip
