"""The shape of a trunk: how far skin, muscle and rib cage lie from its axis, as tables over angle and height.

Heights are anatomical mm above the aortic annulus. The axis is vertical through ``(midline, AXIS_Y)``; in every slice
the trunk is star-shaped about it, so one radius per angle describes any habitus.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .context import ContextParameters

AXIS_Y = -38.0
Z_LOW, Z_HIGH, Z_STEP = -480.0, 420.0, 1.5
ANGLES = 480

# Height, half widths (x, y) and centre y of the inner surface of the rib cage and, below it, of the abdominal wall.
_CAVITY = np.array(
    [
        # z, half x, half y, centre y
        (-480, 4, 4, -38),
        (-430, 10, 10, -38),
        (-405, 58, 46, -40),
        (-375, 84, 60, -38),
        (-340, 112, 70, -34),
        (-280, 122, 74, -24),
        (-200, 124, 80, -22),
        (-120, 130, 86, -26),
        (-50, 132, 87, -31),
        (0, 130, 86, -33),
        (40, 126, 83, -35),
        (90, 116, 76, -37),
        (120, 104, 66, -40),
        (145, 84, 52, -44),
        (160, 62, 40, -48),
        (172, 34, 24, -52),
        (180, 12, 10, -55),
        (420, 10, 10, -55),
    ],
    float,
)
# Height, half widths of the muscles' outer surface (lateral, front, back) beyond the cavity's axis.
_MUSCLE = np.array(
    [
        # z, half x, front, back
        (-480, 2, 2, 2),
        (-452, 150, 62, 80),
        (-420, 168, 82, 104),
        (-350, 160, 84, 104),
        (-280, 142, 82, 92),
        (-200, 142, 84, 92),
        (-120, 143, 90, 96),
        (-50, 144, 95, 99),
        (0, 144, 95, 100),
        (40, 146, 95, 101),
        (90, 158, 91, 100),
        (120, 168, 84, 96),
        (145, 170, 70, 90),
        (165, 160, 48, 78),
        (182, 122, 38, 66),
        (196, 78, 36, 56),
        (215, 56, 44, 52),
        (260, 56, 52, 56),
        (285, 50, 50, 50),
        (300, 2, 2, 2),
        (420, 2, 2, 2),
    ],
    float,
)


def _superellipse(cos: np.ndarray, sin: np.ndarray, a: np.ndarray, b: np.ndarray, power: float) -> np.ndarray:
    return ((np.abs(cos) / a) ** power + (np.abs(sin) / b) ** power) ** (-1 / power)


@dataclass
class Habitus:
    """Tables (ANGLES, heights) of radii in mm: ``cavity``, ``muscle``, ``skin``, and ``rib``, the running rib number.

    Angle 0 is the patient's right, a quarter turn the front.
    """

    midline: float
    cavity: np.ndarray
    muscle: np.ndarray
    skin: np.ndarray
    rib: np.ndarray

    @classmethod
    def build(cls, p: ContextParameters, rng: np.random.Generator) -> Habitus:
        """The trunk of ``p``, with small random undulations."""
        z = np.arange(Z_LOW, Z_HIGH, Z_STEP, dtype=np.float32)
        nominal = np.where(z > 0, z * 172 / p.apex_z, z)
        angle = np.linspace(0, 2 * np.pi, ANGLES, endpoint=False, dtype=np.float32)[:, None]
        cos, sin = np.cos(angle), np.sin(angle)
        columns = [np.interp(nominal, _CAVITY[:, 0], _CAVITY[:, column])[None] for column in (1, 2, 3)]
        half_x, half_y, center = columns[0] * p.width, columns[1] * p.depth, columns[2]
        front, back = np.maximum(center + half_y - AXIS_Y, 4), np.maximum(half_y - center + AXIS_Y, 4)
        cavity = _superellipse(cos, sin, half_x, np.where(sin > 0, front, back), p.squareness)
        # Flattened in front, with a gutter to each side of the spine.
        cavity = cavity * (1 - 0.05 * np.exp(-(((angle - np.pi / 2) / 0.5) ** 2)))
        cavity *= 1 + 0.07 * np.exp(-(((np.abs(angle - 1.5 * np.pi) - 0.55) / 0.35) ** 2))
        for place in p.enclose:
            cavity += _room_for(np.asarray(place, float), p.midline, cavity, angle, z)
        columns = [np.interp(nominal, _MUSCLE[:, 0], _MUSCLE[:, column])[None] for column in (1, 2, 3)]
        extra = np.interp(nominal, [-100, 60, 150, 190], [0.4, 1.0, 1.0, 0.3])[None] * p.muscle_mm
        muscle_x = columns[0] + (p.width - 1) * 130 + extra + p.shoulder_mm * np.exp(-(((nominal - 120) / 45) ** 2))
        muscle_front = columns[1] + (p.depth - 1) * 86 + extra * 0.6
        muscle_back = columns[2] + (p.depth - 1) * 86 + extra * 0.6
        muscle_y = np.where(sin > 0, muscle_front, muscle_back)
        muscle = _superellipse(cos, sin, np.maximum(muscle_x, 2), np.maximum(muscle_y, 2), 2.35)
        muscle = np.maximum(muscle, cavity + 10 * (nominal < 185))
        muscle *= 1 + 0.05 * np.exp(-(((np.abs(angle - 1.5 * np.pi) - 0.35) / 0.25) ** 2)) * (nominal < 150)
        skin = muscle + _fat(p, angle, nominal) + _undulation(angle, z, rng) * (1 + 0.1 * p.fat_mm)
        skin = np.maximum(skin, muscle + 2)
        beyond = (z < -468) | (nominal > 292)  # no trunk below the crotch and above the neck
        layers = [np.where(beyond, -50.0, layer) for layer in (cavity, muscle, skin)]
        return cls(p.midline, *(t.astype(np.float32) for t in (*layers, _rib_number(angle[:, 0], z, p))))

    def index(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(..., 3) mm -> flat table index and distance from the axis (mm)."""
        dx = points[..., 0] - np.float32(self.midline)
        dy = points[..., 1] - np.float32(AXIS_Y)
        turn = np.floor(np.arctan2(dy, dx) * np.float32(ANGLES / (2 * np.pi))).astype(np.int32) % ANGLES
        height = ((points[..., 2] - np.float32(Z_LOW)) * np.float32(1 / Z_STEP)).astype(np.int32)
        np.clip(height, 0, self.cavity.shape[1] - 1, out=height)
        return turn * self.cavity.shape[1] + height, np.sqrt(dx * dx + dy * dy)

    def distance(self, points: np.ndarray, layer: str) -> np.ndarray:
        """Radial distance (mm, negative inside) of (..., 3) mm to ``cavity``, ``muscle`` or ``skin``."""
        index, radius = self.index(points)
        return radius - getattr(self, layer).ravel()[index]

    def surface(self, turn: float, z: float, layer: str, beyond: float = 0.0) -> np.ndarray:
        """Point on a layer's surface at angle ``turn`` (rad) and height ``z``, moved outwards by ``beyond`` mm."""
        row = int(turn / (2 * np.pi) * ANGLES) % ANGLES
        column = int(np.clip((z - Z_LOW) / Z_STEP, 0, self.cavity.shape[1] - 1))
        radius = float(getattr(self, layer)[row, column]) + beyond
        return np.array([self.midline + radius * np.cos(turn), AXIS_Y + radius * np.sin(turn), z])


def _room_for(
    place: np.ndarray, midline: float, cavity: np.ndarray, angle: np.ndarray, z: np.ndarray, margin_mm: float = 6.0
) -> np.ndarray:
    """What a smooth bulge adds to ``cavity`` (ANGLES, heights) so that ``place`` (3,) lies inside it."""
    dx, dy = place[0] - midline, place[1] - AXIS_Y
    turn = np.arctan2(dy, dx) % (2 * np.pi)
    row = int(turn / (2 * np.pi) * ANGLES) % ANGLES
    column = int(np.clip((place[2] - Z_LOW) / Z_STEP, 0, len(z) - 1))
    missing = np.hypot(dx, dy) + margin_mm - float(cavity[row, column])
    aside = (angle - turn + np.pi) % (2 * np.pi) - np.pi
    return max(missing, 0.0) * np.exp(-((aside / 0.7) ** 2)) * np.exp(-(((z - place[2]) / 80) ** 2))


def _fat(p: ContextParameters, angle: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Thickness of subcutaneous fat: most at the flanks and belly, least over spine and sternum; breasts in front."""
    around = 0.8 + 0.25 * np.cos(2 * angle) - 0.3 * np.exp(-(((angle - 1.5 * np.pi) / 0.3) ** 2))
    along = np.interp(z, [-450, -300, -200, -60, 60, 150, 185, 220, 420], [1.3, 1.4, 1.3, 1.0, 0.8, 0.9, 0.5, 0.3, 0.2])
    belly = p.belly_mm * np.exp(-(((angle - np.pi / 2) / 0.8) ** 2)) * np.exp(-(((z + 230) / 90) ** 2))
    breast = sum(
        np.exp(-(((angle - np.pi / 2 - side) / 0.33) ** 2)) for side in (p.breast_turn, -p.breast_turn)
    ) * np.exp(-(((z - p.breast_z) / 42) ** 2))
    return 2.0 + p.fat_mm * around * along[None] + belly + p.breast_mm * breast


def _undulation(angle: np.ndarray, z: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    waves, phases = rng.normal(size=(4, 3)), rng.uniform(0, 2 * np.pi, (4, 3, 2))
    around = [waves[a] * np.cos((a + 1) * angle + phases[a, :, 0]) for a in range(4)]
    along = [np.cos(z / (60 + 50 * np.arange(3.0)[:, None]) + phases[a, :, 1, None]) for a in range(4)]
    return np.hstack(around) @ np.vstack(along)


def rib_heights(turn_from_back: np.ndarray, p: ContextParameters) -> np.ndarray:
    """Heights (12, N) of the ribs' centre lines at angles 0..pi from the back; they slope down to the front."""
    number = np.arange(12)[:, None]
    start = p.apex_z - 8 - number * (p.apex_z + 100) / 11.5
    drop = 88 * np.sin(np.clip(turn_from_back, 0, 2.6) * 0.6) ** 2 * (0.3 + 0.7 * np.minimum(number / 5, 1))
    rise = 25 * np.clip(turn_from_back - 2.2, 0, 1) * np.clip(number - 3, 0, 6) / 3  # cartilages climb to the sternum
    return start - drop + rise


def _rib_number(angle: np.ndarray, z: np.ndarray, p: ContextParameters) -> np.ndarray:
    back = np.abs((angle - 1.5 * np.pi + np.pi) % (2 * np.pi) - np.pi)
    heights = rib_heights(back, p)
    ascending = np.arange(11.0, -1.0, -1.0)
    rows = [np.interp(z, h[::-1], ascending, left=11.6, right=-0.6) for h in heights.T]
    return np.array(rows)
