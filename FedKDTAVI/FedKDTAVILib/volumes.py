"""From a volume node to the core's Volume: [k, j, i] and parent transforms end here."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import vtk
import vtk.util.numpy_support
from slicer.i18n import tr as _

from fedkdtavi_core.errors import InputError
from fedkdtavi_core.progress import SILENT, Progress
from fedkdtavi_core.readers.headers import check_affine, check_shape
from fedkdtavi_core.readers.voxels import finish
from fedkdtavi_core.volume import Grid, Volume

from .transforms import isLinear, toArray, worldFromNode

# A look at this many voxels tells whether a volume can be a CT, fast enough for a tooltip.
_GLANCE_VOXELS = 200_000
# Volume nodes that are no grey-value CT although some of them derive from the scalar volume node.
_OTHER_KINDS = ("vtkMRMLLabelMapVolumeNode", "vtkMRMLVectorVolumeNode", "vtkMRMLTensorVolumeNode")


@dataclass(frozen=True)
class VolumeSummary:
    """What a person wants to see of a volume: ``shape`` (i, j, k), ``spacing`` in mm, and both as ``text``."""

    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]

    @property
    def text(self) -> str:
        """One short line: "512 x 512 x 300 voxels of 0.40 x 0.40 x 0.60 mm"."""
        return _("{shape} voxels of {spacing} mm").format(
            shape=" x ".join(str(n) for n in self.shape), spacing=" x ".join(f"{s:.2f}" for s in self.spacing)
        )


def volumeFromNode(node: Any, *, progress: Progress | None = None) -> Volume:
    """The CT in a scalar volume node, in HU, where it lies in the world.

    The node's voxels are shared, not copied, where they can be used as they are; they are never changed.

    Args:
        node: vtkMRMLScalarVolumeNode, under linear transforms or none.
        progress: reports and cancels.

    Returns:
        Volume with ``array`` (i, j, k), int16 or float32, read-only where shared, and ``affine`` to world RAS mm.

    Raises:
        InputError: no volume, a label map, colours, no voxels, a non-linear transform, or no Hounsfield units.
        Cancelled: the person asked to stop.
    """
    progress = progress or SILENT
    problem = _structureProblem(node)
    if problem:
        raise InputError(problem)
    progress.step(0.0, _("Reading the volume"))
    name, notes = Path(node.GetName() or "CT"), []
    array = voxels(node)
    check_shape(name, array.shape)
    affine = check_affine(name, worldAffine(node), notes, array.shape)
    info: dict[str, Any] = {"format": "MRML", "notes": notes}
    array = finish(name, array, info)
    progress.step(1.0, _("Volume read"))
    return Volume(array, affine, info)


def checkVolumeNode(node: Any) -> str | None:
    """Why this node cannot be annotated, as one sentence for a tooltip; None when nothing speaks against it.

    Looks at a sample of the voxels only: :func:`volumeFromNode` has the last word.
    """
    problem = _structureProblem(node)
    if problem:
        return problem
    name = Path(node.GetName() or "CT")
    array = voxels(node)
    step = max(1, round((array.size / _GLANCE_VOXELS) ** (1 / 3)))
    try:
        check_shape(name, array.shape)
        check_affine(name, worldAffine(node), [], array.shape)
        finish(name, np.ascontiguousarray(array[::step, ::step, ::step]), {"notes": []})
    except InputError as error:
        return str(error)
    return None


def volumeSummary(node: Any) -> VolumeSummary | None:
    """Size and voxel size of a volume node; None where it holds no voxels."""
    image = None if node is None else node.GetImageData()
    if image is None or 0 in image.GetDimensions():
        return None
    return VolumeSummary(tuple(image.GetDimensions()), tuple(float(s) for s in node.GetSpacing()))


def voxels(node: Any) -> np.ndarray:
    """The node's voxels as (i, j, k): a read-only view, float64 as float32."""
    image = node.GetImageData()
    scalars = vtk.util.numpy_support.vtk_to_numpy(image.GetPointData().GetScalars())
    array = scalars.reshape(image.GetDimensions()[::-1]).T
    if array.dtype == np.float64:
        array = array.astype(np.float32, order="K")
    array.flags.writeable = False  # what is mended for us must not change what the person sees
    return array


def fingerprint(node: Any) -> str:
    """Tells this volume's voxels from another's, by some 200,000 of them; the place in the world has no part in it."""
    array = voxels(node)
    some = array.reshape(-1, order="F")[:: max(1, array.size // _GLANCE_VOXELS)]
    return hashlib.sha256(repr((array.shape, array.dtype.str)).encode() + some.tobytes()).hexdigest()


def worldAffine(node: Any) -> np.ndarray:
    """(4, 4) from (i, j, k) to world RAS mm, parent transforms included. Raises InputError for non-linear ones."""
    return worldFromNode(node) @ localAffine(node)


def localAffine(node: Any) -> np.ndarray:
    """(4, 4) from (i, j, k) to the node's own RAS mm, before its parent transforms."""
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    return toArray(matrix)


def worldGrid(node: Any) -> Grid:
    """The grid of a volume node's voxels in world RAS mm."""
    return Grid(tuple(int(n) for n in node.GetImageData().GetDimensions()), worldAffine(node))


def _structureProblem(node: Any) -> str | None:
    if node is None:
        return _("No volume is chosen; load a CT and choose it.")
    name = node.GetName()
    if not node.IsA("vtkMRMLScalarVolumeNode") or any(node.IsA(kind) for kind in _OTHER_KINDS):
        return _("{name}: is no grey-value volume but {kind}; choose the CT itself.").format(
            name=name, kind=node.GetNodeTagName()
        )
    image = node.GetImageData()
    if image is None or image.GetPointData().GetScalars() is None or 0 in image.GetDimensions():
        return _("{name}: holds no voxels; load the CT again.").format(name=name)
    if image.GetNumberOfScalarComponents() != 1:
        return _("{name}: has {count} values in every voxel, so it is no CT; choose the CT itself.").format(
            name=name, count=image.GetNumberOfScalarComponents()
        )
    if not isLinear(node):
        return _("{name}: stands under a non-linear transform; harden or remove the transform first.").format(name=name)
    return None
