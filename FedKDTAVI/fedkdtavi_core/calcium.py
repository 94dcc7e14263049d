"""Which voxels of the CT are calcium.

The student proposes a region and a stated HU rule decides on the CT's voxels; or a network that has learned nothing
else decides on them, and what lies outside the root, or is darker than blood, is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from scipy import ndimage

from . import schema
from .annotation import Landmark, Status
from .measurements.blood import MIN_CONTRAST_HU, Blood, lvot_blood, root_blood
from .measurements.plane import AnnulusPlane, annulus_plane
from .measurements.row import NotMeasurable
from .prosthesis import frame_around
from .volume import Grid, Volume

# Rules by name; a number instead of a name is a fixed threshold in HU.
CONTRAST_850 = "contrast-850"  # Jilaihawi 2014 (Eur Heart J Cardiovasc Imaging 15:1324): 850 HU on contrast CT
LVOT_300 = "lvot-300"  # Miccoli 2021: 450 HU with outflow tract blood under 300 HU, otherwise 850 HU
LUMEN_100 = "lumen-100"  # mean of the blood + 100 HU
# A blurred deposit's edge lies halfway from the blood to its peak. A fixed threshold makes dense deposits too large
# (blooming) and loses those that a soft kernel has dimmed.
PEAK_SHARE = "share-of-peak"
NETWORK = "network"  # the calcium network and the height of the HU together, voxel by voxel (calcium_voxels.decided)
RULES = (CONTRAST_850, LVOT_300, LUMEN_100, PEAK_SHARE, NETWORK)
# Half, where a voxel is as large as a deposit and has dimmed its peak. In a CT's usual voxels the peak is that of the
# deposit's dense core, and noise has raised it: the middle of the three voxel sides in mm, and the share. On 29 phantom
# CTs as scanners make them (seed 1191), with half and with this: 0.76 and 0.79 Dice in range, 0.66 and 0.68 out of it.
SHARE_OF_PEAK = ((0.75, 2.0), (0.4, 0.5))
PEAK_MM = 3.0  # how far along each axis a voxel looks for the peak of its deposit

DILATE_MM = 2.0  # the suggestion's voxels are 1.25 mm wide and its border is soft
MIN_VOLUME_MM3 = 1.0  # smaller separate specks are noise
MIN_SD_ABOVE_BLOOD = 2.0
# The valve's own: out to the sinuses' wall (about 1.5 annulus radii) with a margin, from the outflow tract to well
# above the sinotubular junction (1.69 +- 0.18 radii high, Koshkelashvili 2019): phantoms have calcium up to 2.9 hinge
# circle radii high. Dense contrast in the vena cava lies farther aside.
VALVE_BELOW_MM = 15.0
VALVE_ABOVE = (2.9, 3.0)  # hinge circle's radii, and mm
VALVE_ASIDE = (2.0, 3.0)
# Calcium in the mouth of a coronary artery is the artery's. Of 8,116 voxels of valve calcium in 232 phantoms 12 lay
# nearer.
OSTIUM_MM = 3.0
FRAME = "a thin bright ring surrounds the root, like the frame of a prosthetic valve"


@dataclass(frozen=True)
class CalciumResult:
    """What was decided.

    Attributes:
        mask: uint8 (i, j, k) on the CT's grid; None when refused.
        threshold_hu: HU from which a voxel may count (``share-of-peak`` asks more of a voxel near a bright deposit);
            None when refused before there was one, or where the network decides.
        rule: the rule in words, with its threshold and the region; printed wherever a volume is.
        lumen_mean, lumen_sd: HU of the root's blood; None when it could not be read.
        refused: why there is no mask, or None.
        warning: what speaks against the rule on this CT, or empty.
        volume_mm3: volume of the mask; None when refused.
    """

    mask: np.ndarray | None
    threshold_hu: float | None
    rule: str
    lumen_mean: float | None
    lumen_sd: float | None
    refused: str | None = None
    warning: str = ""
    volume_mm3: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """All but the mask, JSON-able: belongs into ``Annotation.provenance["calcium"]``, where measuring reads it."""
        return {
            "rule": self.rule,
            "threshold_hu": _rounded(self.threshold_hu),
            "lumen_mean_hu": _rounded(self.lumen_mean),
            "lumen_sd_hu": _rounded(self.lumen_sd),
            "refused": self.refused,
            "warning": self.warning,
            "volume_mm3": _rounded(self.volume_mm3),
        }


def decide(
    volume: Volume,
    suggestion: np.ndarray | None,
    suggestion_affine: np.ndarray | None,
    landmarks: Mapping[str, Landmark],
    *,
    rule: str | float = CONTRAST_850,
    probability: float = 0.5,
    dilate_mm: float = DILATE_MM,
) -> CalciumResult:
    """Decide on the CT's own voxels, inside the suggested region, which are calcium.

    A voxel is calcium when it has at least the rule's HU and its centre lies within ``dilate_mm`` of the suggested
    region, in the root (:data:`VALVE_ABOVE`) where the hinge points say where that is, and not in the mouth of a
    coronary artery (:data:`OSTIUM_MM`); separate specks under
    ``MIN_VOLUME_MM3`` are dropped. Only the part of the CT around the region is read. With the rule :data:`NETWORK` the
    suggested voxels are the CT's own, and count as they are where they are no darker than the blood.

    Args:
        volume: the CT in HU.
        suggestion: region proposed by the network on its own grid: a mask, or a probability 0..1.
        suggestion_affine: (4, 4) voxel indices of the suggestion to RAS mm.
        landmarks: id -> Landmark; hinge points (or other points of the wall) say where the blood is.
        rule: one of ``RULES``, or a fixed threshold in HU.
        probability: from which value on a voxel of ``suggestion`` belongs to the region.
        dilate_mm: how far the region is grown before the rule decides.

    Returns:
        The result; ``refused`` says why there is no mask: no suggestion, blood that cannot be read, no contrast, or a
        fixed threshold below the blood's mean + 2 SD, which would count blood as calcium; or the frame of a
        prosthetic valve.

    Raises:
        ValueError: an unknown rule.
    """
    if isinstance(rule, str) and rule not in RULES:
        raise ValueError(f"unknown calcium rule {rule!r}; known: {', '.join(RULES)}, or a number of HU")
    points = {
        i: None if mark.position is None or mark.status is Status.ABSENT else np.asarray(mark.position, float)
        for i, mark in landmarks.items()
    }
    plane: AnnulusPlane | None
    try:
        plane = annulus_plane(points)
    except NotMeasurable:
        plane = None
    try:
        blood = root_blood(volume, plane, points)
    except NotMeasurable as error:
        return _refused(f"the blood's HU cannot be read: {error}", None)
    if suggestion is None or suggestion_affine is None:
        return _refused("no region was suggested", blood)
    if not blood.contrasted:
        reason = f"no contrast: the lumen has {blood.mean:.0f} HU, under {MIN_CONTRAST_HU:.0f}"
        return _refused(f"{reason}, and the rules are for contrast CT", blood)
    if plane is not None and frame_around(volume, plane, blood):
        return _refused(FRAME, blood)

    threshold: float | None
    if rule == NETWORK:
        threshold, warning = None, ""
        words = (
            "by the calcium network's probability, and by how far a voxel is on the way from the blood's "
            f"{blood.mean:.0f} HU to the peak of its deposit"
        )
        region = ""
        hot = _own_voxels(volume, suggestion, suggestion_affine, blood.mean)
    else:
        threshold, words, warning = _threshold(volume, plane, blood, rule)
        least = blood.mean + MIN_SD_ABOVE_BLOOD * blood.sd
        if threshold < least:
            reason = (
                f"a threshold of {threshold:.0f} HU lies below the blood's mean + 2 SD ({least:.0f} HU): "
                f"blood would count as calcium; the rule {LUMEN_100} adapts to the blood"
            )
            return _refused(reason, blood, threshold, words)
        region = f" within {dilate_mm:g} mm of the region suggested by the network;"
        hot = _hot(volume, np.asarray(suggestion) >= probability, suggestion_affine, threshold, dilate_mm)
    if plane is not None:
        hot = hot[_in_the_root(volume.grid.to_ras(hot), plane)]
    for mouth in (points.get(i) for i in schema.OSTIUM_IDS):
        if mouth is not None:
            hot = hot[np.linalg.norm(volume.grid.to_ras(hot) - mouth, axis=1) >= OSTIUM_MM]
    if rule == PEAK_SHARE:
        hot, span = _to_share_of_peak(volume, hot, blood, threshold)
        words += f", here {_span(*span)}" if span else ""
    mask = np.zeros(volume.array.shape, np.uint8)
    _set_without_specks(mask, hot, volume.grid.voxel_volume)
    text = f"{words};{region} specks under 1 mm3 and {OSTIUM_MM:g} mm around the coronary ostia left out"
    volume_mm3 = float(np.count_nonzero(mask)) * volume.grid.voxel_volume
    return CalciumResult(mask, threshold, text, blood.mean, blood.sd, None, warning, volume_mm3)


def _threshold(volume: Volume, plane: AnnulusPlane | None, blood: Blood, rule: str | float) -> tuple[float, str, str]:
    """HU, the rule in words, and what speaks against it."""
    if not isinstance(rule, str):
        return float(rule), f"fixed threshold of {float(rule):.0f} HU", ""
    if rule == PEAK_SHARE:
        least = blood.mean + MIN_SD_ABOVE_BLOOD * blood.sd
        share = 100 * share_of_peak(volume)
        words = f"from {share:.0f} % of the way from the blood's {blood.mean:.0f} HU to the peak of each deposit"
        return least, words, ""
    if rule == LUMEN_100:
        least = blood.mean + MIN_SD_ABOVE_BLOOD * blood.sd
        threshold = max(blood.mean + 100, least)
        how = "mean of the blood + 100 HU" if threshold > least else "mean of the blood + 2 SD (more than + 100 HU)"
        return threshold, f"from {threshold:.0f} HU ({how})", ""
    tract = blood
    if plane is not None:
        try:
            tract = lvot_blood(volume, plane)
        except NotMeasurable:
            tract = blood  # the outflow tract is cut off: the root's blood stands in
    weak = tract.mean < 300
    if rule == LVOT_300:
        side = "under" if weak else "at least"
        threshold = 450.0 if weak else 850.0
        words = f"from {threshold:.0f} HU (Miccoli 2021; outflow tract blood {tract.mean:.0f} HU, {side} 300)"
        return threshold, words, ""
    warning = ""
    if weak:
        warning = f"outflow tract blood has {tract.mean:.0f} HU, under 300: 850 HU may miss calcium (Miccoli 2021: 450)"
    return 850.0, "from 850 HU (contrast CT, Jilaihawi 2014)", warning


def _hot(volume: Volume, region: np.ndarray, affine: np.ndarray, threshold: float, dilate_mm: float) -> np.ndarray:
    """(n, 3) indices of the CT's voxels in the grown region that have at least ``threshold`` HU."""
    nothing = np.zeros((0, 3), int)
    found = np.argwhere(region)
    if not len(found):
        return nothing
    source = Grid(region.shape, np.asarray(affine, float))
    # Distance to the region in mm on the suggestion's grid (a voxel reaches half its width), with room to grow.
    pad = np.ceil(dilate_mm / source.spacing).astype(int) + 2
    first = found.min(axis=0)
    part = region[tuple(slice(a, b + 1) for a, b in zip(first, found.max(axis=0), strict=True))]
    part = np.pad(part, [(p, p) for p in pad])
    distance = ndimage.distance_transform_edt(~part, sampling=source.spacing).astype(np.float32)
    reach = dilate_mm + float(source.spacing.mean()) / 2

    corners = np.array(list(product((0, 1), repeat=3))) * (np.array(part.shape) - 1) + first - pad
    low, high = volume.grid.box_around(source.to_ras(corners))
    if np.any(high <= low):
        return nothing
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    hot = np.argwhere(np.asarray(volume.array[box]) >= threshold) + low
    if not len(hot):
        return nothing
    # Only voxels over the threshold are looked up in the region.
    place = source.to_ijk(volume.grid.to_ras(hot)) - first + pad
    return hot[ndimage.map_coordinates(distance, place.T, order=1, mode="constant", cval=1e3) <= reach]


def _own_voxels(volume: Volume, mask: np.ndarray, affine: np.ndarray, least: float) -> np.ndarray:
    """(n, 3) indices of the CT's voxels that are set in ``mask``, a box of the CT's own grid, and have ``least`` HU."""
    source = Grid(mask.shape, np.asarray(affine, float))
    voxels = np.rint(volume.grid.to_ijk(source.to_ras(np.argwhere(mask)))).astype(int)
    voxels = voxels[((voxels >= 0) & (voxels < volume.array.shape)).all(axis=1)]
    return voxels[np.asarray(volume.array[tuple(voxels.T)]) >= least]


def _in_the_root(points: np.ndarray, plane: AnnulusPlane) -> np.ndarray:
    """(N,) of (N, 3) RAS mm: near enough to the annulus to belong to the valve or its outflow tract."""
    middle, radius = plane.reach
    height = plane.height(points)
    aside = np.linalg.norm(points - middle - height[:, None] * plane.normal, axis=1)
    above, reach = (share * radius + more for share, more in (VALVE_ABOVE, VALVE_ASIDE))
    return (height >= -VALVE_BELOW_MM) & (height <= above) & (aside <= reach)


def share_of_peak(volume: Volume) -> float:
    """From which share of the way from the blood to its deposit's peak a voxel of this CT counts."""
    return float(np.interp(np.median(volume.grid.spacing), *SHARE_OF_PEAK))


def least_peak(blood: Blood) -> float:
    """HU that a deposit has to reach: under 100 HU or 4 SD over the blood it is noise, or badly mixed contrast."""
    return blood.mean + max(100.0, 4 * blood.sd)


def toward_peak(volume: Volume, voxels: np.ndarray, blood: Blood, least: float) -> tuple[np.ndarray, np.ndarray]:
    """How far the ``voxels`` (n, 3) of a CT are on the way from the blood (0) to the peak of their deposit (1).

    Args:
        least: HU of all that is not among the voxels.

    Returns:
        (n,) shares, and (n,) the peaks in HU: the highest of ``voxels`` within :data:`PEAK_MM` along each axis.
    """
    low = voxels.min(axis=0)
    values = np.asarray(volume.array[tuple(voxels.T)], np.float32)
    image = np.full(voxels.max(axis=0) - low + 1, least, np.float32)
    place = tuple((voxels - low).T)
    image[place] = values
    width = 2 * np.rint(PEAK_MM / volume.grid.spacing).astype(int) + 1
    peak = ndimage.maximum_filter(image, size=tuple(int(n) for n in width), mode="nearest")[place]
    return (values - blood.mean) / np.maximum(peak - blood.mean, 1.0), peak


def _to_share_of_peak(
    volume: Volume, hot: np.ndarray, blood: Blood, least: float
) -> tuple[np.ndarray, tuple[float, float] | None]:
    """Those of the voxels ``hot`` (n, 3) that reach their share of the way to the peak; the span of the thresholds."""
    if not len(hot):
        return hot, None
    _, peak = toward_peak(volume, hot, blood, least)
    values = np.asarray(volume.array[tuple(hot.T)], np.float32)
    edge = np.maximum(blood.mean + share_of_peak(volume) * (peak - blood.mean), least)
    kept = (values >= edge) & (peak >= least_peak(blood))
    if not kept.any():
        return hot[kept], None
    return hot[kept], (float(edge[kept].min()), float(edge[kept].max()))


def _set_without_specks(mask: np.ndarray, voxels: np.ndarray, voxel_volume: float) -> None:
    """Set ``voxels`` (n, 3) in ``mask``, all but connected pieces under ``MIN_VOLUME_MM3`` (26 neighbours)."""
    if not len(voxels):
        return
    low = voxels.min(axis=0)
    piece = np.zeros(voxels.max(axis=0) - low + 1, bool)
    piece[tuple((voxels - low).T)] = True
    labels, _ = ndimage.label(piece, np.ones((3, 3, 3)))
    sizes = np.bincount(labels.ravel()) * voxel_volume
    sizes[0] = 0
    kept = sizes[labels[tuple((voxels - low).T)]] >= MIN_VOLUME_MM3
    mask[tuple(voxels[kept].T)] = 1


def _span(low: float, high: float) -> str:
    return f"{low:.0f} HU" if round(low) == round(high) else f"{low:.0f} to {high:.0f} HU"


def _refused(reason: str, blood: Blood | None, threshold: float | None = None, words: str = "") -> CalciumResult:
    mean, sd = (None, None) if blood is None else (blood.mean, blood.sd)
    return CalciumResult(None, threshold, words or f"none: {reason}", mean, sd, reason)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(float(value), 1)
