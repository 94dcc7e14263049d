"""The fine look: one crop around the aortic root, through the student, to landmarks and a region of calcification."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from . import geometry, heatmap, intensity, readout, schema
from .bundle import Bundle
from .errors import BundleError
from .looks import closer, combine, refined, within_reach
from .progress import SILENT, Progress
from .volume import Grid, Volume

if TYPE_CHECKING:
    from .measurements.plane import AnnulusPlane

ROOT_SHIFT_MM = 8.0  # from the middle of the hinge points towards the aorta: the root's centre
_RECENTER_MM = 3.0  # a crop that is off by less is left where it is
_FARTHEST_MM = 40.0  # half a crop: hinge points that would move it farther are not believed
_BELIEVED = 0.2  # raw confidence that each hinge point needs to move the crop
_DOUBT_HINGE_MM, _DOUBT_OSTIUM_MM = 4.0, 3.0  # student and refiner farther apart: a person is told


@dataclass(frozen=True)
class Prediction:
    """One landmark as the student sees it.

    Attributes:
        position: (3,) RAS mm.
        covariance: (3, 3) mm^2.
        raw: 0..1, share of the heatmap's probability near its peak (or the segmented class's mean probability); over
            several views, less what disagrees.
        confidence: 0..1, calibrated: P(error < 5 mm) on held-out phantoms; equal to ``raw`` without a table.
        apart_mm: how far student and refiner put it from each other; None without a refiner.
    """

    position: np.ndarray
    covariance: np.ndarray
    raw: float
    confidence: float
    apart_mm: float | None = None

    def torn(self, label_id: str) -> bool:
        """Are student and refiner so far apart that a person has to be told?

        Of 172 ostia in phantoms (seeds 1191 and 1160) the limit picks 13 %, among them 10 of 12 errors over 5 mm; of
        the hinge points it picks 3 %, half of which are that far off. At the septum it means nothing.
        """
        limit = _DOUBT_OSTIUM_MM if label_id in schema.OSTIUM_IDS else _DOUBT_HINGE_MM
        asked = label_id in (*schema.HINGE_IDS, *schema.OSTIUM_IDS)
        return asked and self.apart_mm is not None and self.apart_mm > limit


@dataclass(frozen=True)
class Calcification:
    """Where calcium may be.

    Attributes:
        probability: (N, N, N) float32 on ``grid``.
        grid: the student's last crop, or the calcium network's.
        model: ``student`` proposes a region; ``calcium`` has learned to tell voxels.
    """

    probability: np.ndarray
    grid: Grid
    model: str


@dataclass(frozen=True)
class FineResult:
    """What the student saw.

    Attributes:
        predictions: landmark id -> Prediction, for the heads the bundle has; without those that it reads as missing.
        calcification: of the network that saw it last, or None without that head.
        grid: the student's last crop.
        centers: (P, 3) RAS mm, centres of the crops in order; more than one when it was re-centred.
        device: where the network ran.
        notes: sentences on what was not as asked for.
        seconds: time in ``fine`` (resampling and network) and ``decode``.
    """

    predictions: dict[str, Prediction]
    calcification: Calcification | None
    grid: Grid
    centers: np.ndarray
    device: str
    notes: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)


def root_center(points: Mapping[str, np.ndarray | None]) -> np.ndarray | None:
    """(3,) RAS mm: mean of the three hinge points shifted 8 mm along the annulus plane's normal towards the aorta.

    This is the point that the coarse network learns and crops are centred on. None when the hinge points do not define
    a plane.
    """
    plane = _plane(points)
    return None if plane is None else plane.hinges.mean(axis=0) + ROOT_SHIFT_MM * plane.normal


def root_axes(points: Mapping[str, np.ndarray | None]) -> np.ndarray | None:
    """(3, 3) orthonormal axes of the root, as columns in RAS: towards the RCC hinge point, across it, along the normal.

    In a crop along these axes the annulus plane lies flat and every root is turned alike: what the refiner looks at.
    None when the hinge points do not define a plane.
    """
    plane = _plane(points)
    return None if plane is None else np.stack([plane.u, plane.v, plane.normal], axis=1)


def _plane(points: Mapping[str, np.ndarray | None]) -> AnnulusPlane | None:
    from .measurements.plane import annulus_plane
    from .measurements.row import NotMeasurable

    try:
        return annulus_plane(points)
    except NotMeasurable:
        return None


def predict(
    volume: Volume, bundle: Bundle, center_ras: np.ndarray, device: str = "auto", progress: Progress = SILENT
) -> FineResult:
    """Landmarks and calcification near ``center_ras`` ((3,) RAS mm).

    The crop is centred anew on the root that the hinge points show, at most ``recenter_passes`` times and only if it
    was off by more than 3 mm. With ``views`` in the bundle's preprocessing, shifted crops are averaged. With
    ``closer_look_mm`` the same network then looks at a crop of such finer voxels around the root: calcium is taken from
    there, landmarks from the product of both looks' probabilities as :func:`.looks.closer` says. With ``aligned_look``
    the refiner has the last look at them, in a crop along the root's own axes. With ``calcium_look`` a network of its
    own says where calcium is, in a crop around the root that these landmarks show.

    Raises:
        BundleError: the network does not give what it should.
    """
    settings = bundle.metadata["preprocessing"]
    size, spacing = settings["crop_size"], float(settings["crop_spacing_mm"])
    session, heads = bundle.session("student", device), bundle.metadata["heads"]
    seconds = {"fine": 0.0, "decode": 0.0}
    views = [np.asarray(view, float) for view in settings.get("views", [])]
    passes = settings["recenter_passes"]
    near = settings.get("closer_look_mm")
    aligned, of_calcium = settings.get("aligned_look"), settings.get("calcium_look")
    looks = passes + 1 + len(views) + (near is not None) + (aligned is not None) + (of_calcium is not None)

    def shown(grid: Grid, model: str) -> dict[str, np.ndarray]:
        start = perf_counter()
        network = session if model == "student" else bundle.session(model, device)
        outputs = network(intensity.normalise(geometry.resample(volume, grid))[None, None])
        seconds["fine"] += perf_counter() - start
        return outputs

    def look(
        grid: Grid, number: int, before: tuple[Mapping[str, Any], Grid] | None = None, model: str = "student"
    ) -> tuple[dict[str, heatmap.Decoded], dict[str, np.ndarray], Grid]:
        progress.step(number / looks, "Looking closely at the aortic root")
        outputs = shown(grid, model)
        middle = perf_counter()
        if before is not None:
            outputs = outputs | both(*before, outputs, grid, heads)
        decoded = decode(outputs, heads if model == "student" else _as_heatmaps(heads), grid, model)
        seconds["decode"] += perf_counter() - middle
        return decoded, outputs, grid

    def crop(center: np.ndarray) -> Grid:
        return geometry.crop_grid(center, size, spacing)

    centers = [np.asarray(center_ras, float)]
    decoded, outputs, grid = look(crop(centers[0]), 0)
    for number in range(passes):
        better = better_center(decoded, centers[0], centers[-1])
        if better is None:
            break
        centers.append(better)
        decoded, outputs, grid = look(crop(better), number + 1)
    seen = [decoded, *(look(crop(centers[-1] + view), passes + 1 + n)[0] for n, view in enumerate(views))]
    closely: dict[str, heatmap.Decoded] = {}
    middle = root_center({i: one.position for i, one in decoded.items()})
    if near is not None and middle is not None:
        close_crop = geometry.crop_grid(middle, size, float(near))
        closely, outputs, grid = look(close_crop, passes + 1 + len(views), (outputs, grid))

    found: dict[str, tuple[np.ndarray, np.ndarray, float]] = {}
    for label_id in (one for ids in _outputs(heads).values() for one in ids):
        views_of_it = [one[label_id] for one in seen if within_reach(one.get(label_id), middle)]
        usual = combine(views_of_it, len(seen)) if views_of_it else None
        if within_reach(closely.get(label_id), middle):
            found[label_id] = closer(usual, closely[label_id])
        elif usual is not None:
            found[label_id] = usual
    apart: dict[str, float] = {}
    if aligned is not None and (along := aligned_grid({i: one[0] for i, one in found.items()}, aligned)) is not None:
        last, _, _ = look(along, looks - 1 - (of_calcium is not None), model="refiner")
        for label_id in found.keys() & last.keys():
            apart[label_id] = float(np.linalg.norm(last[label_id].position - found[label_id][0]))
            found[label_id] = refined(label_id, found[label_id], last[label_id])
    predictions = {}
    for head, ids in _outputs(heads).items():
        for label_id in (one for one in ids if one in found):
            confidence = calibrated(found[label_id][2], bundle.metadata["calibration"].get(head))
            predictions[label_id] = Prediction(*found[label_id], confidence, apart.get(label_id))
    calcification = None
    if "calc" in heads:
        middle = root_center({i: one[0] for i, one in found.items()})
        if of_calcium is not None and middle is not None:
            progress.step((looks - 1) / looks, "Looking for calcium")
            around = geometry.crop_grid(middle, int(of_calcium["size"]), float(of_calcium["spacing_mm"]))
            calcification = _calcification(shown(around, "calcium"), around, "calcium")
        elif "calc" in outputs:
            calcification = _calcification(outputs, grid, "student")
    progress.step(1.0, "Looked closely at the aortic root")
    return FineResult(predictions, calcification, grid, np.array(centers), session.device, list(session.notes), seconds)


def aligned_grid(points: Mapping[str, np.ndarray | None], look: Mapping[str, float]) -> Grid | None:
    """The refiner's crop: along the axes of the root that ``points`` show, centred on it; None without a root.

    Args:
        points: landmark id -> (3,) RAS mm.
        look: the metadata's ``aligned_look``: ``size`` in voxels, ``spacing_mm``.
    """
    center, axes = root_center(points), root_axes(points)
    if center is None or axes is None:
        return None
    return geometry.crop_grid(center, int(look["size"]), float(look["spacing_mm"]), axes)


def decode(
    outputs: Mapping[str, np.ndarray], heads: Mapping[str, Any], grid: Grid, model: str = "student"
) -> dict[str, heatmap.Decoded]:
    """A network's outputs for one crop -> landmark id -> Decoded; an id that is read as missing is not in it.

    Args:
        outputs: head -> (1, C, D, D, D) logits; D may be coarser than the crop, over the same field of view.
        heads: the metadata's ``heads``: channels, and how they are read.
        grid: the crop's grid.
        model: the network's name in a bundle, for the sentences.

    Raises:
        BundleError: an output is missing, has another shape or holds NaN.
    """
    found: dict[str, heatmap.Decoded] = {}
    for head, ids in _outputs(heads).items():
        logits = outputs.get(head)
        if logits is None or logits.ndim != 5 or logits.shape[:2] != (1, len(ids)) or len(set(logits.shape[2:])) != 1:
            given = "missing" if logits is None else logits.shape
            raise BundleError(f"models/{model}.onnx: output {head!r} is {given}, expected (1, {len(ids)}, D, D, D).")
        try:
            how = heads[head].get("readout", readout.HEATMAP)
            decoded = readout.read(how, logits[0], output_grid(grid, logits.shape[2]))
        except ValueError as error:
            raise BundleError(f"models/{model}.onnx: output {head!r} is unusable ({error}).") from error
        found |= {label_id: one for label_id, one in zip(ids, decoded, strict=True) if one is not None}
    return found


def output_grid(crop: Grid, size: int) -> Grid:
    """The grid of ``size``^3 voxels that covers the same field of view as a cubic crop, along the same axes."""
    center = crop.to_ras((np.array(crop.shape) - 1) / 2)
    return geometry.crop_grid(
        center, size, float(crop.spacing[0]) * crop.shape[0] / size, crop.affine[:3, :3] / crop.spacing
    )


def both(
    usual: Mapping[str, np.ndarray],
    usual_crop: Grid,
    close: Mapping[str, np.ndarray],
    close_crop: Grid,
    heads: Mapping[str, Any],
) -> dict[str, np.ndarray]:
    """Heatmaps of the closer look times those of the usual one: head -> (1, C, D, D, D) sums of logits.

    Two looks with errors of their own seldom agree on a wrong place (Hinton's product of experts). Only for heads that
    are read as heatmaps.

    Args:
        usual, close: outputs of the two looks.
        usual_crop, close_crop: their crops, along the same axes.
        heads: the metadata's ``heads``.
    """
    product = {}
    for head in _outputs(heads):
        if heads[head].get("readout", readout.HEATMAP) != readout.HEATMAP or head not in usual or head not in close:
            continue
        source, target = output_grid(usual_crop, usual[head].shape[2]), output_grid(close_crop, close[head].shape[2])
        steps = np.arange(target.shape[0])
        place = source.to_ijk(target.to_ras(np.stack([steps] * 3, axis=1)))  # (D, 3): axes are parallel
        i, j, k = (_linear(axis, source.shape[0]) for axis in place.T)
        product[head] = close[head] + np.einsum("xi,yj,zk,ncijk->ncxyz", i, j, k, usual[head], optimize=True)
    return product


def _linear(place: np.ndarray, count: int) -> np.ndarray:
    """(D, count) float32: reads a row of ``count`` values linearly at (D,) places, the outer ones beyond its ends."""
    return np.stack([np.interp(place, np.arange(count), row) for row in np.eye(count)], axis=1).astype(np.float32)


def calibrated(raw: float, table: Mapping[str, list[float]] | None) -> float:
    """Raw confidence -> P(error < 5 mm) on held-out phantoms, piecewise linear; ``raw`` itself without a table."""
    return float(raw) if table is None else float(np.interp(raw, table["raw"], table["p_within_5mm"]))


def _as_heatmaps(heads: Mapping[str, Any]) -> dict[str, Any]:
    """The landmark heads as a refiner has them, whatever the student's are read as."""
    return {head: {"outputs": ids} for head, ids in _outputs(heads).items()}


def _outputs(heads: Mapping[str, Any]) -> dict[str, list[str]]:
    """Landmark head -> ids of its channels, for the heads a bundle has."""
    return {head: heads[head]["outputs"] for head in schema.LANDMARK_HEADS if head in heads}


def better_center(decoded: Mapping[str, heatmap.Decoded], first: np.ndarray, current: np.ndarray) -> np.ndarray | None:
    """Where the crop should be centred instead, or None when it is fine or the hinge points are not to be believed."""
    hinges = [decoded.get(i) for i in schema.HINGE_IDS]
    if any(hinge is None or hinge.confidence < _BELIEVED for hinge in hinges):
        return None
    center = root_center({i: one.position for i, one in decoded.items()})
    if center is None or np.linalg.norm(center - first) > _FARTHEST_MM:
        return None
    return center if np.linalg.norm(center - current) > _RECENTER_MM else None


def _calcification(outputs: Mapping[str, np.ndarray], grid: Grid, model: str) -> Calcification:
    logits = outputs["calc"]
    if logits.shape != (1, 1, *grid.shape) or not np.all(np.isfinite(logits)):
        raise BundleError(
            f"models/{model}.onnx: output 'calc' is {logits.shape} or not finite, expected {(1, 1, *grid.shape)}."
        )
    # 1 / (1 + exp(-x)) without overflow.
    return Calcification(np.exp(-np.logaddexp(np.float32(0), -logits[0, 0])), grid, model)
