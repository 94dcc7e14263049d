"""The four pictures of the aortic root: annulus plane, both ostia, membranous septum."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .. import schema
from ..annotation import Annotation, Status
from ..measurements import AnnulusPlane, Measurements, landmark_points
from ..measurements.curve import MIN_DENSE_POINTS
from ..numbers import fixed
from ..volume import Volume
from . import style
from .panel import Panel
from .view import ANTERIOR, LEFT, SUPERIOR, View, across, lengthwise

ANNULUS_WIDTH = 56.0  # mm
LENGTHWISE_WIDTH = 76.0
# A long-axis picture reaches further above the plane (sinuses, ostia) than below it.
LENGTHWISE_RISE = 10.0
NO_HEIGHT = "no height of a point that is predicted only, without contrast"


@dataclass(frozen=True)
class Root:
    """What the pictures are made from.

    Attributes:
        points: landmark id -> (3,) RAS mm or None.
        plane: the annulus plane, or None; ``reason`` then says why.
        axis: (3,) RAS mm, where the root's axis passes the plane.
        middle: (3,) RAS mm of all that was found, for a picture without a plane; None when nothing was.
    """

    volume: Volume
    annotation: Annotation
    measurements: Measurements
    points: dict[str, np.ndarray | None]
    plane: AnnulusPlane | None
    axis: np.ndarray | None
    middle: np.ndarray | None

    @classmethod
    def of(cls, volume: Volume, annotation: Annotation, measurements: Measurements) -> Root:
        """Collect them."""
        points, plane = landmark_points(annotation, volume.grid), measurements.plane
        found = [point for point in points.values() if point is not None]
        middle = np.mean(found, axis=0) if found else None
        axis = None
        if plane is not None:  # a flat triangle has its circle's centre far outside; its own middle then shows more
            axis = plane.centre if plane.radius < 25 else plane.hinges.mean(axis=0)
        return cls(volume, annotation, measurements, points, plane, axis, middle)

    def window(self, usual: style.Window) -> style.Window:
        """The CT window in which this CT's blood is as bright as ``usual`` shows contrast."""
        blood = self.measurements.suitability.blood
        return style.window(usual, blood and blood.mean, blood is not None and blood.contrasted)

    @property
    def reason(self) -> str:
        """Why there is no annulus plane, to be put behind a colon."""
        return self.measurements.plane_reason.removeprefix("no annulus plane: ")

    def measured(self, label_id: str) -> bool:
        """May a number be drawn at this landmark? Not where the table withholds it."""
        return self.measurements.points[label_id] is not None

    def inside(self, point: np.ndarray | None) -> bool:
        """Does the point lie in the CT?"""
        return point is not None and bool(self.volume.grid.contains(point))


def landmark_color(label_id: str) -> tuple[float, float, float]:
    """The schema's colour."""
    return schema.by_id(label_id).color


def draw_annulus(panel: Panel, root: Root) -> None:
    """The annulus plane with hinge points, contour and its smallest and largest diameter."""
    if root.plane is None:
        _axial_instead(panel, root)
        return
    view = across(root.plane.normal, root.axis, ANNULUS_WIDTH)
    panel.picture(view.sample(root.volume), view, root.window(style.ANGIO))
    contour = root.measurements.contour
    middle = np.zeros(2)
    if contour.size is not None:
        outline = _dense(view.project(contour.points))
        middle = view.project(contour.size.centroid)
        panel.line(np.vstack([outline, outline[:1]]), landmark_color("annulus_contour"), 1.6)
    for label_id in schema.HINGE_IDS:
        panel.mark(view.project(root.points[label_id]), landmark_color(label_id))
    for label_id in schema.HINGE_IDS:
        point = view.project(root.points[label_id])
        panel.name(point, schema.by_id(label_id).name, landmark_color(label_id), towards=point - middle)
    if contour.size is None:
        seen = "Plane through the hinge points, seen from the ventricle."
        panel.caption(f"{seen} Contour {contour.reason}.", color=style.CAUTION.ink)
        return
    diameters = (
        ("max", np.argmax, contour.size.d_max, style.HEIGHT_LINE),
        ("min", np.argmin, contour.size.d_min, style.SECOND_LINE),
    )
    for word, pick, diameter, color in diameters:
        start, end = _chord(outline, middle, pick)
        panel.line([start, end], color, 1.2)
        across_line = np.array([end[1] - start[1], start[0] - end[0]])
        panel.name(middle + 0.55 * (end - middle), f"{word} {fixed(diameter, 1)}", color,
                   towards=across_line, size=style.SMALL)  # fmt: skip
    area, perimeter = contour.size.area, contour.size.perimeter
    panel.caption(
        f"Area {fixed(area)} mm², perimeter {fixed(perimeter, 1)} mm (contour: {contour.source}).",
        "Plane through the hinge points, seen from the ventricle.",
    )


def _dense(outline: np.ndarray) -> np.ndarray:
    """(M, 2) of a closed curve (N, 2): a person's few control points are joined by a spline, as they are on screen."""
    if not 3 <= len(outline) < MIN_DENSE_POINTS:
        return outline
    from scipy.interpolate import CubicSpline

    closed = np.vstack([outline, outline[:1]])
    length = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(closed, axis=0), axis=1))])
    return CubicSpline(length, closed, bc_type="periodic")(np.linspace(0, length[-1], 361)[:-1])


def _chord(outline: np.ndarray, centroid: np.ndarray, pick: Callable[[np.ndarray], int]) -> np.ndarray:
    """(2, 2) ends of the chord through the centroid that ``pick`` (argmin or argmax of the lengths) takes."""
    offset = outline - centroid
    angles = np.arctan2(offset[:, 1], offset[:, 0])
    order = np.argsort(angles)
    directions = np.radians(np.arange(180.0))
    reach = [np.interp(d, angles[order], np.linalg.norm(offset, axis=1)[order], period=2 * np.pi)
             for d in (directions, directions + np.pi)]  # fmt: skip
    best = pick(reach[0] + reach[1])
    along = np.array([np.cos(directions[best]), np.sin(directions[best])])
    return np.array([centroid - reach[1][best] * along, centroid + reach[0][best] * along])


def draw_ostium(panel: Panel, root: Root, label_id: str) -> None:
    """The plane that holds the root's axis and an ostium, with its height over the annulus plane."""
    point, name = root.points[label_id], schema.by_id(label_id).name
    if point is None:
        how = "not found" if root.annotation.landmarks[label_id].position is None else "cannot be shown"
        panel.message(f"{name} ostium {how}. {_why(root.annotation, label_id)}".strip())
        return
    if root.plane is None:
        _coronal_instead(panel, root, [label_id], "the ostium")
        return
    _along_axis(panel, root, point, [label_id])
    told = "height of its centre over the annulus plane" if root.measured(label_id) else NO_HEIGHT
    words = f"Plane through the root's axis and the {name} ostium; {told}."
    if _in_view(root, label_id):
        panel.caption(words)
        return
    away = float(np.linalg.norm(point - root.axis))
    words = f"{words} The point lies outside the picture, {fixed(away)} mm from the middle of the annulus."
    panel.caption(words, color=style.STOP.ink)


def _in_view(root: Root, label_id: str) -> bool:
    """Does the long-axis picture reach as far as this landmark?"""
    plane, offset = root.plane, root.points[label_id] - root.axis
    up = float(offset @ plane.normal)
    aside = float(np.linalg.norm(offset - up * plane.normal))
    return max(aside, abs(up - LENGTHWISE_RISE)) < LENGTHWISE_WIDTH / 2


def draw_septum(panel: Panel, root: Root) -> None:
    """The plane through the root's axis and the membranous septum; without it, through where it is to be looked for."""
    found = [i for i in schema.HEADS["ms"] if root.points[i] is not None]
    if root.plane is None:
        _coronal_instead(panel, root, found, "the membranous septum")
        return
    if found:
        towards = np.mean([root.points[i] for i in found], axis=0)
    else:  # the membranous septum lies below the commissure of right and non-coronary cusp
        towards = (root.points["hinge_rcc"] + root.points["hinge_ncc"]) / 2
    beside = _along_axis(panel, root, towards, found)
    if not found:
        panel.caption(
            "Membranous septum not found. The plane runs between RCC and NCC, below whose commissure it lies.",
            color=style.CAUTION.ink,
        )
        return
    missing = [schema.by_id(i).name for i in schema.HEADS["ms"] if i not in found]
    words = f" {missing[0]} not found." if missing else " Rings lie beside this plane." if beside else ""
    told = "distances from the annulus plane" if any(map(root.measured, found)) else NO_HEIGHT
    panel.caption(f"Plane through the root's axis and the membranous septum; {told}.{words}")


def _axial_instead(panel: Panel, root: Root) -> None:
    if root.middle is None or not root.inside(root.middle):
        panel.message("No landmark was found in this CT.")
        return
    view = View(root.middle, LEFT, ANTERIOR, LENGTHWISE_WIDTH)
    panel.picture(view.sample(root.volume), view, root.window(style.ANGIO))
    for label_id in schema.LANDMARK_IDS:
        point = root.points[label_id]
        if point is not None:
            flat = view.project(point)
            panel.mark(flat, landmark_color(label_id), filled=abs((point - root.middle)[2]) < 2)
            panel.name(flat, schema.by_id(label_id).name, landmark_color(label_id), towards=flat)
    panel.caption(f"Axial slice instead of the annulus plane: {root.reason}. Rings lie above or below the slice.")


def _coronal_instead(panel: Panel, root: Root, label_ids: list[str], what: str) -> None:
    """The coronal plane through the middle of landmarks, where there is no plane to measure from."""
    if not label_ids:
        panel.message(f"Not found, and no view along the root's axis: {root.reason}.")
        return
    view = View(np.mean([root.points[i] for i in label_ids], axis=0), LEFT, SUPERIOR, LENGTHWISE_WIDTH)
    panel.picture(view.sample(root.volume), view, root.window(style.ANGIO))
    for label_id in label_ids:
        flat, color = view.project(root.points[label_id]), landmark_color(label_id)
        panel.mark(flat, color)
        panel.name(flat, schema.by_id(label_id).name, color, towards=(1.0, np.sign(flat[1])))
    panel.caption(f"Coronal plane through {what}. No height: {root.reason}.")


def _along_axis(panel: Panel, root: Root, towards: np.ndarray, label_ids: list[str]) -> bool:
    """The plane through the axis and ``towards``, with landmarks and their distances from the annulus plane.

    Returns whether one of them lies over 2 mm beside this plane; it is drawn as a ring.
    """
    plane = root.plane
    view = lengthwise(plane.normal, root.axis, towards, LENGTHWISE_WIDTH)
    view = View(root.axis + LENGTHWISE_RISE * plane.normal, view.right, view.up, LENGTHWISE_WIDTH)
    panel.picture(view.sample(root.volume), view, root.window(style.ANGIO))
    reach, level = view.width / 2 - 8, -LENGTHWISE_RISE
    panel.line([(-reach, level), (reach, level)], landmark_color("annulus_contour"), 1.2)
    panel.line([(0, -view.width / 2), (0, view.width / 2)], style.ON_DARK, 0.7, (0, (2, 4)), alpha=0.8)

    places = {label_id: view.project(root.points[label_id]) for label_id in label_ids}
    if len(places) == 2 and all(map(root.measured, places)):  # the septum's own height
        panel.line(list(places.values()), landmark_color("ms_lower"), 3.0)
    across_view = np.cross(view.right, view.up)
    beside = {i: abs((root.points[i] - view.center) @ across_view) > 2 for i in label_ids}
    for label_id, (x, y) in places.items():
        if abs(y - level) > 1.0 and root.measured(label_id):
            panel.arrow((x, level), (x, y), style.HEIGHT_LINE)
        panel.mark((x, y), landmark_color(label_id), filled=not beside[label_id])
    for label_id, (x, y) in places.items():
        height = float(plane.height(root.points[label_id]))
        words = schema.by_id(label_id).name
        if root.annotation.landmarks[label_id].status is Status.CORRECTED:
            words = f"{words}, corrected"
        if root.measured(label_id):
            words = f"{words}  {fixed(abs(height), 1)} mm {'above' if height >= 0 else 'below'}"
        edge = view.width / 2 - 10  # where a point out of view has its name
        inside = np.clip((x, y), -edge, edge)
        panel.name(inside, words, landmark_color(label_id), towards=(np.sign(x) or 1, 1.5 * np.sign(height)))
    side = -np.sign(sum(x for x, _ in places.values())) or -1
    panel.name((side * reach, level), "annulus plane", landmark_color("annulus_contour"), towards=(-side, -0.35),
               size=style.SMALL)  # fmt: skip
    return any(beside.values())


def _why(annotation: Annotation, label_id: str) -> str:
    flags = annotation.landmarks[label_id].flags
    return f"{flags[0][:1].upper()}{flags[0][1:]}." if flags else ""
