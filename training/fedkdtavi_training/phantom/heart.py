"""Chambers, great vessels and the membranous septum, laid around the root so that neighbours touch as they do."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from fedkdtavi_core.schema import HEART_CLASSES

from .canvas import Canvas
from .root import Root
from .shapes import Ellipsoid, frame, smooth_union, spline, turned
from .tissue import Tissue

LV, RV, LA, RA, MYO, AO, PA = (HEART_CLASSES.index(name) for name in HEART_CLASSES[1:])


@dataclass
class Heart:
    """Sampled chambers (anatomical RAS mm, origin in the centre of the annulus)."""

    ventricle: Ellipsoid
    ventricle_axis: np.ndarray
    wall_mm: float
    outflow: np.ndarray  # path from the annulus into the left ventricle
    outflow_radii: np.ndarray
    right_ventricle: Ellipsoid
    right_outflow: np.ndarray
    right_outflow_radii: np.ndarray
    left_atrium: Ellipsoid
    appendage: np.ndarray
    veins: list[np.ndarray]
    right_atrium: Ellipsoid
    right_appendage: np.ndarray
    vena_cava: np.ndarray
    lower_vena_cava: np.ndarray
    pulmonary_branches: list[np.ndarray]
    aorta: np.ndarray
    aorta_radii: np.ndarray
    papillary: list[Ellipsoid] = field(default_factory=list)

    @classmethod
    def sample(cls, rng: np.random.Generator, root: Root) -> Heart:
        """Draw a heart around ``root``."""
        n, r = root.axis, root.radius

        def near(x: float, y: float, z: float, sd: float = 4.0) -> np.ndarray:
            return np.array([x, y, z]) + rng.normal(0, sd, 3)

        def size(*mean: float) -> np.ndarray:
            return np.array(mean) * np.clip(rng.normal(1, 0.13, 3) * rng.normal(1, 0.08), 0.6, 1.6)

        apex = np.array([-0.74, 0.38, -0.5]) + rng.normal(0, 0.15, 3)
        apex /= np.linalg.norm(apex)
        axes = size(21, 24, 42)
        wall = float(np.clip(rng.normal(10.5, 2.2), 6, 17))
        # The ventricle's base lies behind and left of the outflow tract; their angle comes out at about 125 degrees.
        behind = -root.direction(float(rng.normal(0.1, 0.2)))
        # On real CTs the septum lies inside of the right cusp's hinge point, by up to a centimetre.
        inside = float(rng.uniform(-1, 11))
        offset = max(axes[0] - (r - inside), 0.0)
        base = -n * rng.uniform(8, 14) + behind * offset
        ventricle = Ellipsoid(base + apex * axes[2] * rng.uniform(0.84, 1.0), axes, frame(apex, behind))
        knots = [
            0.5 * n,
            -6 * n + 0.45 * inside * behind,
            -13 * n + 5 * apex + 0.9 * inside * behind,
            -14 * n + 22 * apex + 0.6 * offset * behind,
            ventricle.center,
        ]
        outflow = spline(np.array(knots), 4)
        radius_in = np.sqrt(root.semi_axes[0].prod())
        outflow_radii = np.linspace(radius_in * 0.98, max(radius_in, 0.8 * axes[0]), len(outflow))
        outflow_radii[0] = 0.7 * radius_in

        septal = root.direction(root.septum_angle)
        right_axes = size(23, 29, 40)
        right_center = near(6, 26, -30)
        right_ventricle = Ellipsoid(right_center, right_axes, frame(apex + rng.normal(0, 0.15, 3), (0.2, 0.3, 1.0)))
        tube_r = float(np.clip(rng.normal(13.0, 1.8), 8, 19))
        beside = root.direction(root.commissure[0] + rng.normal(-0.25, 0.25))  # in front of the R-L commissure
        sinus = r + root.bulge[:2].mean() + rng.uniform(1.5, 6) + tube_r
        pass_by = 0.45 * root.junction_height * n + beside * sinus
        above = pass_by * np.array([1.0, 0.9, 1.0]) + near(-2, -2, 15, 3)
        trunk_end = near(-14, -6, 42, 5)
        if np.linalg.norm(above - n * (above @ n)) < sinus:  # keep clear of the root
            above += beside * (sinus - np.linalg.norm(above - n * (above @ n)))
        right_outflow = spline(
            np.array([right_center + near(0, 6, 6, 2), pass_by + near(4, 2, -17, 3), pass_by, above, trunk_end]), 5
        )
        right_outflow_radii = np.full(len(right_outflow), tube_r) * np.clip(
            rng.normal(1, 0.05, len(right_outflow)), 0.85, 1.15
        )

        la_axes = size(29, 20, 26)
        posterior = root.direction(root.hinge[1:].mean() + rng.normal(0, 0.2))
        posterior = posterior + 0.4 * np.array([0, -1.0, 0])
        posterior /= np.linalg.norm(posterior)
        touch = r + rng.uniform(1.0, 3.5)
        la_center = posterior * (touch + la_axes[1] * rng.uniform(0.95, 1.1)) + near(0, 0, 2, 5) * [1, 0.3, 1]
        left_atrium = Ellipsoid(
            la_center,
            la_axes,
            frame((0, 0, 1), (1, 0.1, 0)) @ frame((rng.normal(0, 0.2), rng.normal(0, 0.2), 1), (1, 0, 0)),
        )
        veins = [
            spline(
                np.array(
                    [
                        la_center + [s * 12, -4, u * 8],
                        la_center + [s * 34, -16, u * 16],
                        la_center + [s * 58, -22, u * 30],
                    ]
                )
                + rng.normal(0, 3, (3, 3)),
                6,
            )
            for s in (-1, 1)
            for u in (-1, 1)
        ]
        appendage = spline(np.array([la_center + [-20, 8, 8], near(-36, -2, 10), near(-42, 14, 8)]), 4)

        ra_axes = size(22, 26, 30)
        aside = septal + rng.normal(0, 0.2, 3) + np.array([0.9, -0.25, -0.25])
        aside /= np.linalg.norm(aside)
        right_atrium = Ellipsoid(
            aside * (r + rng.uniform(1, 6) + 0.9 * ra_axes[0]) + near(0, -2, -3),
            ra_axes,
            frame((rng.normal(0, 0.2), rng.normal(0, 0.2), 1), (1, 0, 0)),
        )
        top = right_atrium.center + [3, -4, 18]
        vena_cava = spline(np.array([top, near(42, -8, 26), near(40, -8, 55, 3), near(36, -6, 85, 3)]), 6)
        lower = spline(np.array([right_atrium.center + [-2, -6, -18], near(30, -22, -52), near(26, -28, -85)]), 8)
        right_appendage = spline(
            np.array(
                [
                    right_atrium.center + [-2, 14, 12],
                    root.junction_height * n + root.direction(-0.6) * (r + 18) + near(4, 2, 4, 3),
                ]
            ),
            4,
        )

        knots = [
            root.middle(root.junction_height + 6),
            root.middle(root.junction_height + 16) + near(1, 1, 2, 1.5),
            near(26, 9, 50, 4),
            near(22, 6, 72, 4),
        ]
        aorta = spline(np.array(knots), 5)
        wide = float(np.sqrt(root.semi_axes[3].prod()))
        aorta_radii = wide * np.clip(np.linspace(1, rng.uniform(0.9, 1.2), len(aorta)), 0.8, 1.4)
        papillary = [
            Ellipsoid(
                ventricle.center
                + apex * rng.uniform(2, 14)
                + frame(apex, behind) @ np.array([s * 0.5 * axes[0], 0.55 * axes[1], 0]),
                size(3.5, 3.5, 11),
                frame(apex),
            )
            for s in (-1, 1)
        ]
        branches = [
            spline(np.array([trunk_end, near(-34, -26, 46), near(-62, -38, 44)]), 6),
            spline(np.array([trunk_end, near(4, -20, 42, 3), near(36, -26, 42, 4), near(64, -30, 38)]), 6),
        ]
        return cls(
            ventricle, apex, wall, outflow, outflow_radii, right_ventricle, right_outflow, right_outflow_radii,
            left_atrium,
            appendage, veins, right_atrium, right_appendage, vena_cava, lower, branches, aorta, aorta_radii, papillary,
        )  # fmt: skip

    def apex(self) -> np.ndarray:
        """(3,) tip of the left ventricle's cavity."""
        return self.ventricle.center + self.ventricle_axis * self.ventricle.axes[2]


def paint_heart(canvas: Canvas, root: Root, heart: Heart, tissue: Tissue, rng: np.random.Generator) -> None:
    """Fat and pericardium, right heart, left atrium, left ventricle, great vessels; the root itself comes later."""
    _paint_fat(canvas, heart, tissue, rng)
    wall = float(rng.uniform(1.0, 3.5))
    rv = {"texture": tissue.right_texture, "heart": RV}
    for grow, hu, how in ((wall, tissue.myocardium, {}), (0.0, tissue.right_blood, rv)):
        canvas.ellipsoid(heart.right_ventricle, hu, grow=grow, **how)
        body = len(heart.right_outflow) * 2 // 3
        canvas.tube(heart.right_outflow[:body], heart.right_outflow_radii[:body], hu, grow=grow, **how)
    pulmonary = {"texture": 0.4 * tissue.right_texture, "heart": PA}
    for grow, hu, how in ((1.2, tissue.wall, {}), (0.0, tissue.pulmonary, pulmonary)):
        body = len(heart.right_outflow) // 2
        canvas.tube(heart.right_outflow[body:], heart.right_outflow_radii[body:], hu, grow=grow, **how)
        for branch in heart.pulmonary_branches:
            canvas.tube(branch, np.linspace(11, 8, len(branch)), hu, grow=grow, **how)

    atrium = {"texture": tissue.right_texture, "heart": RA}
    for grow, hu, how in ((rng.uniform(0.8, 2.2), tissue.myocardium, {}), (0.0, tissue.right_atrium, atrium)):
        canvas.ellipsoid(heart.right_atrium, hu, grow=grow, **how)
        canvas.tube(heart.right_appendage, np.linspace(9, 6, len(heart.right_appendage)), hu, grow=grow, **how)
    for path, radius, hu in (
        (heart.vena_cava, rng.uniform(7, 12), tissue.vena_cava),
        (heart.lower_vena_cava, rng.uniform(9, 14), tissue.right_atrium * 0.8),
    ):
        canvas.tube(path, np.full(len(path), radius), tissue.wall, grow=1.0)
        canvas.tube(path, np.full(len(path), radius), hu, texture=tissue.right_texture)

    canvas.ellipsoid(heart.left_atrium, tissue.wall, grow=float(rng.uniform(1.0, 2.5)))
    _paint_ventricle(canvas, heart, tissue)
    _paint_septum(canvas, root, tissue, rng)
    _paint_left_cavities(canvas, heart, tissue, rng)

    for grow, hu, how in ((1.8, tissue.wall, {}), (0.0, tissue.aorta, {"texture": tissue.left_texture, "heart": AO})):
        canvas.tube(heart.aorta, heart.aorta_radii, hu, grow=grow, **how)


def _paint_fat(canvas: Canvas, heart: Heart, tissue: Tissue, rng: np.random.Generator) -> None:
    """Mediastinal fat around everything (little in thin patients), pericardium, fat on the heart and great vessels."""
    if rng.random() < 0.85:
        middle = np.array([-4.0, -2.0, -8.0]) + rng.normal(0, 4, 3)
        extent = np.array([52.0, 46.0, 58.0]) * rng.uniform(0.8, 1.15, 3)
        canvas.ellipsoid(Ellipsoid(middle, extent, frame((-0.3, 0.1, 1.0))), tissue.fat, texture=15.0)
    fat = float(rng.choice([3, 6, 12])) * rng.uniform(0.7, 1.3)
    for body in (heart.ventricle, heart.right_ventricle, heart.left_atrium, heart.right_atrium):
        extra = heart.wall_mm if body is heart.ventricle else 3.0
        canvas.ellipsoid(body, 30.0, grow=fat + extra + 1.2)  # pericardium
    for body in (heart.ventricle, heart.right_ventricle, heart.left_atrium, heart.right_atrium):
        extra = heart.wall_mm if body is heart.ventricle else 3.0
        canvas.ellipsoid(body, tissue.fat, grow=fat + extra, texture=12.0)
    canvas.tube(heart.right_outflow, heart.right_outflow_radii, tissue.fat, grow=fat * 0.7 + 2, texture=12.0)
    canvas.tube(heart.aorta, heart.aorta_radii, tissue.fat, grow=fat * 0.7 + 4, texture=12.0)


def _ventricle_distance(canvas: Canvas, heart: Heart, grow: float) -> tuple:
    reach = float(heart.ventricle.axes.max()) + grow + 24
    region = canvas.region(heart.ventricle.center - reach, heart.ventricle.center + reach)
    if region is None:
        return None, None
    body = heart.ventricle.distance(canvas.points[region])
    tube_region, tube = canvas.tube_distance(heart.outflow, heart.outflow_radii)
    if tube_region is not None:
        whole = np.full(body.shape, 1e3, np.float32)
        inner = tuple(
            slice(max(t.start, b.start), min(t.stop, b.stop)) for t, b in zip(tube_region, region, strict=True)
        )
        if all(s.start < s.stop for s in inner):
            into = tuple(slice(s.start - b.start, s.stop - b.start) for s, b in zip(inner, region, strict=True))
            out_of = tuple(slice(s.start - t.start, s.stop - t.start) for s, t in zip(inner, tube_region, strict=True))
            whole[into] = tube[out_of]
        body = smooth_union(body, whole, 6.0)
    return region, body


def _paint_ventricle(canvas: Canvas, heart: Heart, tissue: Tissue) -> None:
    """Myocardium around cavity and outflow tract, none where the left atrium lies behind (the mitral curtain)."""
    region, body = _ventricle_distance(canvas, heart, heart.wall_mm)
    if region is None:
        return
    atrium = heart.left_atrium.distance(canvas.points[region])
    # Muscle thins out where the atrium comes near: fibrous curtain and mitral ring instead.
    thickness = heart.wall_mm * np.clip((atrium - 1.0) / 9.0, 0.08, 1.0) + 0.8
    base = np.clip(1.1 - 0.25 * (canvas.points[region] @ heart.ventricle_axis.astype(np.float32) < -16), 0, 1)
    canvas.paint(region, canvas.coverage(body - thickness * base), tissue.myocardium, texture=6.0, heart=MYO)


def _paint_left_cavities(canvas: Canvas, heart: Heart, tissue: Tissue, rng: np.random.Generator) -> None:
    left = {"texture": tissue.left_texture}
    for path in heart.veins:
        canvas.tube(path, np.linspace(8, 5, len(path)), tissue.left_blood, heart=LA, **left)
    canvas.tube(heart.appendage, np.linspace(9, 5, len(heart.appendage)), tissue.wall, grow=1.2)
    canvas.tube(heart.appendage, np.linspace(9, 5, len(heart.appendage)), tissue.left_blood, heart=LA, **left)
    canvas.ellipsoid(heart.left_atrium, tissue.left_blood, heart=LA, **left)
    region, body = _ventricle_distance(canvas, heart, 2.0)
    if region is None:
        return
    rough = body + float(rng.uniform(0, 1.2)) * canvas.texture[region]  # trabeculae
    # The mitral leaflets: a thin sheet where atrium and ventricle meet, closed, open or not to be seen.
    atrium = heart.left_atrium.distance(canvas.points[region])
    canvas.paint(region, canvas.coverage(rough), tissue.left_blood, heart=LV, **left)
    sheet = np.maximum(np.abs(atrium - 0.5) - float(rng.uniform(0.4, 1.2)), body)
    canvas.paint(region, canvas.coverage(sheet) * np.float32(rng.choice([0.0, 0.4, 0.9])), tissue.leaflet)
    for muscle in heart.papillary:
        canvas.ellipsoid(muscle, tissue.myocardium)


def _paint_septum(canvas: Canvas, root: Root, tissue: Tissue, rng: np.random.Generator) -> None:
    """The sector of the membranous septum: thin between its two points, muscle below, fat and wall above."""
    centre = root.place(root.septum_angle, 0.0, 8.0)
    region = canvas.region(centre - 22, centre + 22)
    if region is None:
        return
    rho, theta, h = root.cylinder(canvas.points[region])
    beyond = rho - root.lumen_radius(theta, h).astype(np.float32)
    aside = np.abs(turned(theta, root.septum_angle)) * rho
    sector = canvas.coverage(
        np.maximum.reduce([aside - root.septum_width / 2, h - 15, -16 - h, beyond - 15, -beyond]), 2.0
    )
    below = np.clip((root.septum_lower - h) / 9.0, 0, 1)
    above = np.clip((h - root.septum_upper) / 6.0, 0, 1)
    muscle = 1.0 + 10.0 * below**0.6 * (below > 0)
    blood = np.where(h > 0, tissue.right_atrium, tissue.right_blood).astype(np.float32)
    canvas.paint(region, sector, blood, texture=tissue.right_texture)
    gap = 1.2 + 7.0 * above * (above > 0)
    canvas.paint(region, sector * canvas.coverage(beyond - gap) * (h > root.septum_upper), tissue.fat)
    thin = np.where(h > root.septum_upper, 1.8, muscle)
    hu = np.where(h < root.septum_lower, tissue.myocardium, tissue.wall).astype(np.float32)
    canvas.paint(region, sector * canvas.coverage(beyond - thin), hu)
