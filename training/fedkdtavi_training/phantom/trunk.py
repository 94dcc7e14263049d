"""The trunk's layers: skin, fat, muscle, ribs and what fills the cavity before organs are laid in."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .canvas import Canvas
from .context import ContextParameters
from .habitus import Habitus
from .shapes import Ellipsoid, smooth_union
from .smooth import SmoothGrid

# Height, centre (x about the midline, y), half widths of the tissue between the lungs, above and behind the heart.
_COLUMN = np.array(
    [
        (-110, -2, -50, 30, 30),
        (-60, 0, -46, 28, 30),
        (0, 0, -42, 28, 30),
        (40, -2, -22, 38, 44),
        (70, 0, -22, 32, 42),
        (100, 2, -26, 28, 36),
        (130, 0, -40, 31, 26),
        (160, 0, -52, 38, 24),
        (190, 0, -55, 50, 30),
    ],
    float,
)


@dataclass
class Trunk:
    """Signed distances (mm) of a patient's large compartments at any points; built once per patient."""

    p: ContextParameters
    habitus: Habitus
    column_scale: float
    front_width: float

    @classmethod
    def build(cls, p: ContextParameters, rng: np.random.Generator) -> Trunk:
        """Sample what ContextParameters leave open."""
        return cls(p, Habitus.build(p, rng), float(rng.uniform(0.65, 1.1)), float(rng.uniform(1.0, 14.0)))

    def mediastinum(self, points: np.ndarray) -> np.ndarray:
        """(..., 3) -> (...) mm: the tissue between the lungs."""
        p, x, y, z = self.p, points[..., 0], points[..., 1], points[..., 2]
        table = np.array([np.interp(np.arange(-600, 500), _COLUMN[:, 0], _COLUMN[:, c]) for c in range(1, 5)])
        table[2:] *= self.column_scale
        row = np.clip((z + 600).astype(np.int32), 0, table.shape[1] - 1)
        cx, cy, a, b = (t.astype(np.float32)[row] for t in table)
        dx, dy = x - p.midline * np.float32(0.7) - cx, y - cy
        ring = np.sqrt((dx / a) ** 2 + (dy / b) ** 2) + 1e-3
        column = np.sqrt(dx * dx + dy * dy) * (1 - 1 / ring)
        behind = np.sqrt((x - p.midline) ** 2 + (y + 98) ** 2) - 27
        out = smooth_union(column, behind, 12.0)
        # The pleurae nearly touch in front of the great vessels, behind the sternum.
        middle = np.abs(x - np.float32(0.6 * p.midline))
        strip = np.maximum(middle - np.float32(self.front_width) - np.maximum(y - 30, 0) * np.float32(0.25), -20 - y)
        out = np.minimum(out, np.maximum(strip, -90 - z))
        return smooth_union(out, self.sac(points), 10.0)

    def sac(self, points: np.ndarray) -> np.ndarray:
        """(..., 3) -> (...) mm: an ellipsoid about the average heart and its fat."""
        along = np.array([-0.80, 0.36, -0.48], np.float32)
        relative = points - np.array([-2, -3, -14], np.float32)
        axial = relative @ along
        aside = np.sqrt(np.maximum((relative * relative).sum(-1) - axial * axial, 0))
        size = self.p.sac_scale
        a, b = np.float32(60 * size + self.p.sac_grow), np.float32(47 * size + self.p.sac_grow)
        ring = np.sqrt((axial / a) ** 2 + (aside / b) ** 2) + 1e-3
        return np.sqrt(axial * axial + aside * aside) * (1 - 1 / ring)

    def diaphragm(self, points: np.ndarray) -> np.ndarray:
        """(..., 3) -> (...) mm above the diaphragm, negative in the abdomen."""
        p, x, y = self.p, points[..., 0] - np.float32(self.p.midline), points[..., 1]
        top = np.full(x.shape, -1e3, np.float32)
        for side, height in ((1, p.dome_right), (-1, p.dome_left)):
            from_peak = ((x - side * 66 * p.width) / (84 * p.width)) ** 2 + ((y + 22) / (88 * p.depth)) ** 2
            top = np.maximum(top, np.float32(height) - 62 * from_peak * np.sqrt(from_peak))
        tendon = np.float32(0.5 * (p.dome_right + p.dome_left) - 14) - 0.012 * (x * x + (y - 10) ** 2)
        top = -smooth_union(-top, -tendon, 14.0)
        return (points[..., 2] - top) * np.float32(0.8)

    def cavity(self, points: np.ndarray) -> np.ndarray:
        """(..., 3) -> (...) mm: inside of rib cage and abdominal wall."""
        return self.habitus.distance(points, "cavity")

    def lung(self, points: np.ndarray) -> np.ndarray:
        """(..., 3) -> (...) mm: both lungs."""
        return np.maximum.reduce([self.cavity(points) + 2, -self.mediastinum(points), 1 - self.diaphragm(points)])


@dataclass
class TrunkFields:
    """A trunk's distances at the knots of one canvas."""

    grid: SmoothGrid
    cavity: np.ndarray
    muscle: np.ndarray
    skin: np.ndarray
    mediastinum: np.ndarray
    diaphragm: np.ndarray

    @classmethod
    def of(cls, canvas: Canvas, trunk: Trunk) -> TrunkFields:
        """Evaluate ``trunk`` for ``canvas``."""
        grid = SmoothGrid(canvas)
        index, radius = trunk.habitus.index(grid.points)
        cavity, muscle, skin = (
            radius - getattr(trunk.habitus, name).ravel()[index] for name in ("cavity", "muscle", "skin")
        )
        return cls(grid, cavity, muscle, skin, trunk.mediastinum(grid.points), trunk.diaphragm(grid.points))


def paint_layers(canvas: Canvas, trunk: Trunk, fields: TrunkFields, rng: np.random.Generator) -> None:
    """Skin, subcutaneous fat, muscle streaked with fat, ribs, and fat inside the cavity."""
    p, grid, t = trunk.p, fields.grid, trunk.p.tissue
    streaks = rng.uniform(0, 25)
    gland = rng.uniform(0, 60) if p.breast_mm > 8 else 0.0
    grid.fill(fields.skin, 25.0)
    grid.fill(fields.skin + rng.uniform(1.2, 2.5), t["fat"], texture=4 + 0.5 * p.noise)
    if gland:
        _paint_glands(canvas, trunk, gland, rng)
    grid.fill(fields.muscle, t["muscle"] - 0.5 * streaks, texture=streaks + p.noise)
    _paint_fat_planes(canvas, trunk, fields, rng)
    grid.fill(fields.cavity, t["fat"], texture=5.0)
    _paint_ribs(canvas, trunk, fields, rng)


def _paint_glands(canvas: Canvas, trunk: Trunk, strength: float, rng: np.random.Generator) -> None:
    p, t = trunk.p, trunk.p.tissue
    for side in (1, -1):
        center = trunk.habitus.surface(np.pi / 2 + side * p.breast_turn, p.breast_z, "muscle", 0.35 * p.breast_mm)
        axes = np.array([0.9, 0.45, 0.9]) * p.breast_mm * rng.uniform(0.5, 0.9)
        region = canvas.region(center - axes, center + axes)
        if region is None:
            continue
        inside = (((canvas.points[region] - center.astype(np.float32)) / axes.astype(np.float32)) ** 2).sum(-1)
        veil = np.clip(0.3 + 0.5 * canvas.texture[region], 0, 1) * np.clip(1.5 - 1.5 * inside, 0, 1)
        canvas.paint(region, veil, t["fat"] + 2 * strength)


def _paint_fat_planes(canvas: Canvas, trunk: Trunk, fields: TrunkFields, rng: np.random.Generator) -> None:
    """Fat between the layers of the chest wall and in the armpits."""
    share = rng.uniform(0.3, 1.0)
    middle = np.abs(0.45 * fields.muscle - 0.55 * (fields.cavity - 10))
    thick = rng.uniform(0.5, 2.5) + 0.03 * trunk.p.fat_mm
    wall = np.maximum.reduce([middle - thick, fields.muscle + 4, 12 - fields.cavity])
    fields.grid.fill(wall, trunk.p.tissue["fat"], opacity=float(share))
    size = rng.uniform(0.5, 1.2) * np.array([15.0, 26, 42])
    for turn in (-0.1, np.pi + 0.1):
        center = trunk.habitus.surface(turn % (2 * np.pi), trunk.p.apex_z - rng.uniform(45, 75), "cavity", 12 + size[0])
        armpit = Ellipsoid(center, size, np.eye(3))
        canvas.ellipsoid(armpit, trunk.p.tissue["fat"], opacity=0.9, softness=6.0, texture=35.0)


def _paint_ribs(canvas: Canvas, trunk: Trunk, fields: TrunkFields, rng: np.random.Generator) -> None:
    """Twelve pairs: bone with marrow behind, cartilage in front, in coordinates of the wall (depth, angle, height)."""
    p, t, habitus = trunk.p, trunk.p.tissue, trunk.habitus
    spacing = (p.apex_z + 100) / 11.5
    half_height, half_depth = rng.uniform(5.0, 7.5), rng.uniform(3.2, 4.6)
    marrow, shell = rng.uniform(80, 300), rng.uniform(0.35, 0.9)
    calcified = rng.uniform(0, 250) if rng.random() < 0.5 else 0.0
    # Angle from the back up to which a rib is bone, and up to which it exists at all.
    bone_to = np.array([2.55, 2.5, 2.45, 2.4, 2.35, 2.3, 2.25, 2.15, 2.05, 1.9, 1.25, 0.85], np.float32)
    ends_at = np.array([2.9, 3.0, 3.0, 3.0, 3.0, 3.0, 2.95, 2.85, 2.7, 2.5, 1.25, 0.85], np.float32)
    z = fields.grid.points[..., 2]
    near = (fields.cavity < 14) & (fields.cavity > -6) & (z < p.apex_z + 10) & (z > -185)
    for region in fields.grid.slabs(near):
        depth = fields.grid.up(fields.cavity, region)
        chosen = np.nonzero((depth > -3) & (depth < 13))
        points, depth = canvas.points[region][chosen], depth[chosen]
        index, _ = habitus.index(points)
        running = habitus.rib.ravel()[index]
        number = np.clip(np.rint(running), 0, 11).astype(np.int32)
        turn = np.arctan2(points[..., 1] + np.float32(38), points[..., 0] - np.float32(p.midline))
        back = np.abs((turn + np.float32(1.5 * np.pi)) % np.float32(2 * np.pi) - np.float32(np.pi))
        bone, exists = back < bone_to[number], back < ends_at[number]
        aside = (running - number) * np.float32(0.85 * spacing)
        ring = np.sqrt((aside / np.float32(half_height)) ** 2 + ((depth - 4.5) / np.float32(half_depth)) ** 2)
        distance = (ring - 1) * np.float32(half_depth)
        distance = np.where(exists, distance, np.float32(50))
        alpha = np.zeros(canvas.hu[region].shape, np.float32)
        alpha[chosen] = canvas.coverage(distance)
        core = np.clip(-distance / np.float32(1.4 + canvas.voxel * 0.3), 0, 1)
        hu = np.where(bone, t["cortical"] * shell * (1 - core) + marrow * core, t["cartilage"] + calcified * (1 - core))
        value = np.zeros_like(alpha)
        value[chosen] = hu
        canvas.paint(region, alpha, value, texture=15.0)
