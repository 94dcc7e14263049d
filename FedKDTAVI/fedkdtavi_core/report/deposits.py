"""The calcium picture: a thick slab of the root with the calcium that was counted, cusp by cusp."""

from __future__ import annotations

import numpy as np

from .. import schema
from ..calcium import MIN_VOLUME_MM3, VALVE_BELOW_MM
from ..numbers import fixed
from . import style
from .notices import sentence
from .panel import Panel
from .root import ANNULUS_WIDTH, Root, landmark_color
from .view import ANTERIOR, LEFT, View, across

# From the outflow tract to above the leaflets' tips, in mm from the annulus plane.
SLAB = (-6.0, 18.0)
BEYOND = (-VALVE_BELOW_MM - 5, 60.0)  # everything that may count as the valve's calcium
AXIAL_SLAB = (-8.0, 16.0)  # mm from the middle of the landmarks, upwards
OVERLAY = (1.0, 0.62, 0.10)


def draw_calcium(panel: Panel, root: Root) -> None:
    """Maximum intensity over the slab, the counted calcium in colour, each cusp's sector with its volume."""
    volumes, rule = root.measurements.calcium, root.measurements.calcium_rule
    if root.plane is None:
        _axial_slab_instead(panel, root)
        return
    hidden = _outside_the_slab(root)
    if volumes is None:
        panel.caption(f"Calcium not measured: {rule}.", color=style.CAUTION.ink)
    else:
        total = f"{fixed(volumes.total)} mm³ in all, no Agatston score."
        if hidden:
            total += f" Dashed: {fixed(hidden)} mm³ above or below the slab."
        clauses = rule.replace("mm3", "mm³").split("; ")  # what matters most comes first; the files hold all of it
        told = [sentence("; ".join(clauses[:count])) for count in range(len(clauses), 0, -1)]
        panel.caption(
            next((f"{total} {words}" for words in told if panel.fits(f"{total} {words}")), f"{total} {told[-1]}")
        )
    # The view's third axis points to the ventricle, so heights change sign.
    view = across(root.plane.normal, root.axis, ANNULUS_WIDTH + 4)
    low, high = -SLAB[1], -SLAB[0]
    panel.picture(view.slab(root.volume, low, high), view, root.window(style.CALCIUM))
    if volumes is not None and root.annotation.calcification is not None:
        mask, affine = root.annotation.calcification, root.volume.affine
        _overlay(panel, view.slab_mask(mask, affine, low, high), view.extent)
        if hidden:
            for ends in ((-BEYOND[1], low), (high, -BEYOND[0])):
                _outline(panel, view.slab_mask(mask, affine, *ends), view.extent, "dashed")
    _sectors(panel, root, view, (None, None, None) if volumes is None else volumes.cusps)


def _axial_slab_instead(panel: Panel, root: Root) -> None:
    """Maximum intensity over axial slices, for a person to look at, where there is no plane to count calcium from."""
    volumes, why = root.measurements.calcium, f"Calcium not measured: {root.measurements.calcium_rule}."
    if volumes is not None:
        why = f"{fixed(volumes.total)} mm³, not told apart by cusp: {root.reason}."
    if root.middle is None or not root.inside(root.middle):
        panel.message(f"No slab through the root: {root.reason}.")
        panel.caption(why, color=style.CAUTION.ink)
        return
    view = View(root.middle, LEFT, ANTERIOR, ANNULUS_WIDTH + 4)  # its third axis points down
    low, high = -AXIAL_SLAB[1], -AXIAL_SLAB[0]
    panel.picture(view.slab(root.volume, low, high), view, root.window(style.CALCIUM))
    if volumes is not None and root.annotation.calcification is not None:
        _overlay(panel, view.slab_mask(root.annotation.calcification, root.volume.affine, low, high), view.extent)
    panel.caption(f"Axial slab of {fixed(high - low)} mm, brightest voxels. {why}", color=style.CAUTION.ink)


def _overlay(panel: Panel, seen: np.ndarray, extent: tuple[float, float, float, float]) -> None:
    if not seen.any():
        return
    colored = np.zeros((*seen.shape, 4), np.float32)
    colored[seen] = (*OVERLAY, 0.55)
    panel.axes.imshow(colored, extent=extent, origin="lower", interpolation="nearest")
    _outline(panel, seen, extent, "solid")


def _outline(panel: Panel, seen: np.ndarray, extent: tuple[float, float, float, float], dash: str) -> None:
    if not seen.any():
        return
    x = np.linspace(extent[0], extent[1], seen.shape[1] + 1)[:-1] + (extent[1] - extent[0]) / seen.shape[1] / 2
    panel.axes.contour(x, x, seen.astype(np.float32), levels=[0.5], colors=[OVERLAY], linewidths=0.9, linestyles=dash)


def _outside_the_slab(root: Root) -> float:
    """Volume in mm^3 of the counted calcium that the picture's slab does not hold; 0 for a speck of it."""
    mask = root.annotation.calcification
    if mask is None or root.plane is None:
        return 0.0
    height = root.plane.height(root.volume.grid.to_ras(np.argwhere(mask)))
    volume = float(np.count_nonzero((height < SLAB[0]) | (height > SLAB[1]))) * root.volume.grid.voxel_volume
    return volume if volume >= MIN_VOLUME_MM3 else 0.0


def _sectors(panel: Panel, root: Root, view: View, cusps: tuple[float | None, ...]) -> None:
    """Borders half-way between neighbouring hinge points, and the cusps' names with their volumes."""
    plane = root.plane
    angles = plane.angle(plane.hinges)
    order = np.argsort(angles)
    reach = view.width / 2
    for first, second in zip(order, np.roll(order, -1), strict=True):
        border = angles[first] + np.mod(angles[second] - angles[first], 2 * np.pi) / 2
        along = np.cos(border) * plane.u + np.sin(border) * plane.v
        ends = view.project(np.array([root.axis + 3 * along, root.axis + (plane.radius + 9) * along]))
        panel.line(ends, style.FAINT_ON_DARK, 0.9, (0, (3, 3)))
    for label_id, hinge, volume in zip(schema.HINGE_IDS, plane.hinges, cusps, strict=True):
        name = schema.by_id(label_id).name
        outwards = view.project(hinge) / np.linalg.norm(view.project(hinge))
        words = name if volume is None else f"{name}  {fixed(volume)} mm³"
        panel.name(outwards * min(plane.radius + 4, reach - 8), words, landmark_color(label_id), towards=outwards)
