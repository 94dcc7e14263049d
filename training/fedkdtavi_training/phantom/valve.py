"""Painting the root: wall, lumen, leaflets in any state of opening and visibility, and the valve's calcium."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fedkdtavi_core.schema import HEART_CLASSES

from .canvas import Canvas, Region
from .root import Pocket, Root
from .shapes import Ellipsoid, frame, turned
from .tissue import Tissue

AORTA = HEART_CLASSES.index("aorta")
LEFT_VENTRICLE = HEART_CLASSES.index("left_ventricle")
MYOCARDIUM = HEART_CLASSES.index("myocardium")
RIGHT_VENTRICLE = HEART_CLASSES.index("right_ventricle")
WAIST_WALL_MM = 2.5  # of muscle or of the curtain behind the outflow tract's waist


@dataclass
class Valve:
    """State of the leaflets and the calcium on them."""

    opening: float  # 0 closed, otherwise radius of the orifice over the lumen's
    opacity: float  # 0: leaflets not visible
    thickness: float
    coaptation: float  # height of the centre over the junction height
    calcium_mm3: float
    outflow_calcium_mm3: float
    prosthesis: bool = False

    @classmethod
    def sample(cls, rng: np.random.Generator, *, prosthesis: bool = False) -> Valve:
        """Leaflets absent, blurred, open, closed; calcium lognormal (381 [227-632] mm3 in Hamburg) or none."""
        kind = rng.random()
        return cls(
            opening=0.0 if kind < 0.5 else float(rng.uniform(0.25, 0.9)),
            opacity=0.0 if rng.random() < 0.18 else float(rng.uniform(0.15, 1.0)),
            thickness=float(rng.uniform(0.6, 2.4)),
            coaptation=float(rng.uniform(0.3, 0.6)),
            calcium_mm3=0.0 if rng.random() < 0.33 else float(np.clip(rng.lognormal(np.log(420), 0.85), 25, 2800)),
            outflow_calcium_mm3=float(rng.lognormal(np.log(25), 0.9)) if rng.random() < 0.37 else 0.0,
            prosthesis=prosthesis,
        )

    def leaflet_height(self, root: Root, cusp: np.ndarray, place: np.ndarray, s: np.ndarray) -> np.ndarray:
        """Height of the leaflet at share ``s`` of the lumen's radius (1: its attachment)."""
        attach = root.attachment_height(cusp, place)
        if self.opening:
            free = 0.92 * root.junction_height
            rise = np.clip((1 - s) / max(1 - self.opening, 0.05), 0, 1.6)
            return attach + rise * np.maximum(free - attach, 0.0)
        centre = self.coaptation * root.junction_height
        sag = 2.0 * 4 * s * (1 - s) * (1 - place**2)
        return attach * s**2 + (1 - s**2) * centre - sag


def paint_root(canvas: Canvas, root: Root, valve: Valve, tissue: Tissue, rng: np.random.Generator) -> None:
    """Wall and lumen from the outflow tract to the junction, then leaflets, prosthesis and calcium."""
    reach = float(root.semi_axes.max() + root.bulge.max() + 5)
    ends = np.array([root.middle(-16.0), root.middle(root.junction_height + 16)])
    region = canvas.region(ends.min(axis=0) - reach, ends.max(axis=0) + reach)
    if region is None:
        return
    rho, theta, h = root.cylinder(canvas.points[region])
    edge, floor, floor_out = (x.astype(np.float32) for x in root.lumen(theta, h))
    beyond = rho - edge
    attached = edge - floor * floor_out
    within = canvas.coverage(np.maximum(-5 - h, h - (root.junction_height + 14)), 2.0)
    shelf = root.shelf_depth(theta, h).astype(np.float32)
    # Solid behind its shoulder: with a thinner band a strip of blood was left between it and the ventricle's wall.
    into = np.maximum(-h - np.float32(root.septum_start), 0)
    # What carries the pocket's floor narrows downwards: the septum's flat top, the ring, the curtain.
    carries = floor * (1 - floor_out) * np.clip(1 + h / 9, 0, 1) * (h < root.floor_rise)
    thick = np.float32(root.septum_tip) + np.float32(root.septum_wedge) * into + carries
    if root.pocket is not None:
        _paint_pocket(canvas, region, root.pocket, tissue, theta, rho, h, beyond, shelf + thick)
    if root.shelf > 0 or root.waist > 0:
        # It thins out to both sides: as thick as in its middle, it would stand in the blood under the left cusp.
        thin = np.clip((root.shelf_share(theta).astype(np.float32) - 0.2) / 0.3, 0, 1) * (root.shelf > 0)
        closed = _closed(canvas.heart[region] == LEFT_VENTRICLE, theta, h, beyond - shelf)
        solid = np.maximum(thick * thin, WAIST_WALL_MM * (root.waist > 0) * closed)
        shelf = np.where(thin > 0, shelf, shelf * closed)
        band = canvas.coverage(beyond - shelf - solid) * canvas.coverage(-beyond)
        muscle = band * np.clip(shelf - 0.3, 0, 1) * (h < 0)
        canvas.paint(region, muscle, tissue.myocardium, texture=4.0, heart=MYOCARDIUM)
    thickness = float(rng.uniform(1.2, 2.6))
    wall_within = within * canvas.coverage(-2.0 - h, 4.0)  # below the plane the wall is muscle and curtain
    # A shell, not a disc: a disc would leave a line across the lumen where it fades out.
    above = root.lumen_radius(theta, h + thickness).astype(np.float32)  # under the floor the wall lies flat
    shell = canvas.coverage(np.maximum(-beyond, np.minimum(beyond - thickness, rho - above)))
    canvas.paint(region, shell * wall_within, tissue.wall)
    lumen = canvas.coverage(beyond) * within
    # From the ventricle's blood to the aorta's without a step: one at the annulus would give the plane away.
    share = np.clip((h + 5) / np.float32(root.junction_height + 19), 0, 1)
    blood = np.float32(tissue.left_blood) + share * np.float32(tissue.aorta - tissue.left_blood)
    for side, what in ((h < 0, LEFT_VENTRICLE), (h >= 0, AORTA)):
        canvas.paint(region, lumen * side, blood, texture=tissue.left_texture, heart=what)
    if valve.prosthesis:
        _paint_prosthesis(canvas, region, rho, attached, h, rng)
    elif valve.opacity > 0:
        _paint_leaflets(canvas, region, root, valve, tissue, rho, theta, h, attached, lumen)


def _closed(blood: np.ndarray, theta: np.ndarray, h: np.ndarray, outside: np.ndarray) -> np.ndarray:
    """How far there is a wall behind the outflow tract in each direction: 1, or 0 where it opens to the mitral valve.

    There a waist would stand as a ridge of its own in the ventricle's blood.
    """
    count = 48
    sector = np.clip(((theta / (2 * np.pi)) % 1 * count).astype(int), 0, count - 1)
    near = (outside > 0.5) & (outside < 3.0) & (h < -1) & (h > -10)
    sectors = sector[near]
    share = np.bincount(sectors, blood[near], count) / np.maximum(np.bincount(sectors, minlength=count), 1)
    around = np.convolve(np.concatenate([share[-3:], share, share[:3]]), np.full(7, 1 / 7), "valid")
    return np.clip(1.5 - 4 * around, 0, 1).astype(np.float32)[sector]


def _paint_pocket(
    canvas: Canvas,
    region: Region,
    pocket: Pocket,
    tissue: Tissue,
    theta: np.ndarray,
    rho: np.ndarray,
    h: np.ndarray,
    beyond: np.ndarray,
    septum: np.ndarray,
) -> None:
    """The right ventricle's outflow in a wall of muscle, ``septum`` mm of which are between it and the root's lumen."""
    sides = np.maximum(pocket.distance(theta, rho, h).astype(np.float32), -20 - h)
    sides = np.maximum(sides, beyond - septum - np.float32(pocket.depth))
    inside = np.maximum(sides, septum - beyond)
    muscle = np.maximum(sides - 2.5, -beyond)
    # No wall across the ventricle that is there already, except for the septum.
    open_to = (canvas.heart[region] == RIGHT_VENTRICLE) & (beyond > septum)
    canvas.paint(region, canvas.coverage(muscle) * ~open_to, tissue.myocardium, texture=4.0, heart=MYOCARDIUM)
    how = {"texture": tissue.right_texture, "heart": RIGHT_VENTRICLE}
    canvas.paint(region, canvas.coverage(inside), tissue.right_blood, **how)


def _paint_leaflets(
    canvas: Canvas,
    region: Region,
    root: Root,
    valve: Valve,
    tissue: Tissue,
    rho: np.ndarray,
    theta: np.ndarray,
    h: np.ndarray,
    edge: np.ndarray,
    lumen: np.ndarray,
) -> None:
    """Leaflets up to ``edge`` (mm from the axis), where they are attached: the floor's inner edge."""
    cusp, place = root.cusp_place(theta)
    s = np.clip(rho / edge, 0, 1.1)
    surface = valve.leaflet_height(root, cusp, place, s)
    step = 0.05
    slope = (valve.leaflet_height(root, cusp, place, s + step) - surface) / (step * edge)
    distance = np.abs(h - surface) / np.sqrt(1 + slope**2) - valve.thickness / 2
    if valve.opening:
        distance = np.maximum(distance, (valve.opening - s) * edge)
    else:  # where two closed leaflets touch: an upright sheet along the commissures
        aside = rho * (1 - np.abs(place)) * 1.0
        top = (valve.coaptation + 0.3 + 0.25 * s) * root.junction_height
        sheet = np.maximum.reduce([aside - 0.7 * valve.thickness, surface - h, h - top])
        distance = np.minimum(distance, sheet)
    inside = lumen * canvas.coverage(rho - edge - valve.thickness / 2)
    canvas.paint(region, canvas.coverage(distance) * inside * np.float32(valve.opacity), tissue.leaflet)


def _paint_prosthesis(
    canvas: Canvas, region: Region, rho: np.ndarray, edge: np.ndarray, h: np.ndarray, rng: np.random.Generator
) -> None:
    """A stent frame: a metal tube a little inside the lumen's edge, with gaps."""
    height = float(rng.uniform(12, 22))
    ring = np.maximum(np.abs(rho - edge + 1.5) - 0.5, np.maximum(-3 - h, h - height))
    gaps = 0.55 + 0.45 * np.sin(h * 1.3 + canvas.texture[region])
    canvas.paint(region, canvas.coverage(ring) * gaps.astype(np.float32), 2400.0)


def paint_calcium(canvas: Canvas, root: Root, valve: Valve, tissue: Tissue, rng: np.random.Generator) -> None:
    """Nodules on cusps (N/L/R about 41/31/27 %), annulus and outflow tract until the sampled volume is reached."""
    if valve.prosthesis:
        return
    for wanted, where in ((valve.calcium_mm3, "cusp"), (valve.outflow_calcium_mm3, "outflow")):
        placed = 0.0
        centre_of = None
        for _ in range(120):
            if placed >= wanted:
                break
            if where == "cusp":
                if centre_of is None or rng.random() < 0.35:  # nodules come in clusters
                    cusp = int(rng.choice(3, p=[0.27, 0.31, 0.42]))
                    centre_of = (cusp, rng.normal(0, 0.4), rng.uniform(0.3, 1.0))
                cusp = centre_of[0]
                place = float(np.clip(centre_of[1] + rng.normal(0, 0.2), -0.97, 0.97))
                # An open leaflet ends at the orifice: what lay farther in would float in the blood above its free edge.
                s = float(np.clip(centre_of[2] + rng.normal(0, 0.12), max(0.2, valve.opening), 1.0))
                theta = _angle(root, cusp, place)
                h = float(valve.leaflet_height(root, np.array(cusp), np.array(place), np.array(s)))
            else:
                theta, s, h = float(rng.uniform(0, 2 * np.pi)), 1.0, float(rng.uniform(-9, 0.5))
            rho = s * float(root.leaflet_radius(np.array(theta), np.array(h)))
            centre = rho * root.direction(theta) + root.middle(h)
            axes = np.clip(rng.lognormal(np.log(2.6), 0.45, 3) * np.array([1.3, 1.0, 0.65]), 0.5, 6)
            if 4.19 * axes.prod() > 1.3 * max(wanted - placed, 8):
                axes *= np.cbrt(max(wanted - placed, 8) / (4.19 * axes.prod()))
            nodule = Ellipsoid(centre, axes, frame(rng.normal(size=3), rng.normal(size=3)))
            canvas.ellipsoid(nodule, tissue.calcium * float(rng.uniform(0.7, 1.25)), calcium=True)
            placed += float(4.19 * axes.prod())


def _angle(root: Root, cusp: int, place: float) -> float:
    """Angle of a relative place in a cusp; the inverse of Root.cusp_place."""
    towards = root.commissure[cusp] if place > 0 else root.commissure[cusp - 1]
    gap = turned(towards, root.hinge[cusp])
    return float(root.hinge[cusp] + abs(place) * gap)
