"""HU of the blood at the root: what every threshold and every edge is measured against."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from ..numbers import fixed
from ..volume import Volume
from .plane import AnnulusPlane, annulus_plane
from .row import NotMeasurable
from .sampling import voxels_in_cylinder

# Blood without contrast has 30-60 HU. From 100 HU on there is some, if little of it (a venous phase at high voltage):
# deposits of calcium still stand out from it. The lumen's edge does not: muscle may be nearly as bright, and then the
# edge of muscle to fat is taken for it (tubes of 110 HU in 95 HU: area 23 % too large, without a warning).
MIN_CONTRAST_HU = 100.0
MIN_EDGE_HU = 150.0
MIN_VOXELS = 30
# SD in HU, and its share of the mean: noise reaches 190 HU and a third (phantoms of scanners outside the ranges).
UNEVEN = (200.0, 0.6)
INNER_SHARE = 0.6  # of the circle's radius: stays off the wall, its calcium and an eccentric annulus
ROOT_RANGE_MM = (-6.0, 6.0)
LVOT_RANGE_MM = (-8.0, -1.0)
# Two landmarks on the root's wall at least this far apart have blood half-way between them, unless they belong to one
# cusp: an ostium lies over its own hinge point, with the wall between them.
MIN_CHORD_MM = 12.0
_WALL = {"hinge_rcc": "R", "hinge_lcc": "L", "hinge_ncc": "N", "ostium_rca": "R", "ostium_lca": "L"}
CHORD_RADIUS_MM = 3.0


@dataclass(frozen=True)
class Blood:
    """Mean and standard deviation in HU of ``voxels`` CT voxels, and where they were read."""

    mean: float
    sd: float
    voxels: int
    where: str

    @property
    def contrasted(self) -> bool:
        """Is there contrast medium in the lumen?"""
        return self.mean >= MIN_CONTRAST_HU

    @property
    def refusal(self) -> str:
        """Why sizes and calcium must not be measured against this blood; empty when they may."""
        if self.contrasted:
            return ""
        return f"no contrast: the lumen has {fixed(self.mean)} HU, under {MIN_CONTRAST_HU:.0f}"


def statistics(values: np.ndarray, where: str) -> Blood:
    """Mean and SD of the blood among ``values`` (n,) HU; leaflets and calcium are outliers and are left out.

    Values beyond 3 robust standard deviations (from the median absolute deviation) of the median are dropped. Where
    what is left is more uneven than any blood (``UNEVEN``), a large deposit fills the place: the darker half is blood.

    Raises:
        NotMeasurable: fewer than ``MIN_VOXELS`` voxels.
    """
    if len(values) < MIN_VOXELS:
        raise NotMeasurable(f"the CT has too few voxels in the {where}")
    values = np.asarray(values, np.float64)
    kept = _without_outliers(values)
    if kept.std() > max(UNEVEN[0], UNEVEN[1] * kept.mean()):
        kept = _without_outliers(np.sort(values)[: len(values) // 2])
    return Blood(float(kept.mean()), float(kept.std()), len(kept), where)


def _without_outliers(values: np.ndarray) -> np.ndarray:
    median = float(np.median(values))
    spread = max(1.4826 * float(np.median(np.abs(values - median))), 1.0)
    return values[np.abs(values - median) <= 3 * spread]


def root_blood(volume: Volume, plane: AnnulusPlane | None, points: Mapping[str, np.ndarray | None]) -> Blood:
    """Blood of the root: the inner part of the cylinder from 6 mm below to 6 mm above the annulus plane.

    Without a plane: a ball half-way between the two landmarks of the root's wall that lie farthest apart.

    Raises:
        NotMeasurable: there are no points to go by, or the CT does not reach there.
    """
    if plane is not None:
        radius = INNER_SHARE * plane.radius
        values = voxels_in_cylinder(volume, plane.centre, plane.normal, radius, *ROOT_RANGE_MM)
        return statistics(values, "lumen within 6 mm of the annulus plane")
    chords = []
    for first, second in combinations([i for i in _WALL if points.get(i) is not None], 2):
        a, b = np.asarray(points[first], float), np.asarray(points[second], float)
        if _WALL[first] != _WALL[second] and np.linalg.norm(a - b) >= MIN_CHORD_MM:
            chords.append((float(np.linalg.norm(a - b)), (a + b) / 2))
    if not chords:
        raise NotMeasurable("too few landmarks to say where the lumen of the root is")
    centre = max(chords, key=lambda chord: chord[0])[1]
    values = voxels_in_cylinder(volume, centre, np.array([0.0, 0.0, 1.0]), CHORD_RADIUS_MM, -4.0, 4.0)
    return statistics(values, "lumen between the landmarks that are there")


def no_contrast(volume: Volume, points: Mapping[str, np.ndarray | None]) -> str:
    """Why no number may be derived from predicted points of this CT; empty when one may, or nobody can tell.

    ``points`` are landmark id -> (3,) RAS mm or None.
    """
    try:
        plane = annulus_plane(points)
    except NotMeasurable:
        plane = None
    try:
        return root_blood(volume, plane, points).refusal
    except NotMeasurable:
        return ""


def lvot_blood(volume: Volume, plane: AnnulusPlane) -> Blood:
    """Blood of the outflow tract: the inner part of the cylinder from 8 to 1 mm below the plane (Miccoli's probe).

    Raises:
        NotMeasurable: the CT does not reach there.
    """
    values = voxels_in_cylinder(volume, plane.centre, plane.normal, INNER_SHARE * plane.radius, *LVOT_RANGE_MM)
    return statistics(values, "outflow tract")
