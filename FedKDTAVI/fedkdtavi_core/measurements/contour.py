"""The lumen's edge in any plane through the root, as a closed curve; a contour that leaks is not measurable.

The annulus is one use; a centre and a normal elsewhere give the outflow tract, the sinuses or the sinotubular junction.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..numbers import fixed
from ..volume import Volume
from .blood import MIN_EDGE_HU, Blood, statistics
from .curve import CurveSize, measure_curve
from .polar import FIRST_MM, N_RAYS, SOFT_TISSUE_HU, STEP_MM, find_edge
from .row import NotMeasurable
from .sampling import in_plane_axes, sample, voxels_in_cylinder

SLAB_MM = (-0.5, 0.0, 0.5)  # the image is the mean of three planes: less noise, edges of a tube stay where they are
MAX_RADIUS_MM = 30.0

# When a curve is not an edge of the lumen (each is tested):
MAX_NO_EDGE_SHARE = 0.20  # rays without an edge, calcified ones apart
MAX_NO_EDGE_ARC_DEG = 40.0  # one gap: the opening towards the left atrium or the ventricle
SAID_GAP_DEG = 12.0  # a bridged gap from here on is said
MAX_UNSEEN_SHARE = 0.75  # rays without an edge or hidden by calcium; from MUCH_CALCIUM_SHARE on it is said
MUCH_CALCIUM_SHARE = 0.35
MAX_UNSEEN_ARC_DEG = 100.0
MAX_SLOPE_MM_PER_10DEG = 3.5  # a lumen's radius, from its own centre, does not jump
# An annulus is an oval. On the analytic tubes solidity is 0.999 and more and the form factor 4 pi area / perimeter^2
# at least 0.92; on phantoms and real CTs, with hinge points 2-3 mm off, at least 0.967 and 0.871. An oval of diameters
# 1:2 has a form factor of 0.84, and so have four lobes of a sixth of the radius.
MIN_SOLIDITY = 0.95
MIN_FORM_FACTOR = 0.84
SAID_SOLIDITY = 0.985  # phantoms with hinge points 3 mm off reach 0.987; below, a leaflet or a chamber dents the curve
MIN_RATIO = 0.45  # minimum / maximum diameter
NO_LUMEN = "the shape is not that of one lumen: the contour leaks"
MIN_BLOOD_SHARE = 0.70  # of the area well inside the curve
D_AREA_RANGE_MM = (10.0, 50.0)


@dataclass(frozen=True)
class Contour:
    """The lumen's edge in one plane.

    Attributes:
        points: (N, 3) RAS mm, closed (last joins first), counter-clockwise seen against ``normal``'s direction.
        normal: (3,) unit normal of the plane.
        size: areas and diameters.
        edge_share: 0..1, rays on which an edge was seen.
        calcium_share: 0..1, rays on which calcium hides the edge and the curve bridges.
        gap_deg: widest arc without an edge that the curve bridges, calcium apart.
        blood: HU of the lumen in the plane.
        step_hu: median step in HU between lumen and surroundings.
    """

    points: np.ndarray
    normal: np.ndarray
    size: CurveSize
    edge_share: float
    calcium_share: float
    gap_deg: float
    blood: Blood
    step_hu: float


def trace_lumen(
    volume: Volume,
    centre: np.ndarray,
    normal: np.ndarray,
    *,
    expected_radius_mm: float | None = None,
    expected_circle: tuple[np.ndarray, float] | None = None,
) -> Contour:
    """Trace the lumen's edge in the plane through ``centre`` (3,) RAS mm with ``normal`` (3,).

    Works on rays from the centre, then once more from the centroid of what was found. See :mod:`.polar` for the edge.

    Args:
        volume: the CT; only voxels around the plane are read.
        centre: any point well inside the lumen.
        normal: normal of the plane, need not have unit length.
        expected_radius_mm: about the lumen's radius, bounding the search to 1.8 times of it; default 30 mm.
        expected_circle: centre (3,) and radius in mm of a circle near the edge, such as the one through the hinge
            points; it decides between competing edges only.

    Raises:
        NotMeasurable: too little contrast, the CT ends inside the lumen, no edge on too many rays, or the curve leaks.
    """
    n, u, v = in_plane_axes(normal)
    centre = np.asarray(centre, float)
    reach = min(MAX_RADIUS_MM, max(1.8 * expected_radius_mm, 12.0)) if expected_radius_mm else MAX_RADIUS_MM
    inner = min(0.5 * expected_radius_mm, 6.0) if expected_radius_mm else 5.0
    blood = statistics(voxels_in_cylinder(volume, centre, n, inner, -3.0, 3.0), "lumen of that plane")
    if blood.mean < MIN_EDGE_HU:
        much = "too little contrast for its edge" if blood.contrasted else "no contrast"
        raise NotMeasurable(f"the lumen has {fixed(blood.mean)} HU, under {MIN_EDGE_HU:.0f}: {much}")

    radii = np.arange(FIRST_MM, reach + STEP_MM / 2, STEP_MM)
    angles = np.deg2rad(np.arange(N_RAYS) * 360 / N_RAYS)
    rays = np.cos(angles)[:, None] * u + np.sin(angles)[:, None] * v
    # Interpolation and the mean of three planes take part of the voxel noise away; this is what is left, roughly.
    noise = 0.6 * blood.sd
    calcium_hu = blood.mean + max(4 * blood.sd, 150.0)
    for _ in range(2):
        slab = [sample(volume, centre + k * n + rays[:, None, :] * radii[:, None]) for k in SLAB_MM]
        image = np.mean(slab, axis=0)
        outside = np.isnan(image)
        # Where the CT ends there is no edge to see: tissue-free, so that it can only show as missing.
        expected = None if expected_circle is None else _radii_of_circle(centre, rays, *expected_circle)
        edge = find_edge(np.where(outside, blood.mean, image), blood.mean, noise, calcium_hu, expected)
        points = centre + rays * edge.radius[:, None]
        size = measure_curve(points, n)
        at_edge = np.clip(((edge.radius - FIRST_MM) / STEP_MM).astype(int), 0, len(radii) - 1)
        beyond = outside[np.arange(N_RAYS), at_edge]
        if beyond.mean() > 0.05 or outside[:, 0].any():
            raise NotMeasurable("the CT ends inside the lumen of that plane")
        shifted, centre = np.linalg.norm(size.centroid - centre), size.centroid
        if shifted < 0.5:
            break
    _refuse_leak(image, radii, edge.radius, edge.found, edge.bridged, blood, size)
    gap = longest_arc(~edge.found & ~edge.bridged)
    return Contour(points, n, size, float(edge.found.mean()), float(edge.bridged.mean()), gap, blood, edge.step_hu)


def _radii_of_circle(centre: np.ndarray, rays: np.ndarray, middle: np.ndarray, radius: float) -> np.ndarray:
    """(N_RAYS,) mm from ``centre`` to a circle of the same plane along ``rays``; its radius when seen from outside."""
    along = rays @ (np.asarray(middle, float) - centre)
    inside = radius**2 - ((middle - centre) @ (middle - centre) - along**2)
    return np.where(inside > 0, along + np.sqrt(np.maximum(inside, 0)), radius)


def _refuse_leak(
    image: np.ndarray,
    radii: np.ndarray,
    radius: np.ndarray,
    found: np.ndarray,
    bridged: np.ndarray,
    blood: Blood,
    size: CurveSize,
) -> None:
    """Raise NotMeasurable when the curve is not the edge of one lumen."""
    unseen, open_rays = ~found, ~found & ~bridged
    gap = longest_arc(open_rays)
    if open_rays.mean() > MAX_NO_EDGE_SHARE:
        raise NotMeasurable(f"no edge on {fixed(100 * open_rays.mean())} % of the rays: the contour leaks")
    if gap > MAX_NO_EDGE_ARC_DEG:
        raise NotMeasurable(f"no edge over {fixed(gap)} degrees: the contour leaks into a neighbouring chamber")
    if unseen.mean() > MAX_UNSEEN_SHARE or longest_arc(unseen) > MAX_UNSEEN_ARC_DEG:
        raise NotMeasurable(f"calcium or metal hides the edge on {fixed(100 * bridged.mean())} % of the rays")
    ten_degrees = N_RAYS // 36
    slope = float(np.abs(np.roll(radius, -ten_degrees) - radius).max())
    if slope > MAX_SLOPE_MM_PER_10DEG:
        raise NotMeasurable(f"the radius jumps by {fixed(slope, 1)} mm within 10 degrees: the contour leaks")
    if radius.max() > radii[-1] - 1.0:
        raise NotMeasurable("the edge lies beyond the search radius: the contour leaks")
    if not is_one_lumen(size):
        raise NotMeasurable(NO_LUMEN)
    if not D_AREA_RANGE_MM[0] <= size.d_area <= D_AREA_RANGE_MM[1]:
        raise NotMeasurable(f"a diameter of {fixed(size.d_area)} mm is not that of this lumen")
    tissue = image < (blood.mean + min(SOFT_TISSUE_HU, blood.mean - 60.0)) / 2
    well_inside = radii < 0.8 * radius[:, None]
    share = 1 - float((tissue * well_inside * radii).sum() / max((well_inside * radii).sum(), 1e-9))
    if share < MIN_BLOOD_SHARE:
        raise NotMeasurable(f"only {fixed(100 * share)} % of the inside is blood")


def is_one_lumen(size: CurveSize) -> bool:
    """Is the curve an oval, without lobes and dents, as the edge of one lumen is?"""
    smooth = size.solidity >= MIN_SOLIDITY and size.form_factor >= MIN_FORM_FACTOR
    return smooth and size.d_min / size.d_max >= MIN_RATIO


def longest_arc(flags: np.ndarray) -> float:
    """Longest run of True around the circle, in degrees."""
    if flags.all():
        return 360.0
    doubled = np.concatenate([flags, flags]).astype(int)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], doubled, [0]])))
    runs = edges[1::2] - edges[::2]
    return float(runs.max(initial=0)) * 360 / len(flags)


def circle_points(centre: np.ndarray, normal: np.ndarray, radius: float, n: int = N_RAYS) -> np.ndarray:
    """(n, 3) points of a circle in RAS mm: where a person starts from when a contour is not measurable."""
    _, u, v = in_plane_axes(normal)
    angles = np.arange(n) * 2 * math.pi / n
    return np.asarray(centre, float) + radius * (np.cos(angles)[:, None] * u + np.sin(angles)[:, None] * v)
