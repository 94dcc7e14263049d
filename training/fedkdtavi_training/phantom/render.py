"""From a seed to a CT: one anatomy renders dense crops around the root and whole chests (the product's way)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fedkdtavi_core import fine, schema
from fedkdtavi_core.volume import Grid

from . import elsewhere
from .canvas import Canvas, Pose, Warp
from .chest import paint_after, paint_before
from .context import ContextParameters
from .coronaries import (
    Vessel,
    coronary_mask,
    hidden_ostia,
    paint_coronaries,
    paint_decoys,
    paint_sleeves,
    sample_coronaries,
)
from .heart import Heart, paint_heart
from .root import Root
from .scanner import ScannerStyle, degrade, simulate_acquisition
from .shapes import Ellipsoid, frame, rotation_about
from .tissue import Tissue
from .valve import Valve, paint_calcium, paint_root

KINDS = ("heart", "noheart", "truncated", "prosthesis", "bicuspid", "low_ostia", "noncontrast")


@dataclass
class Anatomy:
    """One virtual patient."""

    root: Root
    valve: Valve
    heart: Heart
    vessels: list[Vessel]
    tissue: Tissue
    pose: Pose

    @classmethod
    def sample(cls, rng: np.random.Generator, kind: str = "heart", *, turn_deg: float = 14.0) -> Anatomy:
        """Draw a patient; ``kind`` is one of KINDS, ``turn_deg`` the spread of the body's orientation."""
        root = Root.sample(rng, low_ostia=kind == "low_ostia", bicuspid=kind == "bicuspid" or rng.random() < 0.05)
        valve = Valve.sample(rng, prosthesis=kind == "prosthesis")
        heart = Heart.sample(rng, root)
        vessels = sample_coronaries(rng, root, heart)
        tissue = Tissue.sample(rng, contrast=kind != "noncontrast")
        rotation = rotation_about(rng.normal(size=3), np.radians(rng.normal(0, turn_deg)))
        scale = float(np.clip(rng.lognormal(0, 0.1), 0.75, 1.3))
        pose = Pose(rotation, scale, np.zeros(3), Warp.sample(rng, float(rng.uniform(0, 3.0))))
        return cls(root, valve, heart, vessels, tissue, pose)

    def points(self) -> dict[str, np.ndarray]:
        """Every landmark, (3,) RAS mm, where the pose and its warp put it."""
        return {name: self.pose.to_ras(place) for name, place in self.root.landmarks().items()}

    def centre(self) -> np.ndarray:
        """(3,) RAS mm: the middle of the hinge points, 8 mm along the axis; what a crop is centred on."""
        centre = fine.root_center(self.points())
        assert centre is not None, "a root has three hinge points"
        return centre

    def truth(self) -> dict[str, Any]:
        """What an answer key holds beside the points: normal (3,), annulus area mm^2, contour (N, 3) RAS mm."""
        points = self.points()
        hinges = np.array([points[name] for name in schema.HINGE_IDS])
        normal = plane_normal(hinges)
        contour = self.pose.to_ras(self.root.annulus_contour())
        spokes = contour - contour.mean(axis=0)
        area = 0.5 * abs(float(np.cross(spokes, np.roll(spokes, -1, axis=0)).sum(axis=0) @ normal))
        return {"plane_normal": normal.tolist(), "annulus_area_mm2": area, "annulus_contour": contour.tolist()}


@dataclass
class Crop:
    """A dense crop around a root: HU, its grid, landmarks in RAS mm, calcium and heart classes on the same grid."""

    hu: np.ndarray
    grid: Grid
    points: dict[str, np.ndarray | None]
    calc: np.ndarray
    heart: np.ndarray
    info: dict[str, Any] = field(default_factory=dict)
    coronary: np.ndarray | None = None


def plane_normal(hinges: np.ndarray) -> np.ndarray:
    """(3, 3) hinge points R, L, N -> unit normal towards the aorta (they run counter-clockwise seen from there)."""
    normal = np.cross(hinges[1] - hinges[0], hinges[2] - hinges[0])
    return normal / np.linalg.norm(normal)


def paint_patient(canvas: Canvas, anatomy: Anatomy, rng: np.random.Generator) -> None:
    """Heart, root, valve and coronary arteries, in the order in which they cover each other."""
    paint_heart(canvas, anatomy.root, anatomy.heart, anatomy.tissue, rng)
    paint_sleeves(canvas, anatomy.vessels, anatomy.tissue, rng)
    paint_decoys(canvas, anatomy.root, anatomy.tissue, rng)
    paint_root(canvas, anatomy.root, anatomy.valve, anatomy.tissue, rng)
    paint_coronaries(canvas, anatomy.vessels, anatomy.tissue, rng)
    paint_calcium(canvas, anatomy.root, anatomy.valve, anatomy.tissue, rng)


def render_crop(
    seed: int | list[int],
    style: ScannerStyle | None = None,
    *,
    size: int = 96,
    spacing: float = 1.25,
    kind: str = "heart",
    turn_deg: float = 14.0,
    coronary: bool = False,
) -> Crop:
    """Render the root of the patient ``seed`` on a cube of ``size`` voxels of ``spacing`` mm.

    Without ``style`` the picture is that of an ideal scanner; training degrades it anew each time. ``coronary``: also
    label the arteries that can be seen; nothing else changes.
    """
    rng = np.random.default_rng(seed)
    anatomy = Anatomy.sample(rng, kind, turn_deg=turn_deg)
    origin = anatomy.centre() - (size - 1) / 2 * spacing
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:3, 3] = origin
    canvas = Canvas(Grid((size, size, size), affine), anatomy.pose, rng, background_hu=anatomy.tissue.lung)
    context = _paint_surroundings(canvas, anatomy, rng)
    paint_patient(canvas, anatomy, rng)
    if context is not None:
        paint_after(canvas, rng, context)
    hu = canvas.hu
    if style is not None:
        hu = degrade(hu, np.full(3, spacing), style, rng)
    return Crop(
        np.clip(np.rint(hu), -1024, 3071).astype(np.int16),
        canvas.grid,
        dict(anatomy.points()),
        (canvas.calcium > 0.5).astype(np.uint8),
        canvas.heart,
        {"kind": kind, "left_blood_hu": anatomy.tissue.left_blood, "calcium_hu": anatomy.tissue.calcium}
        | anatomy.truth(),
        coronary_mask(canvas, anatomy.vessels) if coronary else None,
    )


@dataclass
class Chest:
    """A CT of a whole chest, or of less: HU (i, j, k), affine to RAS mm, landmarks, calcium, heart classes, truth."""

    hu: np.ndarray
    affine: np.ndarray
    points: dict[str, np.ndarray | None]
    calc: np.ndarray
    heart: np.ndarray
    info: dict[str, Any] = field(default_factory=dict)

    @property
    def grid(self) -> Grid:
        """The grid of the voxels."""
        return Grid(tuple(int(n) for n in self.hu.shape), self.affine)


def render_chest(
    seed: int | list[int],
    spacing: float = 4.0,
    style: ScannerStyle | None = None,
    *,
    kind: str = "heart",
    own_grid: bool = False,
) -> Chest:
    """Render what a scanner sees of the patient ``seed``.

    Args:
        seed: everything follows from it (and from ``style``).
        spacing: mm of the isotropic canvas that is painted.
        style: the scanner; None: an ideal one on the canvas' own grid.
        kind: one of KINDS. ``noheart`` shows another part of the body, ``truncated`` ends before or in the root.
        own_grid: give the CT on the style's own pixels and slices instead of the canvas'.

    Landmarks outside the CT are None, and ostia of arteries that cannot be seen.
    """
    rng = np.random.default_rng(seed)
    anatomy = Anatomy.sample(rng, kind if kind != "noheart" else "heart", turn_deg=9.0)
    low, high = _field_of_view(rng, anatomy, kind)
    shape = tuple(int(n) for n in np.maximum(np.ceil((high - low) / spacing), 8))
    affine = np.diag([spacing] * 3 + [1.0])
    affine[:3, 3] = low
    canvas = Canvas(Grid(shape, affine), anatomy.pose, rng)
    if kind == "noheart":
        elsewhere.paint_elsewhere(canvas, rng, str(rng.choice(elsewhere.KINDS)))
    else:
        context = _context(rng, anatomy)
        paint_before(canvas, rng, context)
        paint_patient(canvas, anatomy, rng)
        paint_after(canvas, rng, context)
    points: dict[str, np.ndarray | None] = dict.fromkeys(anatomy.points()) if kind == "noheart" else anatomy.points()
    info = {"kind": kind, "has_root": kind not in ("noheart", "truncated"), "left_blood_hu": anatomy.tissue.left_blood}
    if kind != "noheart":
        info |= anatomy.truth() | {"centre": anatomy.centre().tolist()}
    hu, calc, heart, grid = canvas.hu, canvas.calcium, canvas.heart, canvas.grid
    if style is not None:
        centre = None if kind == "noheart" else anatomy.centre() - low
        scan = simulate_acquisition(
            hu, np.full(3, spacing), style, rng, center_mm=centre, output_spacing=None if own_grid else spacing
        )
        hu, calc, heart = scan.hu, scan.fraction(calc), scan.nearest(heart)
        grid = Grid(tuple(hu.shape), scan.affine(affine))
    hidden = hidden_ostia(anatomy.vessels, anatomy.root, hu, grid, anatomy.pose.to_ras)
    seen = {n: p if p is not None and n not in hidden and grid.contains(p) else None for n, p in points.items()}
    hu = np.clip(np.rint(hu), -1024, 3071).astype(np.int16)
    return Chest(hu, grid.affine, seen, (calc > 0.5).astype(np.uint8), heart, info)


def _field_of_view(rng: np.random.Generator, anatomy: Anatomy, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Low and high corner (RAS mm): a whole chest, a chest with abdomen, or a gated scan of the heart alone."""
    centre = anatomy.pose.to_ras(np.array([0.0, -15.0, 0.0]))
    what = rng.random()
    if what < 0.45:  # chest
        half, down, up = (
            np.array([rng.uniform(165, 215), rng.uniform(125, 165)]),
            rng.uniform(60, 190),
            rng.uniform(90, 190),
        )
    elif what < 0.85:  # heart
        half, down, up = (
            np.array([rng.uniform(80, 150), rng.uniform(75, 130)]),
            rng.uniform(45, 110),
            rng.uniform(45, 110),
        )
        centre = centre + np.append(rng.normal(0, 12, 2), 0) + np.array([-10.0, 10.0, 0.0])
    else:  # from the chest down
        half, down, up = (
            np.array([rng.uniform(165, 215), rng.uniform(125, 165)]),
            rng.uniform(190, 330),
            rng.uniform(60, 160),
        )
    if kind == "truncated":
        if rng.random() < 0.6:
            down = -rng.uniform(2, 45)  # ends above the annulus
        else:
            up = -rng.uniform(2, 40)  # ends below it
            down = max(down, 90.0)
    low = np.array([centre[0] - half[0], centre[1] - half[1], -down])
    return low, np.array([centre[0] + half[0], centre[1] + half[1], up])


def _context(rng: np.random.Generator, anatomy: Anatomy) -> ContextParameters:
    heart, tissue = anatomy.heart, anatomy.tissue
    return ContextParameters.sample(
        rng,
        left_blood_hu=tissue.aorta,
        right_blood_hu=tissue.right_atrium,
        superior_cava_hu=tissue.vena_cava,
        lung_hu=tissue.lung,
        arch_start=heart.aorta[-1],
        arch_direction=heart.aorta[-1] - heart.aorta[-3],
        arch_radius=float(heart.aorta_radii[-1]),
        enclose=(heart.apex() + heart.wall_mm * heart.ventricle_axis, heart.right_ventricle.center + [0, 28, 0]),
    )


def _paint_surroundings(canvas: Canvas, anatomy: Anatomy, rng: np.random.Generator) -> ContextParameters | None:
    """A chest, or in a third of the cases random soft tissue: networks must not lean on what lies around."""
    if rng.random() < 0.67:
        context = _context(rng, anatomy)
        paint_before(canvas, rng, context)
        return context
    whole = (slice(None),) * 3
    filling = float(rng.choice([-90.0, 20.0, 60.0, 300.0]))
    canvas.paint(whole, canvas.coverage(5 * canvas.texture - rng.uniform(-4, 4)), filling, texture=10.0)
    for _ in range(int(rng.integers(0, 14))):
        blob = Ellipsoid(rng.normal(0, 40, 3), rng.uniform(5, 30, 3), frame(rng.normal(size=3), rng.normal(size=3)))
        canvas.ellipsoid(blob, float(rng.uniform(-120, 700)))
    return None
