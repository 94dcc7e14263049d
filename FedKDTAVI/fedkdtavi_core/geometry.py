"""Grids and resampling: the only place where voxels move from one grid to another.

Space is RAS mm throughout; a voxel's index is the position of its centre, and a voxel reaches half an index to each
side. Resampling reads the source array once, through views and a crop, and never makes a float copy of a whole CT.
"""

from __future__ import annotations

from itertools import permutations, product

import numpy as np

from .volume import Grid, Volume

# A target voxel at most this much wider than the source's is sampled by plain linear interpolation.
_CLOSE = 1.02
# Off-diagonal entries (in voxels per voxel) below this move no sample by more than 0.01 voxel across 1,000 voxels.
_DIAGONAL = 1e-5


def crop_grid(center_ras: np.ndarray, size: int = 64, spacing: float = 1.25, axes: np.ndarray | None = None) -> Grid:
    """A cube of ``size``^3 voxels of ``spacing`` mm, centred on ``center_ras`` ((3,) RAS mm).

    Args:
        axes: (3, 3) orthonormal, its columns the directions of i, j, k in RAS; R, A, S when None.
    """
    center = np.asarray(center_ras, float)
    if center.shape != (3,) or not np.all(np.isfinite(center)):
        raise ValueError(f"center_ras must be three finite numbers in mm, not {center_ras!r}")
    grid = _ras_grid(center, np.full(3, int(size)), float(spacing))
    if axes is None:
        return grid
    affine = np.eye(4)
    affine[:3, :3] = np.asarray(axes, float) * float(spacing)
    affine[:3, 3] = center - affine[:3, :3] @ (np.full(3, int(size)) - 1) / 2
    return Grid(grid.shape, affine)


def coarse_grid(
    volume_or_grid: Volume | Grid,
    spacing: float = 4.0,
    multiple: int = 16,
    max_shape: tuple[int, int, int] | None = None,
) -> Grid:
    """A grid with axes R, A, S that covers every voxel of a CT, centred on it.

    Args:
        volume_or_grid: the CT, or the grid it lies on.
        spacing: voxel size in mm, the same along all axes.
        multiple: every dimension is padded up to a multiple of this (what the network halves evenly).
        max_shape: upper limit of each dimension; a larger CT is then covered around its centre only.
    """
    grid = volume_or_grid.grid if isinstance(volume_or_grid, Volume) else volume_or_grid
    corners = grid.to_ras(np.array(list(product(*((-0.5, n - 0.5) for n in grid.shape)))))
    low, high = corners.min(axis=0), corners.max(axis=0)
    needed = np.ceil((high - low) / spacing - 1e-6)
    shape = np.maximum(np.ceil(needed / multiple), 1).astype(int) * multiple
    if max_shape is not None:
        shape = np.minimum(shape, max_shape)
    return _ras_grid((low + high) / 2, shape, float(spacing))


def resample(volume: Volume, grid: Grid, *, fill: float = -1024.0, order: int = 1) -> np.ndarray:
    """The CT's values on ``grid``, float32 of ``grid.shape``.

    Linear interpolation (``order=1``). Where the target is coarser than the source, each sample is the mean of the
    source over a box as wide as the target voxel (a prefilter against aliasing: first whole blocks of source voxels,
    then the fractional rest), interpolated linearly. ``order=0`` takes the nearest voxel, unfiltered.
    Samples outside the source's voxels become ``fill``. The result does not depend on how the source's axes are
    permuted or flipped.
    """
    if order not in (0, 1):
        raise ValueError(f"order must be 0 (nearest) or 1 (linear), not {order!r}")
    source, affine = _align(volume.array, volume.affine, grid.affine)
    to_source = np.linalg.inv(affine) @ grid.affine
    matrix, offset = to_source[:3, :3], to_source[:3, 3]
    inside, out = _inside(source.shape, grid.shape, matrix, offset), np.empty(grid.shape, np.float32)

    # How many source voxels a target voxel spans along each source axis.
    span = np.maximum(np.linalg.norm(matrix, axis=1), 1.0) if order == 1 else np.ones(3)
    # A sample takes the blocks on both sides and their neighbours; one more, as the last block may be incomplete.
    start, stop = _source_box(source.shape, grid.shape, matrix, offset, margin=3.5 * span + 1)
    if np.any(stop <= start):
        out.fill(fill)
        return out
    block = np.floor(span + 1e-6).astype(int)
    values = source[tuple(slice(a, b) for a, b in zip(start, stop, strict=True))]
    values = _block_mean(values, block)
    values = _box_rest(values, span / block)
    # Index of the first block's centre is (block - 1) / 2; from there on, one index is one block.
    offset = (offset - start - (block - 1) / 2) / block
    _interpolate(values, matrix / block[:, None], offset, order, out)
    _fill_outside(out, inside, fill)
    return out


def resample_labels(array: np.ndarray, affine: np.ndarray, grid: Grid) -> np.ndarray:
    """Labels on ``grid`` by nearest voxel, of ``array``'s dtype; 0 outside the source. Exact for any integer labels."""
    source, affine = _align(np.asarray(array), affine, grid.affine)
    to_source = np.linalg.inv(affine) @ grid.affine
    out = np.zeros(grid.shape, source.dtype)
    # Only the part of the target that the source can reach is computed: a small mask goes fast onto a whole CT.
    back = np.linalg.inv(to_source)
    first, last = _source_box(grid.shape, source.shape, back[:3, :3], back[:3, 3], margin=np.ones(3) + _half(back))
    if np.any(last <= first):
        return out
    matrix, offset = to_source[:3, :3], to_source[:3, 3] + to_source[:3, :3] @ first
    part = out[tuple(slice(a, b) for a, b in zip(first, last, strict=True))]
    if _is_diagonal(matrix):
        index = [np.floor(matrix[a, a] * np.arange(part.shape[a]) + offset[a] + 0.5).astype(np.intp) for a in range(3)]
        keep = [(i >= 0) & (i < n) for i, n in zip(index, source.shape, strict=True)]
        picked = source[np.ix_(*(i[k] for i, k in zip(index, keep, strict=True)))]
        part[np.ix_(*(np.flatnonzero(k) for k in keep))] = picked
        return out
    for i in range(part.shape[0]):  # slab by slab: index arrays of one slab only
        index = _coordinates((1, *part.shape[1:]), matrix, offset + matrix[:, 0] * i)
        index = [np.floor(c + 0.5).astype(np.intp)[0] for c in index]
        valid = np.logical_and.reduce([(c >= 0) & (c < n) for c, n in zip(index, source.shape, strict=True)])
        part[i][valid] = source[tuple(c[valid] for c in index)]
    return out


def _ras_grid(center: np.ndarray, shape: np.ndarray, spacing: float) -> Grid:
    if not (np.isfinite(spacing) and spacing > 0):
        raise ValueError(f"spacing must be a positive number of mm, not {spacing!r}")
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:3, 3] = center - spacing * (np.asarray(shape) - 1) / 2
    return Grid(tuple(int(n) for n in shape), affine)


def _align(array: np.ndarray, affine: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A view of ``array`` whose axes run as close as possible along the target's, and its affine.

    This makes resampling independent of the order and direction in which the source was stored.
    """
    unit_source = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    unit_target = target[:3, :3] / np.linalg.norm(target[:3, :3], axis=0)
    cosine = unit_source.T @ unit_target
    order = max(permutations(range(3)), key=lambda p: sum(abs(cosine[p[b], b]) for b in range(3)))
    array = array.transpose(order)
    aligned = np.array(affine, float)
    aligned[:3, :3] = aligned[:3, order]
    for axis in range(3):
        if cosine[order[axis], axis] < 0:
            array = np.flip(array, axis)
            aligned[:3, 3] += aligned[:3, axis] * (array.shape[axis] - 1)
            aligned[:3, axis] *= -1
    return array, aligned


def _half(matrix: np.ndarray) -> np.ndarray:
    """Half the extent of one source voxel along each target axis, in target voxels."""
    return np.abs(matrix[:3, :3]).sum(axis=1) / 2


def _is_diagonal(matrix: np.ndarray) -> bool:
    return bool(np.all(np.abs(matrix - np.diag(np.diag(matrix))) < _DIAGONAL))


def _source_box(
    source_shape: tuple[int, ...], shape: tuple[int, ...], matrix: np.ndarray, offset: np.ndarray, margin: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """First and one-past-last source index that the samples of ``shape`` can touch, per axis."""
    corners = np.array(list(product(*((0, n - 1) for n in shape)))) @ matrix.T + offset
    start = np.floor(corners.min(axis=0) - margin)
    stop = np.ceil(corners.max(axis=0) + margin) + 1
    return np.clip(start, 0, source_shape).astype(int), np.clip(stop, 0, source_shape).astype(int)


def _coordinates(shape: tuple[int, ...], matrix: np.ndarray, offset: np.ndarray) -> list[np.ndarray]:
    """Per source axis, the continuous source index of every target voxel; float32 would lose 1e-4 voxel, so float64."""
    axes = np.ogrid[tuple(slice(n) for n in shape)]
    return [sum(matrix[a, b] * axes[b] for b in range(3)) + offset[a] for a in range(3)]


def _inside(
    source_shape: tuple[int, ...], shape: tuple[int, ...], matrix: np.ndarray, offset: np.ndarray
) -> list[np.ndarray]:
    """Masks (broadcastable to ``shape``) whose conjunction says which samples lie inside the source's voxels.

    1e-6 voxel of tolerance keeps samples on the outer faces inside, whatever the rounding of the affines.
    """
    if _is_diagonal(matrix):
        axes = np.ogrid[tuple(slice(n) for n in shape)]
        index = [matrix[a, a] * axes[a] + offset[a] for a in range(3)]
    else:
        index = _coordinates(shape, matrix, offset)
    return [(c >= -0.5 - 1e-6) & (c <= n - 0.5 + 1e-6) for c, n in zip(index, source_shape, strict=True)]


def _fill_outside(out: np.ndarray, inside: list[np.ndarray], fill: float) -> None:
    for axis, mask in enumerate(inside):
        if mask.all():
            continue
        if mask.size == out.shape[axis]:
            np.moveaxis(out, axis, 0)[~mask.ravel()] = fill
        else:
            out[~mask] = fill


def _block_mean(values: np.ndarray, block: np.ndarray) -> np.ndarray:
    """Means over blocks of ``block`` voxels from index 0 on, float32; a last incomplete block is the mean of its rest.

    One slab of the slowest axis in memory at a time, summed in int32 (int16 sums of up to 65,536 voxels are exact).
    """
    if np.all(block == 1):
        return values
    slowest = [int(a) for a in np.argsort([-abs(s) for s in values.strides], kind="stable")]
    view, size = values.transpose(slowest), block[slowest]
    starts = [np.arange(0, n, b) for n, b in zip(view.shape, size, strict=True)]
    counts = [np.diff(np.append(s, n)).astype(np.float32) for s, n in zip(starts, view.shape, strict=True)]
    total = np.int32 if view.dtype.kind in "iub" and view.dtype.itemsize <= 2 else np.float32
    means = np.empty([len(s) for s in starts], np.float32)
    per_slab = counts[1][:, None] * counts[2][None, :]
    for index, first in enumerate(starts[0]):
        slab = _sum_blocks(view[first : first + size[0]], int(size[0]), total)[0]
        slab = _sum_blocks(slab, int(size[1]), total)
        slab = _sum_blocks(slab.T, int(size[2]), total).T
        np.divide(slab, per_slab * counts[0][index], out=means[index])
    return means.transpose(np.argsort(slowest))


def _sum_blocks(values: np.ndarray, block: int, total: type) -> np.ndarray:
    """Sums over blocks of ``block`` along the first axis; strided additions are several times faster than reduceat."""
    if block == 1:
        return values
    sums = np.zeros((-(-values.shape[0] // block), *values.shape[1:]), total)
    for k in range(block):
        part = values[k::block]
        sums[: len(part)] += part
    return sums


def _box_rest(values: np.ndarray, width: np.ndarray) -> np.ndarray:
    """Mean over a box of ``width`` (1 to 2) voxels: a whole voxel and equal parts of its two neighbours."""
    from scipy.ndimage import correlate1d

    for axis in range(3):
        if width[axis] > _CLOSE:
            side = (width[axis] - 1) / 2
            weights = np.array([side, 1.0, side]) / width[axis]
            values = correlate1d(values, weights, axis=axis, output=np.float32, mode="nearest")
    return values


def _interpolate(values: np.ndarray, matrix: np.ndarray, offset: np.ndarray, order: int, out: np.ndarray) -> None:
    """Fill ``out`` with ``values`` at matrix @ index + offset; beyond the outer voxel centres, the outer voxel."""
    from scipy.ndimage import affine_transform

    shape = np.diag(matrix) if _is_diagonal(matrix) else matrix
    affine_transform(values, shape, offset, output=out, output_shape=out.shape, order=order, mode="nearest")
