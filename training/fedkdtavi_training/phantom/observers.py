"""Virtual observers: what people make of a truth they cannot see exactly."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter

from fedkdtavi_core.schema import LANDMARK_IDS

Points = Mapping[str, np.ndarray | None]

# How hard a landmark is, relative to the others: a choice (the septum's ends are the least defined of them).
_DIFFICULTY = {"hinge": 1.0, "ostium": 0.9, "ms": 1.4}


@dataclass(frozen=True)
class Observer:
    """One reviewer's habits.

    Attributes:
        name: pseudonym.
        bias_mm: id -> (3,) habitual offset along two directions in the annulus plane and its normal.
        noise_mm: id -> standard deviation per axis of one reading, 0.5 to 2.
        calcium_level: share of a voxel and its neighbourhood that must be calcium to be drawn (0.5 is neutral).
    """

    name: str
    bias_mm: Mapping[str, np.ndarray]
    noise_mm: Mapping[str, float]
    calcium_level: float

    @classmethod
    def sample(cls, name: str, rng: np.random.Generator) -> Observer:
        """An observer with 0.3 to 0.7 mm of bias per direction and 0.5 to 2 mm of noise, by landmark."""
        care = float(rng.uniform(0.5, 1.1))
        habit = float(rng.uniform(0.3, 0.7))
        bias = {i: rng.normal(scale=habit, size=3) for i in LANDMARK_IDS}
        noise = {
            i: float(np.clip(care * _DIFFICULTY[i.split("_")[0]] * rng.uniform(0.8, 1.25), 0.5, 2.0))
            for i in LANDMARK_IDS
        }
        return cls(name, bias, noise, float(rng.uniform(0.35, 0.6)))

    def read(self, points: Points, normal: np.ndarray | None, rng: np.random.Generator) -> dict[str, np.ndarray | None]:
        """Where this observer sets the landmarks of one CT: id -> (3,) RAS mm; what is not in the CT stays None."""
        frame = np.eye(3) if normal is None else _frame(np.asarray(normal, float))
        out: dict[str, np.ndarray | None] = {}
        for label in LANDMARK_IDS:
            offset = frame @ self.bias_mm[label] + rng.normal(scale=self.noise_mm[label], size=3)
            truth = points.get(label)
            out[label] = None if truth is None else np.asarray(truth, float) + offset
        return out

    def outline(self, calcium: np.ndarray, spacing: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """The calcification as this observer draws it, uint8 on the grid of the true mask ``calcium``."""
        level = float(np.clip(self.calcium_level + rng.normal(scale=0.04), 0.2, 0.8))
        where = np.argwhere(calcium)
        out = np.zeros(calcium.shape, np.uint8)
        if not len(where):
            return out
        margin = np.ceil(4.0 / np.asarray(spacing)).astype(int)
        low = np.maximum(where.min(axis=0) - margin, 0)
        high = np.minimum(where.max(axis=0) + margin + 1, calcium.shape)
        box = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
        soft = gaussian_filter(calcium[box].astype(np.float32), 0.6 / np.asarray(spacing))
        soft += 0.08 * rng.standard_normal(soft.shape, dtype=np.float32) * (soft > 0.05)
        out[box] = soft > level
        return out


def dice(a: np.ndarray, b: np.ndarray) -> float | None:
    """Dice coefficient of two masks; None when both are empty."""
    total = np.count_nonzero(a) + np.count_nonzero(b)
    return None if total == 0 else 2 * np.count_nonzero((a != 0) & (b != 0)) / total


def _frame(normal: np.ndarray) -> np.ndarray:
    """(3, 3) whose third column is ``normal``."""
    first = np.cross(normal, [1.0, 0, 0] if abs(normal[0]) < 0.9 else [0, 1.0, 0])
    first /= np.linalg.norm(first)
    return np.stack([first, np.cross(normal, first), normal], axis=1)
