"""Coronary arteries from the ostium on, with the fat they run in, funnels, plaques, and the blur of their motion."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fedkdtavi_core.volume import Grid

from .canvas import Canvas
from .heart import Heart
from .root import Root
from .shapes import Ellipsoid, frame, spline
from .tissue import Tissue

DISCERNIBLE = 0.3
"""Share of the aorta's contrast from which on a person sees an artery at all; a choice, made on pictures."""
STANDS_OUT = 0.15
"""Share of the aorta's contrast by which an artery has to be brighter than what lies around it; likewise."""
_MUSCLE_HU = 60.0
_BEHIND_MM = (2.5, 9.0)  # part of an artery behind its ostium that has to stand out


@dataclass
class Vessel:
    """One artery: ``path`` (N, 3) anatomical mm from the ostium on, ``radii`` (N,) mm."""

    path: np.ndarray
    radii: np.ndarray
    opacity: float
    ghost: np.ndarray | None  # (3,) offset of a second image, for a vessel that moved
    ostium: str | None = None  # landmark where it begins


def hidden_ostia(
    vessels: list[Vessel], root: Root, hu: np.ndarray, grid: Grid, to_ras: Callable[[np.ndarray], np.ndarray]
) -> set[str]:
    """Ostia of arteries that cannot be seen in a CT: nobody can place them, so they are in no label and in no answer.

    An artery is seen when behind its ostium it is brighter than what lies around it, by a share of the aorta's own
    contrast with muscle; faint, moved, thin for the slices, or beside a chamber as bright, it is not.
    Training crops keep them: where nothing is seen, a network shall learn the place that is likely, and to be unsure.

    Args:
        vessels, root: of the patient.
        hu, grid: the CT as the scanner made it.
        to_ras: anatomical mm -> RAS mm.
    """
    lumen = _values(hu, grid, to_ras(np.array([root.middle(h) for h in np.linspace(6, 18, 9)])))
    needed = STANDS_OUT * max(float(np.median(lumen)) - _MUSCLE_HU, 60.0)  # without contrast, fat still shows it
    ours = [vessel for vessel in vessels if vessel.ostium is not None]
    faint = {vessel.ostium for vessel in ours if vessel.opacity < DISCERNIBLE}
    return faint | {vessel.ostium for vessel in ours if _stands_out(vessel, hu, grid, to_ras) < needed}


def _stands_out(vessel: Vessel, hu: np.ndarray, grid: Grid, to_ras: Callable[[np.ndarray], np.ndarray]) -> float:
    """Median over the beginning of an artery of HU in its middle less the median HU 2 mm outside it."""
    along = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(vessel.path, axis=0), axis=1))])
    inside = 1.5  # mm: the path begins in the lumen
    at = np.linspace(inside + _BEHIND_MM[0], min(inside + _BEHIND_MM[1], along[-1]), 7)  # a left main may be shorter
    middle = np.stack([np.interp(at, along, axis) for axis in vessel.path.T], axis=1)
    towards = np.gradient(middle, axis=0)
    contrast = []
    for place, course, radius in zip(middle, towards, np.interp(at, along, vessel.radii), strict=True):
        axes = frame(course)
        turn = np.linspace(0, 2 * np.pi, 12, endpoint=False)
        ring = place + (radius + 2.0) * (np.cos(turn)[:, None] * axes[:, 0] + np.sin(turn)[:, None] * axes[:, 1])
        values = _values(hu, grid, to_ras(np.concatenate([place[None], ring])))
        contrast.append(float(values[0] - np.median(values[1:])))
    return float(np.median(contrast))


def _values(hu: np.ndarray, grid: Grid, ras: np.ndarray) -> np.ndarray:
    """HU at (N, 3) RAS mm, read linearly; the edge's outside."""
    from scipy.ndimage import map_coordinates

    return map_coordinates(hu, grid.to_ijk(ras).T, order=1, mode="nearest", output=np.float32)


def sample_coronaries(rng: np.random.Generator, root: Root, heart: Heart) -> list[Vessel]:
    """Left main with its two branches, and the right coronary artery."""

    def jitter(sd: float) -> np.ndarray:
        return rng.normal(0, sd, 3)

    def leave(name: str) -> tuple[np.ndarray, np.ndarray]:
        theta, h = root.ostium_angle[name], root.ostium_height[name]
        ostium = root.place(theta, h)
        outward = root.direction(theta + rng.normal(0, 0.35)) + root.axis * rng.normal(-0.1, 0.35)
        return ostium, outward / np.linalg.norm(outward)

    def make(
        knots: list[np.ndarray], radius: float, end: float, funnel: float, visible: float, begin: str | None = None
    ) -> Vessel:
        path = spline(np.array(knots), 2.5)
        along = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))])
        radii = np.interp(along, [0, 90], [radius, end]) + funnel * np.exp(-along / 2.0)
        ghost = jitter(1.0) / 1.7 * rng.uniform(1, 6) if rng.random() < 0.25 else None
        return Vessel(path, np.maximum(radii, 0.5), visible, ghost, begin)

    def visible() -> float:
        return float(rng.choice([1.0, rng.uniform(0.6, 1.0), rng.uniform(0.15, 0.6), 0.0], p=[0.5, 0.3, 0.15, 0.05]))

    apex = heart.apex()
    ostium, out = leave("lca")
    length = float(np.clip(rng.normal(10.5, 4.5), 3, 22))
    left = np.array([-0.6, 0.45, 0.1]) + jitter(0.15)
    mid = ostium + out * min(length, 6)
    fork = mid + (0.5 * out + 0.7 * left) / np.linalg.norm(0.5 * out + 0.7 * left) * max(length - 6, 1.5)
    trunk_r, lad_r, cx_r = 2.6 * np.clip(rng.normal(1, 0.15), 0.7, 1.4), 1.8, 1.7
    seen = visible()
    groove = 0.5 * (heart.ventricle.center + heart.right_ventricle.center) + np.array([-24.0, 24.0, 26.0])
    lad = [fork, fork + left * 10 + [0, 3, -1], groove + jitter(4), apex + np.array([0, 10, 6]) + jitter(4)]
    circumflex = [
        fork,
        fork + np.array([-8, -3, -4]) + jitter(2),
        heart.left_atrium.center + np.array([-30, 14, -8]) + jitter(4),
        heart.left_atrium.center + np.array([-24, 2, -28]) + jitter(4),
    ]
    vessels = [
        make(
            [ostium - out * 1.5, ostium, mid, fork],
            trunk_r,
            trunk_r * 0.9,
            float(rng.uniform(0, 1.8)),
            seen,
            "ostium_lca",
        ),
        make(lad, lad_r, 1.0, 0.0, seen),
        make(circumflex, cx_r, 0.9, 0.0, seen),
    ]
    ostium, out = leave("rca")
    groove = 0.5 * (heart.right_atrium.center + heart.right_ventricle.center)
    forward = ostium + out * rng.uniform(6, 12)
    right = [
        ostium - out * 1.5,
        ostium,
        forward,
        forward + np.array([12, 5, -6]) + jitter(3),
        groove + np.array([20, 16, 8]) + jitter(4),
        groove + np.array([14, 4, -22]) + jitter(4),
    ]
    radius = 1.9 * np.clip(rng.normal(1, 0.2), 0.6, 1.5)
    vessels.append(make(right, radius, 1.2, float(rng.uniform(0, 1.6)), visible(), "ostium_rca"))
    return vessels


def paint_sleeves(canvas: Canvas, vessels: list[Vessel], tissue: Tissue, rng: np.random.Generator) -> None:
    """Fat around the arteries; painted before the root, so that it never covers it."""
    thickness = float(rng.choice([1.0, 3.0, 5.0]))
    for vessel in vessels:
        canvas.tube(
            vessel.path[2:],
            vessel.radii[2:],
            tissue.fat,
            grow=thickness,
            texture=12.0,
            opacity=float(rng.uniform(0.6, 1)),
        )


def paint_coronaries(canvas: Canvas, vessels: list[Vessel], tissue: Tissue, rng: np.random.Generator) -> None:
    """Lumen of the arteries, doubled where they moved, with a plaque now and then."""
    for vessel in vessels:
        if vessel.opacity == 0:
            continue
        hu = tissue.aorta * float(rng.uniform(0.85, 1.02))
        share = 1.0 if vessel.ghost is None else float(rng.uniform(0.4, 0.7))
        canvas.tube(vessel.path, vessel.radii, hu, opacity=vessel.opacity * share)
        if vessel.ghost is not None:
            shift = np.clip(np.arange(len(vessel.path)) / 4, 0, 1)[:, None] * vessel.ghost
            canvas.tube(vessel.path + shift, vessel.radii, hu, opacity=vessel.opacity * (1 - share))
        for _ in range(int(rng.poisson(0.6))):
            place = vessel.path[int(rng.integers(2, len(vessel.path)))]
            plaque = Ellipsoid(
                place + rng.normal(0, 1, 3), rng.uniform(0.6, 2.2, 3), frame(rng.normal(size=3), rng.normal(size=3))
            )
            canvas.ellipsoid(plaque, tissue.calcium * float(rng.uniform(0.5, 1.2)))


def coronary_mask(canvas: Canvas, vessels: list[Vessel]) -> np.ndarray:
    """uint8 on the canvas' grid: voxels of which at least half is lumen of an artery that a person can see.

    Of an artery that moved, its place without the ghost. Draws no random number: a crop is the same with and without.
    """
    mask = np.zeros(canvas.hu.shape, np.uint8)
    for vessel in vessels:
        if vessel.opacity < DISCERNIBLE:
            continue
        region, distance = canvas.tube_distance(vessel.path, vessel.radii)
        if region is not None:
            mask[region] |= canvas.coverage(distance) > 0.5
    return mask


def paint_decoys(canvas: Canvas, root: Root, tissue: Tissue, rng: np.random.Generator) -> None:
    """What can be taken for an ostium or the valve's calcium: vessels that pass by, mitral and wall calcium."""
    for _ in range(int(rng.poisson(1.2))):  # vessels near the root that do not arise from it
        theta = float(rng.uniform(0, 2 * np.pi))
        h = float(rng.uniform(0, root.junction_height + 10))
        middle = root.place(theta, h, float(rng.uniform(2, 12)))
        run = rng.normal(size=3)
        run -= (run @ root.direction(theta)) * root.direction(theta) * 0.7  # past the root rather than out of it
        run /= np.linalg.norm(run)
        path = spline(np.array([middle - run * 16, middle + rng.normal(0, 2, 3), middle + run * 16]), 3)
        canvas.tube(
            path,
            np.full(len(path), rng.uniform(0.8, 2.2)),
            tissue.aorta * float(rng.uniform(0.5, 1)),
            opacity=float(rng.uniform(0.4, 1)),
        )
    if rng.random() < 0.25:  # mitral annulus
        centre = root.place(float(root.hinge[1:].mean()), -10.0, float(rng.uniform(4, 14)))
        for _ in range(int(rng.integers(1, 5))):
            nodule = Ellipsoid(
                centre + rng.normal(0, 5, 3), rng.uniform(1, 4.5, 3), frame(rng.normal(size=3), rng.normal(size=3))
            )
            canvas.ellipsoid(nodule, tissue.calcium)
    for _ in range(int(rng.poisson(0.5))):  # aortic wall above the sinuses
        place = root.place(float(rng.uniform(0, 2 * np.pi)), root.junction_height + float(rng.uniform(3, 18)), 0.5)
        canvas.ellipsoid(Ellipsoid(place, rng.uniform(0.7, 2.5, 3), frame(root.axis)), tissue.calcium)
