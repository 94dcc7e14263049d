"""From a cached phantom to a training sample: where it is cropped, how it is turned and bent, what the target is.

Sample n of a run is a function of the run's seed and n alone: it does not matter which process makes it, nor whether
the run was interrupted. Geometry and targets are the core's (crop centre, heatmaps, intensities).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch.utils.data import Dataset

from fedkdtavi_core import fine, heatmap, intensity, schema
from fedkdtavi_core.errors import InputError

from . import augment, cache, networks, targets
from .config import TrainConfig
from .phantom.shapes import rotation_about

ROOT_SIGMA_VOXELS = 2.0
_ELASTIC_KNOTS = 5
# Fields of view the coarse network meets, in voxels of 4 mm: from a crop just around the heart to a whole chest.
_COARSE_SHAPES = ((48, 48, 32), (48, 48, 48), (64, 64, 48), (64, 64, 64), (80, 64, 64), (96, 80, 64))


def root_centre(points: np.ndarray, spacing: float) -> np.ndarray | None:
    """(7, 3) voxel indices along R, A, S, in schema order -> (3,) index of the root's centre, as the core defines it.

    None when a hinge point is missing.
    """
    centre = fine.root_center(_by_id(points * spacing))
    return None if centre is None else centre / spacing


def root_axes(points: np.ndarray) -> np.ndarray | None:
    """(7, 3) mm along R, A, S, in schema order -> (3, 3) axes of the root, as the core defines them; None without."""
    return fine.root_axes(_by_id(points))


def _by_id(points: np.ndarray) -> dict[str, np.ndarray]:
    """(7, 3) points in schema order, NaN for none -> those that are there, by their ids."""
    return {name: point for name, point in zip(schema.LANDMARK_IDS, points, strict=True) if np.isfinite(point).all()}


class Transform:
    """Output voxel q of a crop -> source voxel A (q - c) + t + d(q), with a coarse random displacement d.

    Args:
        matrix: (3, 3) A in source voxels per output voxel.
        centre: (3,) t, the source voxel at the crop's centre.
        shape: of the crop.
        knots: (3, K, K, K) displacements in source voxels on a grid that spans the crop, or None.
    """

    def __init__(
        self, matrix: np.ndarray, centre: np.ndarray, shape: tuple[int, ...], knots: np.ndarray | None
    ) -> None:
        self.matrix, self.centre, self.shape, self.knots = matrix, np.asarray(centre, float), shape, knots
        self.middle = (np.array(shape) - 1) / 2

    def sample(
        self, image: np.ndarray, labels: list[np.ndarray], fill: float | None
    ) -> tuple[np.ndarray, list[np.ndarray]]:
        """``image`` (X, Y, Z) read linearly, ``fill`` outside (None repeats the edge); ``labels`` by nearest voxel."""
        size = np.array(image.shape)
        place = self._places(size)
        source = torch.from_numpy(image.astype(np.float32))[None, None]
        out = F.grid_sample(source, place[None], mode="bilinear", padding_mode="border", align_corners=True)[
            0, 0
        ].numpy()
        if fill is not None:
            half_voxel = torch.from_numpy(1.0 / (size[::-1] - 1)).float()
            far = [place[..., n].abs() > 1.0 + half_voxel[n] for n in range(3)]
            out[(far[0] | far[1] | far[2]).numpy()] = fill
        return out, _nearest(labels, place)

    def _places(self, size: np.ndarray) -> torch.Tensor:
        """(*shape, 3) source places for grid_sample: x is the last axis, -1 and 1 are the outer voxels' centres.

        Each of the three lies in one piece.
        """
        axes = [torch.arange(n, dtype=torch.float32) - float(m) for n, m in zip(self.shape, self.middle, strict=True)]
        places = torch.empty((3, *self.shape))
        bend = None
        if self.knots is not None:
            knots = torch.from_numpy(self.knots.astype(np.float32))[None]
            bend = F.interpolate(knots, size=self.shape, mode="trilinear", align_corners=True)[0]
        for row in range(3):
            a, b, c = (float(v) for v in self.matrix[row])
            value = places[2 - row]
            flat = (a * axes[0])[:, None, None] + (b * axes[1])[None, :, None]
            torch.add(flat, (c * axes[2])[None, None, :], out=value)
            if bend is not None:
                value += bend[row]
            value += float(self.centre[row])
            value *= 2.0 / float(size[row] - 1)
            value -= 1.0
        return places.permute(1, 2, 3, 0)

    def inverse(self, points: np.ndarray) -> np.ndarray:
        """(N, 3) source voxels -> (N, 3) crop voxels; NaN stays NaN. Fixed-point iteration for the displacement."""
        from scipy.ndimage import map_coordinates

        back = np.linalg.inv(self.matrix)
        target = np.asarray(points, float) - self.centre
        q = target @ back.T + self.middle
        if self.knots is None:
            return q
        per_voxel = (np.array(self.knots.shape[1:]) - 1) / (np.array(self.shape) - 1)
        for _ in range(8):
            at = (np.nan_to_num(q) * per_voxel).T
            shift = np.stack([map_coordinates(k, at, order=1, mode="nearest") for k in self.knots], 1)
            q = (target - shift) @ back.T + self.middle
        return q


def _nearest(labels: list[np.ndarray], place: torch.Tensor) -> list[np.ndarray]:
    """Each label map at its voxels nearest to ``place``, 0 outside: as grid_sample rounds, once for all of them."""
    full = [label for label in labels if label.any()]
    if not full:
        return [np.zeros(place.shape[:3], label.dtype) for label in labels]
    size = full[0].shape
    flat = np.zeros(place.shape[:3], np.int32)
    inside = np.ones(place.shape[:3], bool)
    for axis, n in enumerate(size):
        index = place[..., 2 - axis].numpy() + np.float32(1)
        index /= np.float32(2)
        index *= np.float32(n - 1)
        np.rint(index, out=index)
        inside &= index >= 0
        inside &= index < n
        flat *= np.int32(n)
        flat += index.astype(np.int32)
    flat[~inside] = 0
    return [label.reshape(-1)[flat] * inside.astype(label.dtype) for label in labels]


def draw_transform(
    rng: np.random.Generator,
    config: TrainConfig,
    centre: np.ndarray,
    source_spacing: float,
    spacing: float,
    shape: tuple[int, ...],
    axes: np.ndarray | None = None,
) -> Transform:
    """A random pose of the crop: rotation about any axis, anisotropic scale, elastic displacement (no mirroring).

    ``axes`` (3, 3): directions of the crop's axes before it is turned at random; R, A, S when None.
    """
    options = config.augment
    axis = rng.normal(size=3)
    axis /= np.linalg.norm(axis)
    angle = np.radians(np.clip(rng.normal(0, options.rotation_deg / 2), -options.rotation_deg, options.rotation_deg))
    scale = 1 + rng.uniform(-options.scale, options.scale) * 0.8 + rng.uniform(-0.2, 0.2, 3) * options.scale
    shear = np.eye(3) + rng.normal(0, options.shear, (3, 3)) * (1 - np.eye(3))
    matrix = rotation_about(axis, angle) @ shear @ np.diag(scale) * (spacing / source_spacing)
    if axes is not None:
        matrix = axes @ matrix
    knots = None
    if options.elastic_mm > 0:
        size = rng.uniform(0, options.elastic_mm) / source_spacing
        knots = rng.normal(0, size, (3, *(_ELASTIC_KNOTS,) * 3))
    return Transform(matrix, centre, shape, knots)


@dataclass(frozen=True)
class Labels:
    """What is to be learned from one case, in its own voxels.

    Attributes:
        points: (7, 3) voxel indices; NaN: nothing is known.
        weights: (7,) 1 for a true label, 0 for none, between them for a pseudo-label.
        covariance: (7, 3, 3) voxels^2, the spread of each point; zero for a true label.
        calc: uint8 mask, or probability times ``calc_scale``.
        calc_weight: like ``weights``.
    """

    points: np.ndarray
    weights: np.ndarray
    covariance: np.ndarray | None
    calc: np.ndarray
    calc_scale: float
    calc_weight: float

    @classmethod
    def of(cls, case: cache.Case) -> Labels:
        """The true labels of a case alone."""
        known = np.isfinite(case.points).all(1).astype(np.float32)
        return cls(case.points, known, None, case.calc, 1.0, float(case.calc_labelled))


class CropDataset(Dataset):
    """Samples for student and teacher: index n of the run -> dict of arrays.

    ``image`` (1, S, S, S), ``target`` (7, S/2, S/2, S/2) Gaussians, ``points`` (7, 3) in half-resolution voxels,
    ``mask`` (7,) weights, ``calc`` (1, S, S, S), ``calc_mask`` () weight. For a network that sees the heart's classes
    ``image`` has them as second channel. With a ``heart`` head also ``heart`` (S, S, S) int64 and ``heart_mask`` (),
    with a ``coronary`` head ``coronary`` (1, S, S, S) and ``coronary_mask`` (). For a network that looks twice also
    ``voxel_mm`` (), of the look that was drawn.
    """

    def __init__(self, paths: list[Path], config: TrainConfig) -> None:
        self.paths, self.config = paths, config

    def __len__(self) -> int:
        return self.config.steps * self.config.batch

    def __getitem__(self, n: int) -> dict[str, np.ndarray]:
        return self.of(n, self.paths[shuffled(self.config.seed, n, len(self.paths))], Labels.of)

    def of(self, n: int, path: Path, labels: Callable[[cache.Case], Labels]) -> dict[str, np.ndarray]:
        """Sample n of the run, made of the case in ``path``; only what the network has to do with is unpacked."""
        network = self.config.network
        case = cache.load(path, heart=networks.sees_heart(network) or "heart" in networks.extras(network))
        return self.sample(n, case, labels(case))

    def _look(self, case: cache.Case, rng: np.random.Generator) -> float:
        looks = self.config.looks_at(case.spacing, min(case.hu.shape))
        return looks[int(rng.integers(len(looks)))] if len(looks) > 1 else looks[0]

    def sample(self, n: int, case: cache.Case, labels: Labels) -> dict[str, np.ndarray]:
        """Sample n of the run, made of ``case`` with ``labels``."""
        rng = np.random.default_rng([self.config.seed, 1, n])
        size, spacing = self.config.crop, self._look(case, rng)
        nearer = spacing / self.config.loss.spacing_mm  # a closer look sees less, and is aimed better
        middle = root_centre(labels.points, case.spacing)
        if middle is None:
            middle = (np.array(case.hu.shape) - 1) / 2
        options = self.config.augment
        if rng.random() < options.jitter_far_share:
            shift = rng.normal(size=3)
            shift *= nearer * options.jitter_far_mm * rng.random() / np.linalg.norm(shift)
        else:
            shift = rng.normal(0, nearer * options.jitter_near_mm, 3)
        axes = root_axes(labels.points * case.spacing) if self.config.aligned else None
        transform = draw_transform(
            rng, self.config, middle + shift / case.spacing, case.spacing, spacing, (size,) * 3, axes
        )
        fill = -1024.0 if rng.random() < 0.15 else None
        coronary = np.zeros(case.hu.shape, np.uint8) if case.coronary is None else case.coronary
        network = self.config.network
        extra = networks.extras(network)
        heart_needed = networks.sees_heart(network) or "heart" in extra
        maps = ([case.heart] if heart_needed else []) + ([coronary] if "coronary" in extra else [])
        source = case.hu
        if self.config.aligned:  # its crop lies aslant in the scanner's picture, whose slices run along the body
            source = augment.apply(source.astype(np.float32), labels.points, case.spacing, options, rng)
        hu, (calc, *maps) = transform.sample(source, [labels.calc, *maps], fill)
        points = transform.inverse(labels.points)
        if not self.config.aligned:
            hu = augment.apply(hu, points, spacing, options, rng)
        sample = crop_sample(hu, points, calc, self.config, calc_labelled=labels.calc_weight > 0)
        if self.config.aligned and axes is None:  # a pose that nobody knows: it would be a crop of another kind
            sample["mask"] = np.zeros_like(sample["mask"])
        if self.config.closer_look_mm is not None:
            sample["voxel_mm"] = np.float32(spacing)
        if labels.covariance is not None:
            _soften(sample, labels, transform, self.config)
        if networks.sees_heart(network):
            if not case.heart_known:
                raise InputError("A crop has no heart classes to condition on; let the coarse network crop it anew.")
            sample["image"] = np.concatenate([sample["image"], heart_channel(maps[0])[None]])
        if "heart" in extra:
            sample |= {"heart": maps[0].astype(np.int64), "heart_mask": np.float32(case.heart_known)}
        if "coronary" in extra:
            known = np.float32(case.coronary is not None)
            sample |= {"coronary": maps[-1].astype(np.float32)[None], "coronary_mask": known}
        return sample


def heart_channel(classes: np.ndarray) -> np.ndarray:
    """Heart classes -> the network's second input channel, float32, 0 (background) to 1 (the last class)."""
    return classes.astype(np.float32) / np.float32(len(schema.HEART_CLASSES) - 1)


def crop_sample(
    hu: np.ndarray, points: np.ndarray, calc: np.ndarray, config: TrainConfig, *, calc_labelled: bool = True
) -> dict[str, np.ndarray]:
    """HU, points in crop voxels (NaN: no label) and calcium mask of one crop -> network input, targets and masks."""
    inside = np.isfinite(points).all(1)
    inside[inside] = ((points[inside] > -0.5) & (points[inside] < config.crop - 0.5)).all(1)
    half = np.where(inside[:, None], (points - 0.5) / 2, np.nan)  # half voxel h covers the voxels 2h and 2h + 1
    sigma = config.loss.sigma_mm / (2 * config.loss.spacing_mm)
    return {
        "image": intensity.normalise(hu)[None],
        "target": heatmap.target(half, (config.crop // 2,) * 3, sigma, normalised=True),
        "points": half.astype(np.float32),
        "mask": inside.astype(np.float32),
        "calc": calc.astype(np.float32)[None],
        "calc_mask": np.float32(calc_labelled),
    }


def _soften(sample: dict[str, np.ndarray], labels: Labels, transform: Transform, config: TrainConfig) -> None:
    """Weights and wide targets of pseudo-labels into a sample; a true label's target stays as it is."""
    sample["mask"] = sample["mask"] * labels.weights.astype(np.float32)
    sample["calc"] = sample["calc"] / np.float32(labels.calc_scale)
    sample["calc_mask"] = np.float32(labels.calc_weight)
    back = np.linalg.inv(transform.matrix) / 2  # source voxels -> half-resolution voxels of the crop
    sigma = config.loss.sigma_mm / (2 * config.loss.spacing_mm)
    for row, covariance in enumerate(labels.covariance):
        if covariance.any() and sample["mask"][row]:
            wide = targets.widened(back @ covariance @ back.T, sigma)
            sample["target"][row] = targets.gaussian(sample["points"][row], wide, sample["target"].shape[1:])


class ChestDataset(Dataset):
    """Samples for the coarse network: ``image`` (1, X, Y, Z), ``heart`` (X, Y, Z) int64, ``root`` (1, X, Y, Z).

    All samples of a step share one field of view, drawn from the seed and the step.
    """

    def __init__(self, paths: list[Path], config: TrainConfig) -> None:
        self.paths, self.config = paths, config

    def __len__(self) -> int:
        return self.config.steps * self.config.batch

    def __getitem__(self, n: int) -> dict[str, np.ndarray]:
        step_rng = np.random.default_rng([self.config.seed, 2, n // self.config.batch])
        shape = _COARSE_SHAPES[int(step_rng.integers(len(_COARSE_SHAPES)))]
        rng = np.random.default_rng([self.config.seed, 3, n])
        case = cache.load(self.paths[shuffled(self.config.seed, n, len(self.paths))])
        size = np.array(case.hu.shape)
        root = root_centre(case.points, case.spacing)
        centre = (size - 1) / 2 + rng.normal(0, 4, 3)
        if root is not None and rng.random() < 0.75:  # a field of view that holds the root, anywhere in it
            reach = np.array(shape) * 0.5 - 3
            centre = root + rng.uniform(-1, 1, 3) * np.minimum(reach, size / 2)
        elif rng.random() < 0.7:  # or anywhere, so that hearts are cut and roots are missing
            centre = rng.uniform(0, 1, 3) * size
        transform = draw_transform(rng, self.config, centre, case.spacing, case.spacing, shape)
        hu, (heart,) = transform.sample(case.hu, [case.heart], -1024.0)
        points = transform.inverse(case.points)
        hu = augment.apply(hu, points, case.spacing, self.config.augment, rng)
        return chest_sample(hu, heart, points, case.spacing)


def chest_sample(hu: np.ndarray, heart: np.ndarray, points: np.ndarray, spacing: float) -> dict[str, np.ndarray]:
    """One coarse volume -> network input and targets; the root's target is empty where its centre lies outside."""
    centre = root_centre(points, spacing)
    shape = hu.shape
    if centre is not None and not ((centre > -0.5) & (centre < np.array(shape) - 0.5)).all():
        centre = None
    return {
        "image": intensity.normalise(hu)[None],
        "heart": heart.astype(np.int64),
        "root": heatmap.target([centre], shape, ROOT_SIGMA_VOXELS),
    }


def dataset(config: TrainConfig, paths: list[Path]) -> Dataset:
    """The samples of a run over the cached cases ``paths``."""
    return ChestDataset(paths, config) if config.task == "coarse" else CropDataset(paths, config)


def shuffled(seed: int, n: int, count: int) -> int:
    """Which of ``count`` cases sample n shows: a new permutation every epoch."""
    order = np.random.default_rng([seed, 4, n // count]).permutation(count)
    return int(order[n % count])
