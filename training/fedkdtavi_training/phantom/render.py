"""From a seed to a CT: one anatomy renders dense crops around the root (training) and whole chests (the product's way)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from fedkdtavi_core.volume import Grid

from .canvas import Canvas, Pose, Warp
from .coronaries import Vessel, paint_coronaries, paint_decoys, paint_sleeves, sample_coronaries
from .heart import Heart, paint_heart
from .root import Root
from .shapes import rotation_about
from .tissue import Tissue
from .valve import Valve, paint_calcium, paint_root

if TYPE_CHECKING:
    from .scanner import ScannerStyle

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
        points = self.points()
        hinges = np.array([points[f"hinge_{cusp}"] for cusp in ("rcc", "lcc", "ncc")])
        return hinges.mean(axis=0) + 8.0 * plane_normal(hinges)

    def truth(self) -> dict[str, Any]:
        """What an answer key holds beside the points: normal (3,), annulus area mm^2, contour (N, 3) RAS mm."""
        points = self.points()
        hinges = np.array([points[f"hinge_{cusp}"] for cusp in ("rcc", "lcc", "ncc")])
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
) -> Crop:
    """Render the root of the patient ``seed`` on a cube of ``size`` voxels of ``spacing`` mm.

    Without ``style`` the picture is that of an ideal scanner; training degrades it anew each time.
    """
    rng = np.random.default_rng(seed)
    anatomy = Anatomy.sample(rng, kind, turn_deg=turn_deg)
    origin = anatomy.centre() - (size - 1) / 2 * spacing
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:3, 3] = origin
    canvas = Canvas(Grid((size, size, size), affine), anatomy.pose, rng, background_hu=anatomy.tissue.lung)
    _paint_surroundings(canvas, anatomy, rng)
    paint_patient(canvas, anatomy, rng)
    hu = canvas.hu
    if style is not None:
        from .scanner import degrade

        hu = degrade(hu, np.full(3, spacing), style, rng)
    return Crop(
        np.clip(np.rint(hu), -1024, 3071).astype(np.int16),
        canvas.grid,
        dict(anatomy.points()),
        (canvas.calcium > 0.5).astype(np.uint8),
        canvas.heart,
        {"kind": kind, "left_blood_hu": anatomy.tissue.left_blood, "calcium_hu": anatomy.tissue.calcium}
        | anatomy.truth(),
    )


def _paint_surroundings(canvas: Canvas, anatomy: Anatomy, rng: np.random.Generator) -> None:
    """Lung with vessels, or a filling of random soft tissue: what lies around a heart varies."""
    if rng.random() < 0.3:
        filling = rng.choice([-90.0, 20.0, 60.0])
        canvas.paint((slice(None),) * 3, canvas.coverage(5 * canvas.texture - rng.uniform(-3, 4)), filling)
    tissue = anatomy.tissue
    low = float(rng.normal(-58, 8))  # diaphragm with liver or stomach under it
    canvas.shape(
        np.array([-200, -200, -200]),
        np.array([200, 200, low + 30]),
        lambda p: p[..., 2] - low - 0.15 * p[..., 0] * np.sign(rng.normal()),
        60.0,
        texture=8.0,
    )
    front = float(rng.normal(58, 8))
    canvas.shape(
        np.array([-200, front - 30, -200]),
        np.array([200, 200, 200]),
        lambda p: front + 0.2 * p[..., 2] - p[..., 1],
        20.0,
        texture=40.0,
    )
    back = np.array([float(rng.normal(-20, 6)), float(rng.normal(-70, 6)), 0.0])
    path = np.array([back + [0, 0, -90], back, back + [0, 4, 90]])
    canvas.tube(path, np.full(3, rng.uniform(9, 15)), tissue.aorta)
