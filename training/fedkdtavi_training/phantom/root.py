"""The aortic root: left ventricular outflow tract, annulus, cusps and their attachment, sinuses, junction.

Cylinder coordinates of the root: height ``h`` (mm) along the axis from the annulus plane towards the aorta, angle
``theta`` (rad) counter-clockwise seen from the aorta, 0 at the hinge point of the right coronary cusp. The cusps'
attachment begins in the plane h = 0; the hinge points are the lowest places of their pockets' floors, less than 1 mm
above it. Sizes and angles follow the published populations named beside them, and are sampled wider than these,
because what is learned has to hold outside any one population.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .shapes import frame, rotation_about, turned

CUSPS = ("rcc", "lcc", "ncc")
# On the four real CTs read here the lumen's edge is 4 to 9 mm farther out 2 to 4 mm above the right and non-coronary
# cusps' attachment, 2 to 5 mm at the left one's: pockets have a floor. With walls that only lean outwards (2 to 3 mm
# there) a network put these hinge points on the floor's inner edge, the readers on the floor itself.
FLOOR_MM = ((5.5, 2.5), (2.0, 1.8), (5.0, 2.2))  # mean, SD per cusp: R, L, N
HINGE_ON_FLOOR = 0.4  # share of the floor's width at which readers mark a cusp's lowest place, from its inner edge
OSTIUM_IN_WALL_MM = 1.0  # half a wall, 1.2 to 2.6 mm thick here


@dataclass(frozen=True)
class Pocket:
    """Where the right ventricle's outflow lies against the root under the right cusp, with the septum's tip between.

    Attributes:
        angle: rad, its middle.
        half_width: rad.
        top: mm above the annulus plane.
        depth: mm outwards.
    """

    angle: float
    half_width: float
    top: float
    depth: float

    @classmethod
    def sample(cls, rng: np.random.Generator) -> Pocket:
        """A choice, made on long-axis views through the right cusp's hinge point of four real CTs."""
        return cls(
            angle=float(rng.normal(0.2, 0.25)),
            half_width=float(rng.uniform(0.4, 0.85)),
            top=float(rng.uniform(-2.0, 11.0)),
            depth=float(rng.uniform(8.0, 24.0)),
        )

    def distance(self, theta: np.ndarray, rho: np.ndarray, h: np.ndarray) -> np.ndarray:
        """Signed distance (mm, negative inside) to its sides and its top."""
        aside = np.abs(turned(theta, self.angle)) - self.half_width
        return np.maximum(aside * rho, h - self.top)


@dataclass
class Root:
    """Sampled shape of one root. Angles in rad, lengths in mm, positions in anatomical RAS mm."""

    axes: np.ndarray  # (3, 3) columns: direction theta = 0, direction theta = 90 degrees, axis n
    hinge: np.ndarray  # (3,) angles of the hinge points
    commissure: np.ndarray  # (3,) angles: between R-L, L-N, N-R
    commissure_height: np.ndarray  # (3,)
    junction_height: float
    semi_axes: np.ndarray  # (4, 2) at heights `levels`
    levels: np.ndarray  # (4,) outflow tract, annulus, junction, ascending
    ellipse_angle: float
    bulge: np.ndarray  # (3,) depth of each sinus beyond the base radius
    sinus_power: float  # how the sinuses rise from the hinge points: flat and round (0.6), or straight and steep (1.2)
    floor: np.ndarray  # (3,) mm from each cusp's lowest attachment outwards to the sinus' wall: its pocket's floor
    floor_rise: float  # mm of height over which the floor turns into the wall
    attachment_power: float
    ostium_angle: dict[str, float]
    ostium_height: dict[str, float]
    septum_angle: float
    septum_upper: float
    septum_lower: float
    septum_width: float
    shelf: float  # mm the muscular septum stands into the outflow tract under the right cusp
    shelf_angle: float
    shelf_width: float  # rad
    shelf_ramp: float  # mm below the hinge points over which it comes out: a sharp shoulder, or a slope
    shelf_end: float  # mm below the hinge points where it has gone back into the ventricle's wall
    waist: float  # mm the outflow tract is narrower than the annulus, all around
    waist_depth: float  # mm below the hinge points where it is narrowest
    septum_start: float  # mm below the hinge points where the muscular septum begins: above it the wall alone
    septum_wedge: float  # mm the septum grows thicker on its outer side per mm below the hinge points
    septum_tip: float  # mm of wall or muscle between the hinge point and what lies outside
    pocket: Pocket | None  # the right ventricle's outflow, where it comes close
    lean: np.ndarray  # (2,) mm the root's middle moves sideways per mm of height above the annulus
    fused: int | None = None  # index of the commissure that is a raphe in a bicuspid valve

    @classmethod
    def sample(cls, rng: np.random.Generator, *, low_ostia: bool = False, bicuspid: bool = False) -> Root:
        """Draw a root; ``low_ostia`` and ``bicuspid`` force these special cases."""
        tilt = np.radians(np.clip(rng.normal(41, 15), 5, 80))  # root angulation, 49 +- 9 degrees; here of the axis
        turn = np.radians(rng.normal(6, 16))
        n = np.array([np.sin(tilt) * np.cos(turn), np.sin(tilt) * np.sin(turn), np.cos(tilt)])
        axes = rotation_about(n, np.radians(rng.normal(0, 18))) @ frame(n, (0.05, 1.0, -0.1))
        # Central angles between hinge points R-L, L-N, N-R: 108 +- 14, 137 +- 18, 115 +- 14 degrees as published, but
        # 125, 124, 110 on the four real CTs read here. Made to add up to 360, they keep about 0.7 of this spread.
        gaps = np.clip(rng.normal([115, 130, 115], [19, 20, 18]), 74, 180)
        gaps *= 360 / gaps.sum()
        hinge = np.radians(np.cumsum([0, gaps[0], gaps[1]]))
        gaps = np.radians(gaps)
        # Not half-way: on three of four real CTs a network that had learned 6 degrees here put the right cusp's hinge
        # point in the cusp's middle, 15 to 25 degrees from its lowest place.
        commissure = hinge + gaps / 2 + np.radians(np.clip(rng.normal(0, 13, 3), -28, 28))
        septum_rng, shape_rng, floor_rng = rng.spawn(3)  # what `rng` draws stays what it was without them
        radius = np.clip(rng.normal(12.4, 1.9), 8.5, 17.5)  # annulus diameter 23 to 26 +- 2.7
        ratio = np.clip(rng.normal(1.25, 0.11), 1.02, 1.6)
        outflow = radius * np.clip(rng.normal(0.98, 0.09), 0.75, 1.25)
        outflow_ratio = np.clip(ratio + rng.normal(0.15, 0.12), 1.02, 1.9)
        junction = radius * np.clip(rng.normal(1.13, 0.12), 0.9, 1.6)
        ascending = junction * np.clip(rng.normal(1.05, 0.1), 0.85, 1.5)
        height = radius * np.clip(rng.normal(1.65, 0.2), 1.15, 2.3)  # junction height 1.69 +- 0.18 radii
        sinus = radius * np.clip(rng.normal(1.5, 0.15, 3) + rng.normal(0, 0.1), 1.12, 2.1)
        floor = np.clip([floor_rng.normal(mean, sd) for mean, sd in FLOOR_MM], 0.0, 9.0)
        floor = np.minimum(floor * (floor_rng.random() > 0.12), 0.6 * radius)
        # The ring through the hinge points keeps the published size: between them it is narrower by that.
        inner = radius - HINGE_ON_FLOOR * float(floor.mean())
        base_at_sinus = 0.5 * (inner + junction)

        ramp, end = float(np.exp(septum_rng.uniform(np.log(0.6), np.log(9.0)))), float(septum_rng.uniform(13.0, 20.0))
        wedge = float(septum_rng.uniform(0.0, 1.0))
        # On real CTs the septum is a wedge with the right ventricle's blood behind it. Its tip is at the right cusp's
        # hinge point or up to 5 mm below: readers of four CTs set that point on the wall above the tip.
        pocket = Pocket.sample(septum_rng) if septum_rng.random() < 0.65 else None
        tip = 5.0 if pocket is None else float(septum_rng.uniform(0.8, 4.5))
        if pocket is not None:
            wedge = float(septum_rng.uniform(0.3, 1.2))

        # On real CTs the wall often runs from the sinus through the hinge point on to a narrowest place some
        # millimetres below it; with a corner at each hinge point a network learned to look for the narrowest place.
        start = 0.0 if shape_rng.random() < 0.25 else float(shape_rng.uniform(0.0, 5.5))
        waist = 0.0 if shape_rng.random() < 0.35 else float(shape_rng.uniform(0.5, 3.0))

        def pair(mean: float, quotient: float) -> list[float]:
            return [mean * np.sqrt(quotient), mean / np.sqrt(quotient)]

        commissure_height = height * np.clip(rng.normal(0.93, 0.06, 3), 0.75, 1.05)
        upper = np.clip(rng.normal(4.5, 2.3), -1.0, 10)  # Mori 2018
        lower = -np.clip(rng.normal(2.1, 2.1), -2.0, 8)
        if upper - lower < 2.5:
            upper = lower + 2.5
        ostia_height = {
            "lca": float(np.clip(rng.normal(15.0, 3.8), 5.0, height + 5)),  # Stolzmann 2009, wider
            "rca": float(np.clip(rng.normal(16.5, 4.3), 5.0, height + 7)),
        }
        if low_ostia:
            ostia_height[str(rng.choice(["lca", "rca"]))] = float(rng.uniform(4.0, 9.0))
        return cls(
            axes=axes,
            hinge=hinge,
            commissure=commissure,
            commissure_height=commissure_height,
            junction_height=float(height),
            semi_axes=np.array(
                [pair(outflow, outflow_ratio), pair(inner, ratio), pair(junction, 1.03), pair(ascending, 1.05)]
            ),
            levels=np.array([-14.0, 0.0, height, height + 16.0]),
            ellipse_angle=float(rng.normal(1.2, 0.5)),
            bulge=np.maximum(sinus - base_at_sinus - 0.5 * floor, 1.0),  # a floor is part of that width
            sinus_power=float(shape_rng.uniform(0.6, 1.2)),
            floor=floor,
            floor_rise=float(floor_rng.uniform(1.0, 5.0)),
            attachment_power=float(rng.uniform(1.5, 2.4)),
            # The right ostium lies about 45 degrees from the N-R commissure, the left about mid-sinus (SD 8-10).
            ostium_angle={
                "rca": float(hinge[0] - np.radians(rng.normal(9, 14))),
                "lca": float(hinge[1] + np.radians(rng.normal(-2, 13))),
            },
            ostium_height=ostia_height,
            septum_angle=float(commissure[2] + np.radians(rng.normal(0, 7))),
            septum_upper=float(upper),
            septum_lower=float(lower),
            septum_width=float(np.clip(rng.normal(10.2, 3.1), 5, 18)),
            # On real CTs the right cusp hinges on the outer corner of a shelf: the septum begins farther inside.
            shelf=float(rng.choice([0.0, rng.uniform(1, 4), rng.uniform(3, 9)], p=[0.08, 0.32, 0.6])),
            shelf_angle=float(rng.normal(0.0, 0.3)),  # on the four real CTs its middle lies at -15 to 0 degrees
            shelf_width=float(rng.uniform(0.5, 1.0)),
            shelf_ramp=ramp,
            shelf_end=end,
            waist=waist,
            waist_depth=float(shape_rng.uniform(2.5, 8.0)),
            septum_start=start,
            septum_wedge=wedge,
            septum_tip=tip,
            pocket=pocket,
            # The commissures' plane is tilted by 8.6 +- 5 degrees against that of the hinge points.
            lean=rng.normal(0, 0.2, 2),
            fused=int(rng.integers(0, 3)) if bicuspid else None,
        )

    @property
    def axis(self) -> np.ndarray:
        """(3,) unit normal of the annulus plane, towards the aorta."""
        return self.axes[:, 2]

    @property
    def hinge_height(self) -> float:
        """Height (mm) of the hinge points: there the rounded floor is ``HINGE_ON_FLOOR`` of its width wide."""
        return self.floor_rise * (1 - np.sqrt(1 - HINGE_ON_FLOOR**2))

    @property
    def radius(self) -> float:
        """Mean radius of the annulus between the hinge points."""
        return float(np.sqrt(self.semi_axes[1].prod()))

    def direction(self, theta: float) -> np.ndarray:
        """(3,) unit vector in the annulus plane at angle ``theta``."""
        return np.cos(theta) * self.axes[:, 0] + np.sin(theta) * self.axes[:, 1]

    def place(self, theta: float, h: float, beyond: float = 0.0) -> np.ndarray:
        """(3,) position on the lumen's edge at ``theta``, ``h``, moved ``beyond`` mm outwards."""
        rho = float(self.lumen_radius(np.array(theta), np.array(h))) + beyond
        return rho * self.direction(theta) + self.middle(h)

    def middle(self, h: float) -> np.ndarray:
        """(3,) middle of the lumen at height ``h``."""
        return h * self.axis + max(h, 0.0) * (self.axes[:, :2] @ self.lean)

    def cylinder(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(..., 3) mm -> (rho, theta, h), float32."""
        local = points @ self.axes.astype(np.float32)
        h = local[..., 2]
        x, y = (local[..., i] - np.float32(self.lean[i]) * np.maximum(h, 0) for i in (0, 1))
        return np.hypot(x, y), np.arctan2(y, x), h

    def cusp_place(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Which cusp a direction belongs to (0 R, 1 L, 2 N) and where in it: -1..1 from commissure to commissure."""
        two_pi = 2 * np.pi
        start = self.commissure[2]
        t = np.mod(theta - start, two_pi)
        edges = np.mod(self.commissure[:2] - start, two_pi)
        cusp = (t >= edges[0]).astype(np.int8) + (t >= edges[1]).astype(np.int8)
        centre = np.mod(self.hinge - start, two_pi)
        low, high = np.array([0, edges[0], edges[1]]), np.array([edges[0], edges[1], two_pi])
        offset = t - centre[cusp]
        width = np.where(offset < 0, (centre - low)[cusp], (high - centre)[cusp])
        return cusp, np.clip(offset / width, -1, 1)

    def attachment_height(self, cusp: np.ndarray, place: np.ndarray) -> np.ndarray:
        """Height of the cusp's crown-shaped attachment: 0 at its hinge point, the commissures' at its ends."""
        after, before = self.commissure_height, np.roll(self.commissure_height, 1)
        height = np.where(place < 0, before[cusp], after[cusp])
        if self.fused is not None:  # the raphe reaches half the height of a true commissure
            touches = ((cusp == self.fused) & (place > 0)) | ((cusp == (self.fused + 1) % 3) & (place < 0))
            height = np.where(touches, 0.45 * height, height)
        return height * np.abs(place) ** self.attachment_power

    def shelf_depth(self, theta: np.ndarray, h: np.ndarray) -> np.ndarray:
        """How far (mm) septum and waist narrow the outflow tract: nothing at the hinge points, all of it below them.

        Farther down the wall of the ventricle takes over.
        """
        below = np.clip((-0.4 - self.septum_start - h) / self.shelf_ramp, 0, 1)
        below = below * np.clip((h + self.shelf_end) / 6.0, 0, 1)
        septum = np.minimum(self.shelf, 0.6 * self.radius) * self.shelf_share(theta) * below
        waist = np.clip((-0.4 - h) / self.waist_depth, 0, 1) * np.clip((h + 13.0) / 7.0, 0, 1)
        return np.minimum(septum + self.waist * waist, 0.65 * self.radius)

    def shelf_share(self, theta: np.ndarray) -> np.ndarray:
        """How much of the septum stands there around the root: 1 in its middle, falling off to both sides."""
        return np.exp(-0.5 * (turned(theta, self.shelf_angle) / self.shelf_width) ** 2)

    def lumen(self, theta: np.ndarray, h: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Distance of the lumen's edge from the axis (mm), with what the pocket's floor has to do with it.

        Returns:
            The distance, the floor's width in this direction (mm), and how much of that width the lumen has at height
            ``h``: 0 to 1, rounded, gone again at the junction. All of the shape of ``theta`` and ``h``.
        """
        a = np.interp(h, self.levels, self.semi_axes[:, 0])
        b = np.interp(h, self.levels, self.semi_axes[:, 1])
        turned = theta - self.ellipse_angle
        base = 1 / np.sqrt((np.cos(turned) / a) ** 2 + (np.sin(turned) / b) ** 2)
        cusp, place = self.cusp_place(theta)
        low = self.attachment_height(cusp, place)
        share = np.clip((h - low) / np.maximum(self.junction_height - low, 0.5), 0, 1)
        up = np.clip((h - low) / self.floor_rise, 0, 1)
        fade = np.cos(0.5 * np.pi * place) ** 0.9  # towards the commissures
        depth, floor = self.bulge[cusp] * fade, self.floor[cusp] * fade
        out = np.sqrt(1 - (1 - up) ** 2) * (1 - share**2)
        sinus = depth * np.sin(np.pi * share**self.sinus_power)
        return base + sinus + floor * out - self.shelf_depth(theta, h), floor, out

    def lumen_radius(self, theta: np.ndarray, h: np.ndarray) -> np.ndarray:
        """Distance of the lumen's edge from the axis (mm)."""
        return self.lumen(theta, h)[0]

    def leaflet_radius(self, theta: np.ndarray, h: np.ndarray) -> np.ndarray:
        """Distance from the axis (mm) at which the leaflets are attached: the floor's inner edge."""
        edge, floor, out = self.lumen(theta, h)
        return edge - floor * out

    def landmarks(self) -> dict[str, np.ndarray]:
        """Every landmark of the schema, (3,) anatomical mm."""
        points = {f"hinge_{name}": self.place(self.hinge[i], self.hinge_height) for i, name in enumerate(CUSPS)}
        for name in ("rca", "lca"):  # in the middle of the wall the artery leaves through: readers mark its mouth there
            points[f"ostium_{name}"] = self.place(self.ostium_angle[name], self.ostium_height[name], OSTIUM_IN_WALL_MM)
        points["ms_upper"] = self.place(self.septum_angle, self.septum_upper, 0.6)
        points["ms_lower"] = self.place(self.septum_angle, self.septum_lower, 0.6)
        return points

    def annulus_contour(self, count: int = 180) -> np.ndarray:
        """(count, 3) true edge of the lumen in the annulus plane."""
        theta = np.linspace(0, 2 * np.pi, count, endpoint=False)
        height = self.hinge_height
        radius = self.lumen_radius(theta, np.full(count, height))[:, None]
        spokes = np.cos(theta)[:, None] * self.axes[:, 0] + np.sin(theta)[:, None] * self.axes[:, 1]
        return radius * spokes + self.middle(height)
