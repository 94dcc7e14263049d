"""The calcification file: on the CT's own grid, equal when read back, and the same in Slicer."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from scipy.spatial.transform import Rotation

from fedkdtavi_core.annotation import Status
from fedkdtavi_core.errors import InputError
from fedkdtavi_core.labels import segmentation
from fedkdtavi_core.volume import Grid


def grid(shape=(21, 17, 13), spacing=(0.4, 0.5, 0.8), degrees=(0, 0, 0), permuted=(0, 1, 2), signs=(1, 1, 1)) -> Grid:
    affine = np.eye(4)
    axes = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix() * np.array(spacing)
    affine[:3, :3] = (axes * np.array(signs))[:, list(permuted)]
    affine[:3, 3] = (-31.3, 12.7, -402.1)
    return Grid(shape, affine)


def blob(shape) -> np.ndarray:
    mask = np.zeros(shape, np.uint8)
    mask[3:9, 5:8, 2:7] = np.random.default_rng(1).integers(0, 2, (6, 3, 5))
    mask[3, 5, 2] = mask[8, 7, 6] = 1
    return mask


GRIDS = [
    grid(),
    grid(signs=(-1, -1, 1)),
    grid(degrees=(20, -10, 35)),
    grid(degrees=(5, 0, 0), permuted=(2, 0, 1), signs=(-1, 1, -1)),
]


@pytest.mark.parametrize("where", GRIDS)
@pytest.mark.parametrize("order", ["C", "F"])
def test_reads_back_equal_on_every_grid(tmp_path, where, order):
    path, mask = tmp_path / "Verkalkung ü.seg.nrrd", np.asarray(blob(where.shape), order=order)
    segmentation.write_segment(path, mask, where, status=Status.CONFIRMED)
    back = segmentation.read_segment(path, where)
    np.testing.assert_array_equal(back.mask, mask)
    assert back.mask.dtype == np.uint8
    assert (back.status, back.notes) == (Status.CONFIRMED, [])


def test_nothing_found_is_not_nothing_looked_for(tmp_path):
    where = grid()
    segmentation.write_segment(tmp_path / "a.seg.nrrd", np.zeros(where.shape, np.uint8), where)
    segmentation.write_segment(tmp_path / "b.seg.nrrd", None, where)
    assert not segmentation.read_segment(tmp_path / "a.seg.nrrd", where).mask.any()
    assert segmentation.read_segment(tmp_path / "b.seg.nrrd", where).mask is None


def test_voxels_outside_the_ct_are_left_out_and_said(tmp_path):
    where = grid()
    shifted = Grid(where.shape, where.affine @ np.array([[1, 0, 0, 4], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]]))
    mask = blob(where.shape)
    segmentation.write_segment(tmp_path / "a.seg.nrrd", mask, where)
    back = segmentation.read_segment(tmp_path / "a.seg.nrrd", shifted)
    np.testing.assert_array_equal(back.mask[:-4], mask[4:])
    assert f"{mask[:4].sum()} voxels" in back.notes[0]


def test_another_grid_is_resampled_and_said(tmp_path):
    fine, coarse = grid(spacing=(0.5, 0.5, 0.5), shape=(20, 20, 20)), grid(spacing=(1, 1, 1), shape=(10, 10, 10))
    mask = np.zeros(fine.shape, np.uint8)
    mask[4:12, 4:12, 4:12] = 1
    segmentation.write_segment(tmp_path / "a.seg.nrrd", mask, fine)
    back = segmentation.read_segment(tmp_path / "a.seg.nrrd", coarse)
    assert "resampled" in back.notes[0]
    assert back.mask.sum() == 4**3


def test_files_that_are_none_are_refused(tmp_path):
    where = grid()
    (tmp_path / "text.seg.nrrd").write_text("no nrrd")
    plain = sitk.GetImageFromArray(blob(where.shape).T)
    sitk.WriteImage(plain, str(tmp_path / "plain.nrrd"))
    plain.SetMetaData("Segment0_ID", "liver")
    plain.SetMetaData("Segment0_Name", "Liver")
    sitk.WriteImage(plain, str(tmp_path / "other.seg.nrrd"))
    segmentation.write_segment(tmp_path / "cut.seg.nrrd", blob(where.shape), where)
    whole = (tmp_path / "cut.seg.nrrd").read_bytes()
    (tmp_path / "cut.seg.nrrd").write_bytes(whole[:-20])
    for name, words in {
        "text.seg.nrrd": "cannot be read",
        "plain.nrrd": "names no segments",
        "other.seg.nrrd": "no segment Calcification but Liver",
        "cut.seg.nrrd": "cannot be read",
        "gone.seg.nrrd": "not found",
    }.items():
        with pytest.raises(InputError, match=rf"{name}: .*{words}.*; "):
            segmentation.read_segment(tmp_path / name, where)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a limit on file size")
def test_a_full_disk_is_an_oserror(tmp_path):
    program = """
import resource, sys
import numpy as np
from pathlib import Path
from fedkdtavi_core.labels import segmentation
from fedkdtavi_core.volume import Grid
mask = np.random.default_rng(0).integers(0, 2, (64, 64, 64)).astype(np.uint8)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    segmentation.write_segment(Path(sys.argv[1]), mask, Grid(mask.shape, np.eye(4)))
except OSError:
    sys.exit(7)
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "a.seg.nrrd")], check=False, capture_output=True
    )
    assert done.returncode == 7, done.stderr.decode()


@pytest.fixture(scope="module")
def slicer():
    return pytest.importorskip("slicer", reason="slicer-core is not installed", exc_type=ImportError)


def loaded(slicer, path: Path):
    scene = slicer.vtkMRMLScene()
    node = scene.AddNode(slicer.vtkMRMLSegmentationNode())
    file = scene.AddNode(slicer.vtkMRMLSegmentationStorageNode())
    file.SetFileName(str(path))
    assert file.ReadData(node)
    return scene, node, file


@pytest.mark.parametrize("where", GRIDS)
def test_slicer_reads_it_and_we_read_what_slicer_saves(slicer, tmp_path, where):
    import vtk

    mask = blob(where.shape)
    segmentation.write_segment(tmp_path / "ours.seg.nrrd", mask, where)
    _scene, node, file = loaded(slicer, tmp_path / "ours.seg.nrrd")
    segments = node.GetSegmentation()
    assert segments.GetNumberOfSegments() == 1
    segment = segments.GetSegment("calcification")
    assert segment.GetName() == "Calcification"
    assert segment.GetLabelValue() == 1
    np.testing.assert_allclose(segment.GetColor(), (0.95, 0.95, 0.80))
    entry = vtk.reference("")
    assert segment.GetTag("TerminologyEntry", entry)
    for code in ("SCT^49755003^", "SCT^18115005^Pathologic calcification", "SCT^34202007^Aortic Valve"):
        assert code in str(entry)
    image = segment.GetRepresentation("Binary labelmap")
    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    affine = np.array([[matrix.GetElement(r, c) for c in range(4)] for r in range(4)])
    np.testing.assert_allclose(affine, where.affine, atol=1e-6)
    assert image.GetExtent() == (3, 8, 5, 7, 2, 6)

    file.SetFileName(str(tmp_path / "slicers.seg.nrrd"))
    assert file.WriteData(node)
    assert sitk.ReadImage(str(tmp_path / "slicers.seg.nrrd")).GetSize() != where.shape  # Slicer crops it
    back = segmentation.read_segment(tmp_path / "slicers.seg.nrrd", where)
    np.testing.assert_array_equal(back.mask, mask)
    assert (back.status, back.notes) == (Status.PREDICTED, [])


def test_slicer_keeps_an_empty_segment_empty(slicer, tmp_path):
    where = grid()
    for name, mask in {"none": None, "empty": np.zeros(where.shape, np.uint8)}.items():
        path = tmp_path / f"{name}.seg.nrrd"
        segmentation.write_segment(path, mask, where)
        _scene, node, file = loaded(slicer, path)
        assert node.GetSegmentation().GetSegment("calcification") is not None
        assert file.WriteData(node)
        back = segmentation.read_segment(path, where)
        assert (back.mask is None) if mask is None else not back.mask.any()


def test_a_layer_of_several_is_found(slicer, tmp_path):
    where, mask = grid(), blob(grid().shape)
    segmentation.write_segment(tmp_path / "a.seg.nrrd", mask, where)
    _scene, node, file = loaded(slicer, tmp_path / "a.seg.nrrd")
    other = slicer.vtkSegment()
    other.SetName("Lumen")
    image = slicer.vtkOrientedImageData()
    image.DeepCopy(node.GetSegmentation().GetSegment("calcification").GetRepresentation("Binary labelmap"))
    image.GetPointData().GetScalars().Fill(1)
    other.AddRepresentation("Binary labelmap", image)
    node.GetSegmentation().AddSegment(other, "lumen")
    file.SetFileName(str(tmp_path / "two.seg.nrrd"))
    assert file.WriteData(node)
    back = segmentation.read_segment(tmp_path / "two.seg.nrrd", where)
    np.testing.assert_array_equal(back.mask, mask)
    assert "Lumen left out" in back.notes[0]


@pytest.mark.skipif(os.name == "nt", reason="no limit of a file's size there")
@pytest.mark.parametrize("room", [0, 400])
def test_a_disk_that_fills_up_at_the_end_is_noticed(tmp_path, room):
    """The writer's own last flush goes unchecked: in a process of its own whose files may only grow so large."""
    script = f"""
import resource, signal
from pathlib import Path
import numpy as np, SimpleITK
from fedkdtavi_core.labels import segmentation
from fedkdtavi_core.volume import Grid
mask = np.random.default_rng(0).integers(0, 2, (20, 20, 20)).astype(np.uint8)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, ({room}, {room}))
try:
    segmentation.write_segment(Path({str(tmp_path / "a.seg.nrrd")!r}), mask, Grid(mask.shape, np.eye(4)))
except OSError as error:
    print("refused", error.errno)
"""
    here = {**os.environ, "PYTHONPATH": str(Path(segmentation.__file__).parents[2])}
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, env=here)
    assert run.stdout.startswith("refused"), run.stderr
