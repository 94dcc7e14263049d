"""Simple bodies as signed distances in millimetres, negative inside."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass
class Ellipsoid:
    """``center`` (3,), semi-``axes`` (3,) mm along the columns of ``rotation`` (3, 3)."""

    center: np.ndarray
    axes: np.ndarray
    rotation: np.ndarray

    def distance(self, points: np.ndarray) -> np.ndarray:
        """(..., 3) -> (...) approximate signed distance (exact on the surface, first order beside it)."""
        scaled = (points - self.center.astype(np.float32)) @ (self.rotation / self.axes).astype(np.float32)
        k0 = np.sqrt(np.einsum("...i,...i->...", scaled, scaled))
        scaled /= self.axes.astype(np.float32)
        k1 = np.sqrt(np.einsum("...i,...i->...", scaled, scaled))
        return k0 * (k0 - 1) / np.maximum(k1, 1e-6)


def turned(theta: np.ndarray | float, start: np.ndarray | float) -> np.ndarray | float:
    """Angle in rad from ``start`` to ``theta`` the shorter way round, from -pi to pi."""
    return np.mod(theta - start + np.pi, 2 * np.pi) - np.pi


def frame(direction: np.ndarray, hint: np.ndarray = (0.0, 1.0, 0.0)) -> np.ndarray:
    """Right-handed (3, 3) whose third column is ``direction`` and whose first is nearest to ``hint``."""
    third = np.asarray(direction, float) / np.linalg.norm(direction)
    first = np.asarray(hint, float) - third * (third @ np.asarray(hint, float))
    first /= np.linalg.norm(first)
    return np.stack([first, np.cross(third, first), third], axis=1)


def rotation_about(axis: np.ndarray, angle: float) -> np.ndarray:
    """Rodrigues' rotation matrix: ``angle`` rad about ``axis``."""
    x, y, z = np.asarray(axis, float) / np.linalg.norm(axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def smooth_union(a: np.ndarray, b: np.ndarray, blend_mm: float) -> np.ndarray:
    """Union of two signed distances with a fillet of about ``blend_mm`` (polynomial smooth minimum)."""
    h = np.clip(0.5 + 0.5 * (b - a) / blend_mm, 0, 1)
    return b + (a - b) * h - blend_mm * h * (1 - h)


def spline(knots: np.ndarray, step_mm: float = 4.0) -> np.ndarray:
    """Catmull-Rom curve through ``knots`` (N, 3), sampled about every ``step_mm``; returns (M, 3)."""
    knots = np.asarray(knots, float)
    padded = np.vstack([2 * knots[0] - knots[1], knots, 2 * knots[-1] - knots[-2]])
    out = [knots[0]]
    for p0, p1, p2, p3 in zip(padded[:-3], padded[1:-2], padded[2:-1], padded[3:], strict=True):
        count = max(int(np.linalg.norm(p2 - p1) / step_mm), 1)
        for t in np.linspace(0, 1, count + 1)[1:]:
            out.append(
                0.5
                * (2 * p1 + (p2 - p0) * t + (2 * p0 - 5 * p1 + 4 * p2 - p3) * t**2 + (3 * p1 - p0 - 3 * p2 + p3) * t**3)
            )
    return np.array(out)
