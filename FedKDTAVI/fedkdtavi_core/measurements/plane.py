"""The annulus plane: through the three hinge points, its normal towards the ascending aorta."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from .. import schema
from .points import MISSING, lacking
from .row import NotMeasurable, Row

# Ostia at least this far on one side of the plane (mean signed height) decide where the aorta is when the order of
# the hinge points says otherwise; smaller heights are within the error of the points.
OSTIA_DECIDE_MM = 3.0
# Three points whose triangle is flatter than this (smallest height of the triangle) define no plane.
MIN_TRIANGLE_HEIGHT_MM = 2.0


@dataclass(frozen=True)
class AnnulusPlane:
    """The virtual basal ring's plane in RAS mm.

    Attributes:
        centre: (3,) centre of the circle through the three hinge points.
        normal: (3,) unit vector towards the ascending aorta.
        u: (3,) unit vector in the plane, from the centre towards the RCC hinge point.
        v: (3,) unit vector in the plane, ``normal x u``: angles grow RCC -> LCC -> NCC, counter-clockwise as seen
            from the aorta.
        hinges: (3, 3) hinge points in the order RCC, LCC, NCC.
        radius: radius in mm of the circle through the hinge points.
        warning: a contradiction between the order of the hinge points and the side of the ostia, or empty.
    """

    centre: np.ndarray
    normal: np.ndarray
    u: np.ndarray
    v: np.ndarray
    hinges: np.ndarray
    radius: float
    warning: str = ""

    @property
    def reach(self) -> tuple[np.ndarray, float]:
        """(3,) middle of the hinge points, and their mean distance from it in mm.

        For a flat triangle, whose circle is large and lies aside.
        """
        middle = self.hinges.mean(axis=0)
        return middle, float(np.linalg.norm(self.hinges - middle, axis=1).mean())

    def height(self, points: np.ndarray) -> np.ndarray:
        """(..., 3) RAS mm -> (...) signed distance from the plane in mm, positive towards the aorta."""
        return (np.asarray(points, float) - self.centre) @ self.normal

    def angle(self, points: np.ndarray) -> np.ndarray:
        """(..., 3) RAS mm -> (...) angle around the root axis in radians, 0 at the RCC hinge point, in [0, 2 pi)."""
        offset = np.asarray(points, float) - self.centre
        return np.mod(np.arctan2(offset @ self.v, offset @ self.u), 2 * np.pi)

    def radial(self, points: np.ndarray) -> np.ndarray:
        """(..., 3) RAS mm -> (...) distance in mm from the root axis (through the centre, along the normal)."""
        offset = np.asarray(points, float) - self.centre
        return np.hypot(offset @ self.u, offset @ self.v)

    @property
    def circle_diameter(self) -> float:
        """Diameter in mm of the circle through the hinge points: a proxy of the annulus diameter, nothing more."""
        return 2 * self.radius

    @property
    def angulation(self) -> float:
        """Degrees between the plane's trace in the coronal plane and the horizontal."""
        return math.degrees(math.acos(min(1.0, abs(self.normal[2]) / max(np.hypot(*self.normal[[0, 2]]), 1e-9))))

    def rows(self) -> list[Row]:
        """The plane's own rows of the table."""
        circle, angulation = _ROWS
        return [
            replace(circle, value=self.circle_diameter, warning=self.warning),
            replace(angulation, value=self.angulation),
        ]


_ROWS = (
    Row(
        "circle_proxy_diameter",
        "Circle through hinge points (proxy)",
        None,
        "mm",
        "",
        "diameter of the circle through the three hinge points; a proxy of the annulus diameter, not its size",
        "",
        "annulus",
    ),
    Row(
        "root_angulation",
        "Root angulation",
        None,
        "deg",
        "49.4 ± 9.4 (18-90; PubMed 34090956)",
        "angle between the annulus plane and the horizontal, in the coronal plane",
        "",
        "annulus",
    ),
)


def missing_rows(reason: str) -> list[Row]:
    """The plane's rows when there is no plane."""
    return [row.missing(reason) for row in _ROWS]


def annulus_plane(points: Mapping[str, np.ndarray | None], gone: Mapping[str, str] | None = None) -> AnnulusPlane:
    """The plane through the three hinge points.

    The normal follows from the order of the cusps: RCC -> LCC -> NCC runs counter-clockwise as seen from the aorta,
    in every patient and every pose, so ``(LCC - RCC) x (NCC - RCC)`` points to the aorta. When the ostia that are
    present lie clearly on the other side (mean height below -``OSTIA_DECIDE_MM``) and that normal points to the feet,
    hinge points carry each other's names: then the ostia decide, since heights would otherwise change sign. ``warning``
    says so, and also where the normal points upwards and only the ostia are in the wrong place.

    Args:
        points: landmark id -> (3,) RAS mm or None; ids that are not there count as missing.
        gone: id -> why a point is None, where it is not simply missing ("lies outside the CT").

    Raises:
        NotMeasurable: a hinge point is missing, or the three lie on a line.
    """
    missing = [i for i in schema.HINGE_IDS if points.get(i) is None]
    if missing:
        raise NotMeasurable(
            lacking("hinge point", {schema.by_id(i).name: (gone or {}).get(i, MISSING) for i in missing})
        )
    hinges = np.array([points[i] for i in schema.HINGE_IDS], float)
    rcc, lcc, ncc = hinges
    cross = np.cross(lcc - rcc, ncc - rcc)
    longest = max(np.linalg.norm(lcc - rcc), np.linalg.norm(ncc - rcc), np.linalg.norm(ncc - lcc))
    if np.linalg.norm(cross) < MIN_TRIANGLE_HEIGHT_MM * max(longest, 1e-6):
        raise NotMeasurable("the three hinge points lie almost on a line")
    centre = _circumcentre(rcc, lcc, ncc)
    normal = cross / np.linalg.norm(cross)

    warning = ""
    ostia = [points[i] for i in schema.OSTIUM_IDS if points.get(i) is not None]
    if ostia and float(np.mean((np.array(ostia) - centre) @ normal)) < -OSTIA_DECIDE_MM:
        if normal[2] <= 0:  # the aorta would run towards the feet: it is the hinge points that are wrong
            normal = -normal
            warning = "hinge points and ostia contradict each other: the names of two hinge points may be swapped"
        else:
            warning = "the ostia lie below the annulus plane: check ostia and hinge points"
    u = (rcc - centre) / np.linalg.norm(rcc - centre)
    return AnnulusPlane(centre, normal, u, np.cross(normal, u), hinges, float(np.linalg.norm(rcc - centre)), warning)


def _circumcentre(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """Centre of the circle through three points in space."""
    ab, ac = b - a, c - a
    cross = np.cross(ab, ac)
    offset = np.cross(cross, ab) * (ac @ ac) + np.cross(ac, cross) * (ab @ ab)
    return a + offset / (2 * (cross @ cross))
