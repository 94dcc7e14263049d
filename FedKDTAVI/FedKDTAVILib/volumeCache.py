"""The core's Volume of a node, checked and read once, and the part of it around the root for fast measuring."""

from __future__ import annotations

from typing import Any

import numpy as np

from fedkdtavi_core.annotation import Annotation
from fedkdtavi_core.volume import Grid, Volume

from .volumes import volumeFromNode, worldAffine

# Around all labels: wider than anything that is measured reaches (30 mm above the plane, rays of 30 mm).
MARGIN_MM = 60.0


class VolumeCache:
    """Holds the Volume of the node that was asked for last; its voxels are shared with the node."""

    def __init__(self) -> None:
        self._key: tuple = ()
        self._volume: Volume | None = None

    def volume(self, node: Any) -> Volume:
        """The CT, read again only when the node's voxels or its place in the world changed.

        Raises:
            InputError: see :func:`~.volumes.volumeFromNode`.
        """
        image = node.GetImageData()
        moment = 0 if image is None else image.GetMTime()
        key = (node, image, moment, None if image is None else worldAffine(node).tobytes())
        if self._volume is None or key != self._key:
            self._volume = volumeFromNode(node)
            self._key = key
        return self._volume

    def clear(self) -> None:
        """Let go of the voxels, as when the scene closes."""
        self._key, self._volume = (), None


def around(volume: Volume, annotation: Annotation) -> tuple[Volume, Annotation]:
    """The CT's part around the labels, and the annotation on it: measures the same, whatever the CT's size.

    Args:
        volume: the CT.
        annotation: its labels; stays as it is.

    Returns:
        Part (sharing the CT's voxels) and labels; both whole where there is no landmark to go by.
    """
    points = [mark.position for mark in annotation.landmarks.values() if mark.position is not None]
    inside = [point for point in points if volume.grid.contains(point)]
    if not inside:
        return volume, annotation
    ijk = volume.grid.to_ijk(np.array(inside))
    margin = MARGIN_MM / volume.spacing
    low = np.maximum(np.floor(ijk.min(axis=0) - margin), 0).astype(int)
    high = np.minimum(np.ceil(ijk.max(axis=0) + margin) + 1, volume.array.shape).astype(int)
    mask = annotation.calcification
    if mask is not None:
        from .labelState import Voxels

        painted = Voxels.of(mask)  # calcium elsewhere counts as well
        if painted.count:
            low = np.minimum(low, painted.start)
            high = np.maximum(high, np.add(painted.start, painted.shape))
    cut = tuple(slice(first, last) for first, last in zip(low, high, strict=True))
    affine = np.array(volume.affine, float)
    affine[:3, 3] = Grid(volume.grid.shape, volume.affine).to_ras(low)
    part = Annotation(**{**vars(annotation), "calcification": None if mask is None else mask[cut].copy(order="F")})
    return Volume(volume.array[cut], affine, volume.info), part
