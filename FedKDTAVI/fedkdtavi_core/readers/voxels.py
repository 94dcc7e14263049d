"""Are the voxels Hounsfield units of a CT? Mends a little, refuses the rest, returns int16 or float32."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from .refusal import refuse

AIR_HU = -1024
# NaN and infinite voxels up to this share of all are mended from their neighbours.
MAX_REPAIRED_SHARE = 0.01
# Values a CT's voxels can have, with room for padding (-3024 and the like) and for 16-bit metal.
HU_RANGE = (-32768, 32767)
# Judged on up to this many voxels, regularly picked.
SAMPLE = 1_000_000
# Noise takes air a little below -1024, padding is one value. Many different ones far below are another scale.
NO_TISSUE_HU, MAX_NO_TISSUE_SHARE, MAX_PADDINGS = -1500, 0.01, 50
MAX_LABELS = 256  # so many different whole numbers or fewer, none negative: labels or 8-bit grey values
MIN_SPREAD = 200.0  # HU between the 0.1 % and 99.9 % quantiles; fat to contrast alone are 300
MIN_DARK_SHARE = 0.001  # voxels below -20 HU (air, lung, fat): every chest CT has some, also cropped to the heart
MIN_SOFT_SHARE = 0.01  # voxels between -200 and 500 HU (fat, muscle, blood with contrast)
GIVE_HU = "give the CT in Hounsfield units (slope and intercept applied or in the header)"


def finish(path: Path, array: np.ndarray, info: dict[str, Any]) -> np.ndarray:
    """Check and tidy voxels: ``array`` (i, j, k), integers or float32, in the file's scale.

    NaN and infinity are mended up to 1 % of the voxels, values below -1024 HU (padding outside the scanned circle)
    become -1024, and whole numbers become int16. What was done is appended to ``info["notes"]``.

    Raises InputError for what is no CT in HU: labels, MR, raw detector values without intercept, colour scales.
    """
    if array.dtype.kind == "f":
        array = _mend(path, array, info)
    low, high = array.min(), array.max()
    if low < HU_RANGE[0] or high > HU_RANGE[1]:
        raise refuse(path, f"has values from {low:.6g} to {high:.6g}, which are no Hounsfield units", GIVE_HU)
    _check_is_ct(path, _sample(array), float(low), float(high))
    array = _as_int16(array)
    if low < AIR_HU:
        if low < AIR_HU - 76:
            info["notes"].append(
                f"Values below {AIR_HU} HU (down to {low:.0f}) are padding or noise and were set to {AIR_HU}."
            )
        if not array.flags.writeable:
            array = array.copy(order="K")
        np.maximum(array, AIR_HU, out=array)
    return array


def _sample(array: np.ndarray) -> np.ndarray:
    step = max(1, int(np.ceil((array.size / SAMPLE) ** (1 / 3) - 0.01)))
    return np.ascontiguousarray(array[step // 2 :: step, step // 2 :: step, step // 2 :: step])


def _check_is_ct(path: Path, sample: np.ndarray, low: float, high: float) -> None:
    if low == high:
        raise refuse(path, f"has the same value ({low:g}) in every voxel", "give a CT")
    different = np.unique(sample)
    if low >= 0 and len(different) <= MAX_LABELS and np.all(different == np.round(different)):
        raise refuse(
            path,
            f"looks like a label map or an 8-bit picture ({len(different)} different whole numbers, none negative)",
            "give the CT itself, in Hounsfield units",
        )
    bottom, top = np.quantile(sample, [0.001, 0.999])
    if top - bottom < MIN_SPREAD:
        raise refuse(path, f"has values from {bottom:.4g} to {top:.4g} only, too few for Hounsfield units", GIVE_HU)
    if np.mean(sample < -20) < MIN_DARK_SHARE:
        raw = np.mean(sample < 200) > 0.02 and np.mean((sample > 824) & (sample < 1524)) > 0.1 and high < 6000
        what = (
            "looks like a CT stored without its intercept of -1024"
            if raw
            else "has hardly a value below -20, so it is an MR or another image, or not in Hounsfield units"
        )
        raise refuse(path, what, GIVE_HU)
    below = sample[sample < NO_TISSUE_HU]
    if len(below) > MAX_NO_TISSUE_SHARE * sample.size and len(np.unique(below)) > MAX_PADDINGS:
        words = (
            f"has values down to {low:.0f} in {100 * len(below) / sample.size:.0f} % of its voxels, and air has -1000"
        )
        raise refuse(path, words, GIVE_HU)
    if np.mean((sample > -200) & (sample < 500)) < MIN_SOFT_SHARE:
        raise refuse(path, "has no soft tissue (hardly a value between -200 and 500)", GIVE_HU)


def _as_int16(array: np.ndarray) -> np.ndarray:
    """int16 where all values are whole numbers (they are known to be in range), else float32."""
    if array.dtype == np.int16:
        return array
    if array.dtype.kind in "iub":
        return array.astype(np.int16, order="K")
    sample = _sample(array)
    if not np.array_equal(sample, np.round(sample)):
        return array.astype(np.float32, order="K", copy=False)
    whole = np.empty_like(array, np.int16)
    for axis in range(array.shape[2]):
        whole[..., axis] = array[..., axis]
        if not np.array_equal(whole[..., axis], array[..., axis]):
            return array.astype(np.float32, order="K", copy=False)
    return whole


def _mend(path: Path, array: np.ndarray, info: dict[str, Any]) -> np.ndarray:
    if np.isfinite(array.min()) and np.isfinite(array.max()):
        return array
    bad = ~np.isfinite(array)
    count = int(np.count_nonzero(bad))
    share = count / array.size
    if share > MAX_REPAIRED_SHARE:
        raise refuse(
            path,
            f"has {share:.1%} voxels that are NaN or infinite, and at most {MAX_REPAIRED_SHARE:.0%} are mended",
            "export it again",
        )
    array = np.array(array, np.float32, order="K")
    _fill_from_neighbours(array, np.stack(np.nonzero(bad), axis=1))
    info["repaired_share"] = share
    info["notes"].append(
        f"{count:,} voxels ({share:.3%}) were NaN or infinite and were filled from their neighbours "
        f"(up to {MAX_REPAIRED_SHARE:.0%} is mended)."
    )
    return array


def _fill_from_neighbours(array: np.ndarray, index: np.ndarray, passes: int = 20) -> None:
    """Give every voxel of ``index`` (N, 3) the mean of its finite face neighbours, growing inwards; then air."""
    array[tuple(index.T)] = np.nan
    for _ in range(passes):
        if not len(index):
            return
        total, count = np.zeros(len(index)), np.zeros(len(index))
        for axis in range(3):
            for step in (-1, 1):
                near = index.copy()
                near[:, axis] = np.clip(near[:, axis] + step, 0, array.shape[axis] - 1)
                values = array[tuple(near.T)]
                known = np.isfinite(values)
                total[known] += values[known]
                count += known
        found = count > 0
        array[tuple(index[found].T)] = total[found] / count[found]
        index = index[~found]
    array[tuple(index.T)] = AIR_HU
