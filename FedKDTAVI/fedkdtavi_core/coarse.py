"""The coarse look: where in the CT is the aortic root, is there one at all, and is all of it in the picture?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from . import geometry, heatmap, intensity, schema
from .bundle import Bundle
from .errors import BundleError, NoRootError
from .progress import SILENT, Progress
from .volume import Grid, Volume

# The centre lies 8 mm above the hinge points; an annulus radius of 13 mm and the sinuses' height need about this much
# CT around it. Bundles say their own with thresholds.root_margin_mm.
ROOT_MARGIN_MM = 15.0
HEART_ML = 60.0  # less than this is no heart: the smallest heart's chambers alone hold several times as much
_PEAK_WINDOW_MM = 12.0
_FACE_MM = 6.0  # the heart reaches the CT's last slices if it comes this near
_AIR_HU = -1000.0  # at and below: outside the CT, outside the body, or air; no root there
_BLOCK, _OVERLAP = 128, 32  # voxels along the long axis for one run of the network: memory stays bounded


@dataclass(frozen=True)
class CoarseResult:
    """What the coarse network saw.

    Attributes:
        center_ras: (3,) RAS mm, the aortic root's centre (mean of the hinge points shifted 8 mm towards the aorta);
            the best guess even when ``found`` is False, None when no voxel can be one.
        score: 0..1, the network's highest probability for it.
        heart_volume_ml: class of :data:`schema.HEART_CLASSES` (without background) -> ml inside the CT.
        found: is there a root?
        covered: is all of the root inside the CT?
        reason: why not found or not covered, as one sentence for a person; None when all is well.
        margin_mm: distance of the centre from the nearest face of the CT; negative outside.
        device: where the network ran.
        notes: sentences on what was not as asked for.
        labels: uint8 heart classes on ``labels_affine`` (RAS axes, coarse), if asked for.
    """

    center_ras: np.ndarray | None
    score: float
    heart_volume_ml: dict[str, float]
    found: bool
    covered: bool
    reason: str | None
    margin_mm: float
    device: str
    notes: list[str] = field(default_factory=list)
    labels: np.ndarray | None = None
    labels_affine: np.ndarray | None = None


def locate(
    volume: Volume, bundle: Bundle, device: str = "auto", progress: Progress = SILENT, *, labels: bool = False
) -> CoarseResult:
    """Find the aortic root in a whole CT. As :func:`examine`, but a root that is not there or cut off is an error.

    Raises:
        NoRootError: the CT shows no root, or not all of it; one sentence says which and what to do.
        BundleError: the network does not give what it should.
    """
    result = examine(volume, bundle, device, progress, labels=labels)
    if result.reason is not None:
        raise NoRootError(result.reason)
    return result


def examine(
    volume: Volume, bundle: Bundle, device: str = "auto", progress: Progress = SILENT, *, labels: bool = False
) -> CoarseResult:
    """Look at a whole CT at low resolution and judge what is there, without complaining.

    Args:
        volume: the CT.
        bundle: gives the network ``coarse`` and ``thresholds``.
        device: ``auto``, ``cpu`` or ``cuda``.
        progress: reports and cancels.
        labels: also return the heart classes.

    Raises:
        BundleError: the network does not give what it should.
    """
    progress.step(0.0, "Looking at the whole CT")
    grid = geometry.coarse_grid(volume, spacing=bundle.metadata["preprocessing"]["coarse_spacing_mm"])
    hu = geometry.resample(volume, grid)
    solid = hu > _AIR_HU
    progress.step(0.3, "Looking for the aortic root")
    session = bundle.session("coarse", device)
    classes, root = _run(session, intensity.normalise(hu), progress.part(0.3, 0.95))
    classes[~solid] = 0
    voxel_ml = grid.voxel_volume / 1000
    counts = np.bincount(classes.ravel(), minlength=len(schema.HEART_CLASSES))
    volumes = {name: float(counts[i] * voxel_ml) for i, name in enumerate(schema.HEART_CLASSES) if i}

    center, score = _root(root, solid, grid)
    thresholds = bundle.metadata["thresholds"]
    found, covered, reason, margin = _judge(volume, grid, classes, center, score, volumes, thresholds)
    progress.step(1.0, "Looked at the whole CT")
    return CoarseResult(
        center_ras=center,
        score=score,
        heart_volume_ml=volumes,
        found=found,
        covered=covered,
        reason=reason,
        margin_mm=margin,
        device=session.device,
        notes=list(session.notes),
        labels=classes if labels else None,
        labels_affine=grid.affine if labels else None,
    )


def _run(
    session: Callable[[np.ndarray], dict[str, np.ndarray]], image: np.ndarray, progress: Progress
) -> tuple[np.ndarray, np.ndarray]:
    """Heart classes (uint8) and root logits (float32), both of the image's shape.

    A CT longer than a chest is taken in overlapping blocks along z; each voxel comes from the block in which it lies
    deeper.
    """
    classes, root = np.zeros(image.shape, np.uint8), np.full(image.shape, -np.inf, np.float32)
    length = image.shape[2]
    starts = [0] if length <= _BLOCK else [*range(0, length - _BLOCK, _BLOCK - _OVERLAP), length - _BLOCK]
    for number, start in enumerate(starts):
        progress.step(number / len(starts), "Looking for the aortic root")
        stop = min(start + _BLOCK, length)
        outputs = session(image[None, None, :, :, start:stop])
        shape = (*image.shape[:2], stop - start)
        for name, channels in (("heart", len(schema.HEART_CLASSES)), ("root", 1)):
            given = outputs[name].shape if name in outputs else "nothing"
            if given != (1, channels, *shape):
                raise BundleError(
                    f"models/coarse.onnx: its output {name!r} is {given}, expected {(1, channels, *shape)}."
                )
        if not np.all(np.isfinite(outputs["root"])):
            raise BundleError("models/coarse.onnx: its output 'root' is not finite; the network is unusable.")
        first = 0
        if number:  # the middle of what this block shares with the one before
            first = (starts[number - 1] + _BLOCK - start) // 2
        classes[:, :, start + first : stop] = np.argmax(outputs["heart"][0], axis=0)[:, :, first:]
        root[:, :, start + first : stop] = outputs["root"][0, 0, :, :, first:]
    return classes, root


def _root(logits: np.ndarray, solid: np.ndarray, grid: Grid) -> tuple[np.ndarray | None, float]:
    """The root's centre (RAS mm, sub-voxel) and its probability; None and 0 when there is no solid voxel."""
    if not solid.any():
        return None, 0.0
    # log(sigmoid): its softmax is proportional to the sigmoid, the Gaussian that the network was taught.
    log_probability = np.where(solid, -np.logaddexp(np.float32(0), -logits), np.float32(-np.inf))
    decoded = heatmap.decode(log_probability[None], grid, window_mm=_PEAK_WINDOW_MM)[0]
    return decoded.position, float(np.exp(log_probability[decoded.peak_ijk]))


def _judge(
    volume: Volume,
    grid: Grid,
    classes: np.ndarray,
    center: np.ndarray | None,
    score: float,
    volumes: dict[str, float],
    thresholds: dict[str, float],
) -> tuple[bool, bool, str | None, float]:
    """found, covered, reason, margin: see :class:`CoarseResult`."""
    margin, side = (-np.inf, "") if center is None else _margin(volume.grid, center)
    needed = thresholds.get("root_margin_mm", ROOT_MARGIN_MM)
    heart_ml = sum(volumes.values())
    where = volume.info.get("path", "The CT")
    if heart_ml < thresholds.get("heart_ml", HEART_ML):
        reason = (
            f"{where}: no heart was found in this CT, or only a part of one; the scan must reach from the left "
            "ventricle to the ascending aorta."
        )
        return False, False, reason, margin
    if center is None or score < thresholds["root_score"]:
        side = _cut_side(volume.grid, grid, classes)
        cause = f", and the heart is cut off at the {side} end of the scan" if side else ""
        reason = (
            f"{where}: a heart was found but no aortic root (score {score:.2f}){cause}; the scan range must reach from "
            "the left ventricle to the ascending aorta."
        )
        return False, False, reason, margin
    if margin < needed:
        reason = (
            f"{where}: the CT ends {max(margin, 0):.0f} mm from the aortic root's centre on the {side} side; the scan "
            f"range must reach at least {needed:.0f} mm beyond it."
        )
        return True, False, reason, margin
    return True, True, None, margin


_SIDES = (("left", "right"), ("posterior", "anterior"), ("lower", "upper"))


def _margin(grid: Grid, point: np.ndarray) -> tuple[float, str]:
    """Distance in mm (negative outside) of a point from the nearest face of a grid, and that face's name."""
    ijk = grid.to_ijk(point)
    distances = []
    for axis in range(3):
        # Distance along the face's normal, which for orthogonal axes is the axis itself.
        spacing = grid.spacing[axis]
        distances.append(((ijk[axis] + 0.5) * spacing, _side(grid, axis, -1)))
        distances.append(((grid.shape[axis] - 0.5 - ijk[axis]) * spacing, _side(grid, axis, +1)))
    return min(distances)


def _side(grid: Grid, axis: int, sign: int) -> str:
    """The anatomical name of the face at the low (sign -1) or high (+1) end of an axis."""
    direction = sign * grid.affine[:3, axis]
    dominant = int(np.argmax(np.abs(direction)))
    return _SIDES[dominant][int(direction[dominant] > 0)]


def _cut_side(ct: Grid, coarse: Grid, classes: np.ndarray) -> str:
    """``lower`` or ``upper`` when the heart reaches that end of the CT over at least 5 cm^2, else nothing."""
    heart = np.argwhere(classes > 0)
    if not len(heart):
        return ""
    ijk = ct.to_ijk(coarse.to_ras(heart))
    axis = int(np.argmax(np.abs(ct.affine[2, :3])))
    reach = _FACE_MM / ct.spacing[axis]
    low = np.count_nonzero(ijk[:, axis] + 0.5 < reach)
    high = np.count_nonzero(ct.shape[axis] - 0.5 - ijk[:, axis] < reach)
    if max(low, high) * coarse.voxel_volume / _FACE_MM < 500:
        return ""
    return _side(ct, axis, -1 if low >= high else +1)
