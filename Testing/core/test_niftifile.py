"""NIfTI files written with NumPy alone: others read the same voxels in the same place, and nothing else is in them."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from fedkdtavi_core.errors import InputError
from fedkdtavi_core.niftifile import write_nifti

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def placed(rotation=None, spacing=(0.7, 0.8, 1.25), flips=(1, 1, 1), origin=(12.5, -8.25, 100.125)) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3] = (np.eye(3) if rotation is None else rotation) @ np.diag(np.multiply(spacing, flips))
    affine[:3, 3] = origin
    return affine


def voxels(dtype: str, shape=(5, 4, 3)) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 200, shape).astype(dtype)


def by_itk(path) -> tuple[np.ndarray, np.ndarray]:
    """Voxels (i, j, k) and the affine to RAS mm as ITK has them."""
    image = sitk.ReadImage(str(path))
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return sitk.GetArrayFromImage(image).T, LPS @ affine


@pytest.mark.parametrize("name", ["ct.nii", "ct.nii.gz", "Käse 1.nii.gz"])
@pytest.mark.parametrize("dtype", ["uint8", "int16", ">i2", "int32", "float32", "float64"])
def test_others_read_what_was_written(tmp_path, name, dtype):
    array, affine = voxels(dtype), placed(Rotation.from_euler("xyz", (20, -35, 50), degrees=True).as_matrix())
    write_nifti(tmp_path / name, array, affine)
    image = nibabel.load(tmp_path / name)
    assert np.array_equal(np.asanyarray(image.dataobj), array)
    assert image.get_data_dtype() == array.dtype.newbyteorder("<")
    assert np.allclose(image.affine, affine, atol=1e-5)
    array_itk, affine_itk = by_itk(tmp_path / name)
    assert np.array_equal(array_itk, array)
    assert np.allclose(affine_itk, affine, atol=1e-4)
    assert [path.name for path in tmp_path.iterdir()] == [name]


@settings(max_examples=150, deadline=None)
@given(
    angles=st.tuples(*[st.sampled_from([0, 90, 180, 270, -120]) | st.floats(-180, 180)] * 3),
    flips=st.tuples(*[st.sampled_from([1, -1])] * 3),
)
def test_sform_and_qform_say_the_same_in_every_pose(tmp_path_factory, angles, flips):
    affine = placed(Rotation.from_euler("xyz", angles, degrees=True).as_matrix(), flips=flips)
    path = tmp_path_factory.mktemp("pose") / "ct.nii"
    write_nifti(path, voxels("int16"), affine)
    header = nibabel.load(path).header
    assert int(header["qform_code"]) == int(header["sform_code"]) == 1
    assert np.allclose(header.get_sform(), affine, atol=1e-5)
    assert np.allclose(
        header.get_qform(), affine, atol=2e-3
    )  # the quaternion is kept in float32, its first part not at all
    assert np.allclose(by_itk(path)[1], affine, atol=2e-3)


def test_the_header_is_that_of_a_plain_ct(tmp_path):
    write_nifti(tmp_path / "ct.nii", voxels("int16"), placed())
    raw = (tmp_path / "ct.nii").read_bytes()[:348]
    assert nibabel.Nifti1Header.diagnose_binaryblock(raw) == ""
    header = nibabel.Nifti1Header(raw, check=True)
    assert (float(header["scl_slope"]), float(header["scl_inter"])) == (1, 0)
    assert header.get_intent() == ("none", (), "")
    assert header.get_xyzt_units() == ("mm", "unknown")
    assert np.allclose(header.get_zooms(), (0.7, 0.8, 1.25))
    assert (tmp_path / "ct.nii").stat().st_size == 352 + 2 * 60
    texts = [bytes(header[name].tobytes()) for name in ("descrip", "db_name", "aux_file", "intent_name")]
    assert set(b"".join(texts)) == {0}


def test_a_shear_stays_in_the_sform_alone(tmp_path):
    affine = placed()
    affine[0, 2] = 0.2
    write_nifti(tmp_path / "ct.nii.gz", voxels("int16"), affine)
    header = nibabel.load(tmp_path / "ct.nii.gz").header
    assert int(header["qform_code"]) == 0
    assert np.allclose(nibabel.load(tmp_path / "ct.nii.gz").affine, affine, atol=1e-6)


def test_any_memory_order_gives_the_same_bytes(tmp_path):
    array = voxels("int16")
    for name, same in {"c": array, "f": np.asfortranarray(array), "view": np.repeat(array, 2, 0)[::2]}.items():
        write_nifti(tmp_path / f"{name}.nii.gz", same, placed())
    assert len({path.read_bytes() for path in tmp_path.iterdir()}) == 1


@pytest.mark.parametrize(
    "array", [np.zeros((2, 2), np.int16), np.zeros((0, 2, 2), np.int16), np.zeros((2, 2, 2), bool),
              np.zeros((2, 2, 2), np.complex64), np.zeros((40000, 1, 1), np.int16)],
    ids=["2-D", "empty", "bool", "complex", "too long"],
)  # fmt: skip
def test_what_no_file_can_hold_is_refused_and_the_old_file_stays(tmp_path, array):
    write_nifti(tmp_path / "ct.nii", voxels("int16"), placed())
    before = (tmp_path / "ct.nii").read_bytes()
    with pytest.raises(InputError, match="no NIfTI file can hold"):
        write_nifti(tmp_path / "ct.nii", array, placed())
    assert (tmp_path / "ct.nii").read_bytes() == before


@pytest.mark.parametrize("name", ["ct.nii", "ct.nii.gz"])
def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch, name):
    write_nifti(tmp_path / name, voxels("int16"), placed())
    before = (tmp_path / name).read_bytes()
    written = []

    def full(array, dtype=None):
        written.append(array)
        if len(written) == 2:
            raise OSError(28, "No space left on device")
        return np.array(array, dtype, order="C")

    monkeypatch.setattr("fedkdtavi_core.niftifile.np.ascontiguousarray", full)
    with pytest.raises(OSError, match="No space left"):
        write_nifti(tmp_path / name, voxels("uint8"), placed())
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_bytes() == before
