"""NIfTI, NRRD and MetaImage: the same voxels at the same place in millimetres, whatever the file."""

from __future__ import annotations

import gzip
import tracemalloc
from itertools import permutations, product

import nibabel
import numpy as np
import pytest
from ct_files import affine, chest, itk, itk_text, nifti, turn_z
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fedkdtavi_core.errors import Cancelled, InputError
from fedkdtavi_core.measurements.suitability import read_phase
from fedkdtavi_core.progress import Progress
from fedkdtavi_core.readers import read_volume


@pytest.mark.parametrize("name", ["ct.nii", "ct.nii.gz", "ct ohne endung", "Röntgen Ärzte 心臓 ct.nii.gz"])
def test_nifti_is_read_as_it_is(tmp_path, name):
    volume = read_volume(nifti(tmp_path / name))
    assert volume.array.dtype == np.int16
    np.testing.assert_array_equal(volume.array, chest())
    np.testing.assert_allclose(volume.affine, affine(), atol=1e-5)
    assert volume.info["format"] == "NIfTI"
    assert volume.info["notes"] == []


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.int64, np.float32, np.float64, ">i2", ">f4"])
def test_nifti_types_give_int16_for_whole_numbers(tmp_path, dtype):
    hu = chest().astype(dtype)
    header = nibabel.Nifti1Header(endianness=">" if str(dtype).startswith(">") else "<")
    header.set_data_dtype(np.dtype(dtype))
    path = tmp_path / "ct.nii.gz"
    nibabel.save(nibabel.Nifti1Image(hu, affine(), header, dtype=np.dtype(dtype)), path)
    volume = read_volume(path)
    assert volume.array.dtype == np.int16
    np.testing.assert_array_equal(volume.array, chest())


def test_fractions_stay_as_float32(tmp_path):
    hu = chest() + 0.25
    volume = read_volume(nifti(tmp_path / "ct.nii", hu.astype(np.float64)))
    assert volume.array.dtype == np.float32
    np.testing.assert_array_equal(volume.array, hu)


@pytest.mark.parametrize(
    ("slope", "intercept", "stored"),
    [(1.0, -1024.0, lambda hu: hu + 1024), (2.0, 0.0, lambda hu: hu // 2), (0.5, 100.0, lambda hu: (hu - 100) * 2)],
)
def test_nifti_slope_and_intercept(tmp_path, slope, intercept, stored):
    raw = stored(chest()).astype(np.int16)
    volume = read_volume(nifti(tmp_path / "ct.nii.gz", raw, scl_slope=slope, scl_inter=intercept))
    np.testing.assert_allclose(volume.array, np.maximum(raw * slope + intercept, -1024))
    assert volume.array.dtype == np.int16


def test_unsigned_with_intercept_and_nan_slope(tmp_path):
    volume = read_volume(nifti(tmp_path / "a.nii", (chest() + 1024).astype(np.uint16), scl_slope=1, scl_inter=-1024))
    np.testing.assert_array_equal(volume.array, chest())
    np.testing.assert_array_equal(read_volume(nifti(tmp_path / "b.nii", scl_slope=np.nan)).array, chest())
    np.testing.assert_array_equal(read_volume(nifti(tmp_path / "c.nii", scl_slope=0, scl_inter=7)).array, chest())


@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    order=st.sampled_from(list(permutations(range(3)))),
    signs=st.sampled_from(list(product((1, -1), repeat=3))),
    angle=st.sampled_from([0.0, 0.3]),
    suffix=st.sampled_from(["nii", "nii.gz", "nrrd", "mha"]),
)
def test_every_orientation_keeps_the_landmark_in_place(tmp_path, order, signs, angle, suffix):
    """The brightest voxel stays at the same millimetres in every stored order, format and turn."""
    import SimpleITK as sitk

    hu = chest()
    matrix = affine(turn=turn_z(angle))
    hu[8, 9, 5] = 3000
    place = (matrix @ [8, 9, 5, 1])[:3]
    stored, stored_matrix = hu.transpose(order), matrix.copy()
    stored_matrix[:3, :3] = matrix[:3, list(order)]
    for axis, sign in enumerate(signs):
        if sign < 0:
            stored = np.flip(stored, axis)
            stored_matrix[:3, 3] += stored_matrix[:3, axis] * (stored.shape[axis] - 1)
            stored_matrix[:3, axis] *= -1
    path = tmp_path / f"ct.{suffix}"
    if "nii" in suffix:
        nifti(path, np.ascontiguousarray(stored), stored_matrix)
    else:
        lps = np.diag([-1, -1, 1, 1]) @ stored_matrix
        image = sitk.GetImageFromArray(np.ascontiguousarray(stored.transpose()))
        spacing = np.linalg.norm(lps[:3, :3], axis=0)
        image.SetSpacing(spacing.tolist())
        image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
        image.SetOrigin(lps[:3, 3].tolist())
        sitk.WriteImage(image, str(path), True)
    volume = read_volume(path)
    found = np.unravel_index(np.argmax(volume.array), volume.array.shape)
    np.testing.assert_allclose(volume.grid.to_ras(np.array(found)), place, atol=1e-3)
    np.testing.assert_allclose(np.sort(volume.spacing), np.sort([0.8, 0.9, 1.5]), rtol=1e-5)


def test_sform_wins_and_a_missing_orientation_is_said(tmp_path):
    other = nifti(tmp_path / "a.nii", srow_x={0: 0.8, 3: 50.0}, sform_code=1, qform_code=1)
    volume = read_volume(other)
    assert volume.affine[0, 3] == 50.0
    assert "sform" in volume.info["notes"][0]
    none = read_volume(nifti(tmp_path / "b.nii", sform_code=0, qform_code=0))
    assert "no orientation" in none.info["notes"][0]


def test_qform_alone_and_metres(tmp_path):
    volume = read_volume(nifti(tmp_path / "a.nii", sform_code=0, qform_code=1))
    np.testing.assert_allclose(volume.affine, affine(), atol=1e-4)
    metres = affine()
    metres[:3] /= 1000
    volume = read_volume(nifti(tmp_path / "b.nii", None, metres, xyzt_units=1))
    np.testing.assert_allclose(volume.affine, affine(), rtol=1e-4)


def test_gzip_in_several_members(tmp_path):
    raw = nifti(tmp_path / "ct.nii").read_bytes()
    path = tmp_path / "two.nii.gz"
    path.write_bytes(gzip.compress(raw[:5001]) + gzip.compress(raw[5001:]) + b"\0" * 100)
    np.testing.assert_array_equal(read_volume(path).array, chest())


def phases_file(tmp_path, suffix="nii.gz"):
    frames = np.stack([chest(seed=n) for n in range(10)], axis=-1)
    return nifti(tmp_path / f"phases.{suffix}", frames), frames


@pytest.mark.parametrize(
    ("phase", "frame"), [(None, 3), (1, 0), ("10", 9), ("70%", 7), ("40 %", 4), ("93", 9), ("97%", 0)]
)
def test_phase_of_a_4d_file(tmp_path, phase, frame):
    path, frames = phases_file(tmp_path)
    volume = read_volume(path, phase=phase)
    np.testing.assert_array_equal(volume.array, frames[..., frame])
    assert volume.info["phase"] == f"{frame * 10}%"
    assert f"Phase {frame + 1} of 10 taken" in volume.info["notes"][0]


def test_a_phase_that_nothing_records_is_not_made_up(tmp_path):
    path, _ = phases_file(tmp_path)
    assert read_phase(read_volume(path, phase="50%").info) == (None, "not recorded")
    single = nifti(tmp_path / "single.nii")
    assert "phase" not in read_volume(single, phase=1).info
    for wish in ("40%", 35, "systole"):
        with pytest.raises(InputError, match="has one phase and does not say which"):
            read_volume(single, phase=wish)


def test_unknown_phase_lists_what_there_is(tmp_path):
    path, _ = phases_file(tmp_path)
    with pytest.raises(InputError, match=r"no phase 'systolic'.*0%, 10%"):
        read_volume(path, phase="systolic")


def test_one_frame_4d_is_a_volume(tmp_path):
    np.testing.assert_array_equal(read_volume(nifti(tmp_path / "a.nii", chest()[..., None])).array, chest())
    np.testing.assert_array_equal(read_volume(nifti(tmp_path / "b.nii"), phase=1).array, chest())


@pytest.mark.parametrize("name", ["ct.nrrd", "ct.nhdr", "ct.mha", "ct.mhd", "größe 大 ct.nrrd"])
@pytest.mark.parametrize("compress", [False, True])
def test_itk_formats(tmp_path, name, compress):
    volume = read_volume(itk(tmp_path / name, compress=compress))
    assert volume.array.dtype == np.int16
    np.testing.assert_array_equal(volume.array, chest())
    expected = np.diag([-0.8, -0.9, 1.5, 1.0])
    expected[:3, 3] = [-10, 20, 30]
    np.testing.assert_allclose(volume.affine, expected, atol=1e-6)


@pytest.mark.parametrize("suffix", ["nrrd", "mha"])
def test_itk_4d_takes_one_phase(tmp_path, suffix):
    import SimpleITK as sitk

    frames = [chest(seed=n) for n in range(5)]
    image = sitk.JoinSeries([sitk.GetImageFromArray(f.transpose()) for f in frames])
    path = tmp_path / f"phases.{suffix}"
    sitk.WriteImage(image, str(path))
    np.testing.assert_array_equal(read_volume(path).array, frames[2])  # 40 % is nearer to 35 % than 20 %
    np.testing.assert_array_equal(read_volume(path, phase="1").array, frames[0])


def test_nrrd_sequence_with_a_list_axis(tmp_path):
    """As Slicer stores sequences: the phases are the fastest axis."""
    frames = np.stack([chest(seed=n) for n in range(5)])
    header = (
        "NRRD0005\ntype: short\ndimension: 4\nspace: left-posterior-superior\nsizes: 5 24 22 20\n"
        "space directions: none (0.8,0,0) (0,0.9,0) (0,0,1.5)\nkinds: list domain domain domain\n"
        "endian: little\nencoding: raw\nspace origin: (10,-20,30)\n\n"
    )
    path = tmp_path / "phases.seq.nrrd"
    path.write_bytes(header.encode() + frames.astype("<i2").tobytes(order="F"))
    np.testing.assert_array_equal(read_volume(path, phase=2).array, frames[1])
    np.testing.assert_array_equal(read_volume(path).array, frames[2])


def test_nrrd_in_ras_and_anisotropic(tmp_path):
    path = itk_text(tmp_path / "ct.nrrd", ("left-posterior-superior", "right-anterior-superior"))
    np.testing.assert_allclose(read_volume(path).affine[:3, 3], [10, -20, 30], atol=1e-6)


def test_a_few_nan_are_mended_and_said(tmp_path):
    hu = chest().astype(np.float32) + 0.5
    hu[10:12, 10:12, 10:12] = np.nan
    hu[3, 3, 3] = np.inf
    volume = read_volume(nifti(tmp_path / "ct.nii", hu))
    assert np.all(np.isfinite(volume.array))
    assert volume.info["repaired_share"] == pytest.approx(9 / hu.size)
    around = chest()[9:13, 9:13, 9:13]
    assert around.min() <= volume.array[10:12, 10:12, 10:12].min() <= volume.array[11, 11, 11] <= around.max()
    assert "NaN or infinite" in volume.info["notes"][0]


def test_padding_below_air_becomes_air(tmp_path):
    hu = chest()
    hu[0] = -3024
    volume = read_volume(nifti(tmp_path / "ct.nii", hu))
    assert volume.array.min() == -1024
    assert "-3024" in volume.info["notes"][0]


@pytest.mark.parametrize("dtype", [np.int16, np.float64])
def test_reading_takes_no_second_copy(tmp_path, dtype):
    """Peak memory of voxels: for int16 the array itself, for float64 files float32 and int16, never float64."""
    shape = (200, 200, 160)
    path = nifti(tmp_path / "ct.nii.gz", chest(shape).astype(dtype))
    read_volume(path)  # imports
    tracemalloc.start()
    volume = read_volume(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    allowed = volume.array.nbytes * (1 if dtype == np.int16 else 3)
    assert peak < allowed + 16e6


def test_progress_runs_to_the_end_and_cancels(tmp_path):
    path = nifti(tmp_path / "ct.nii.gz", chest((100, 100, 100)))
    seen = []
    read_volume(path, progress=Progress(lambda fraction, words: seen.append((fraction, words))))
    fractions = [fraction for fraction, _ in seen]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    with pytest.raises(Cancelled):
        read_volume(path, progress=Progress(cancelled=lambda: len(seen) > 0))


def test_real_files(shared_ct):
    """Every CT at hand is read as int16 with sensible spacing, and the label map beside one is refused."""
    files = sorted(shared_ct.glob("*/*ct*.nii.gz"))
    assert len(files) >= 7
    for path in files:
        volume = read_volume(path)
        reference = nibabel.load(path)
        assert volume.array.dtype == np.int16
        np.testing.assert_allclose(volume.affine, reference.affine, atol=1e-6)
        np.testing.assert_array_equal(volume.array, np.maximum(np.asarray(reference.dataobj), -1024))
    with pytest.raises(InputError, match="label map"):
        read_volume(shared_ct / "ts-pulm-cta" / "heart.nii.gz")
