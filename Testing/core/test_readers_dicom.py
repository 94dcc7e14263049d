"""DICOM folders: which series and phase is taken, where the voxels lie, and what is left out."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from ct_files import chest, dicom_series

from fedkdtavi_core.errors import Cancelled, InputError
from fedkdtavi_core.geometry import resample
from fedkdtavi_core.progress import Progress
from fedkdtavi_core.readers import read_volume
from fedkdtavi_core.volume import Grid

UID = "1.2.826.0.1.3680043.10.3."
TALL = (24, 22, 48)  # 70.5 mm along the body


def other(folder, number: int, description: str = "", seed: int = 0, shape=TALL, **tags):
    """One more series in the same folder."""
    return dicom_series(
        folder,
        chest(shape, seed),
        prefix=f"s{number}-",
        SeriesInstanceUID=f"{UID}{number}",
        SeriesNumber=number,
        SeriesDescription=description,
        **tags,
    )


def test_voxels_and_place(tmp_path):
    dicom_series(tmp_path / "Röntgen 心 CT")
    volume = read_volume(tmp_path / "Röntgen 心 CT")
    assert volume.array.dtype == np.int16
    np.testing.assert_array_equal(volume.array, chest())
    expected = np.diag([-0.8, -0.9, 1.5, 1.0])
    expected[:3, 3] = [10, 20, 0]
    np.testing.assert_allclose(volume.affine, expected)
    assert volume.info["slice_thickness_mm"] == 1.5


def test_slices_are_ordered_by_position_not_by_name(tmp_path):
    paths = dicom_series(tmp_path / "a")
    for n, path in enumerate(reversed(paths)):
        path.rename(path.with_name(f"x{n:03d}.dcm"))
    np.testing.assert_array_equal(read_volume(tmp_path / "a").array, chest())


def test_coronal_slices_lie_in_place(tmp_path):
    dicom_series(
        tmp_path,
        ImageOrientationPatient=[1, 0, 0, 0, 0, -1],
        ImagePositionPatient=lambda k: [-10, 5 + 1.5 * k, 40],
    )
    volume = read_volume(tmp_path)
    np.testing.assert_array_equal(volume.array, chest())
    np.testing.assert_allclose(volume.grid.to_ras(np.array([1, 2, 3])), [10 - 0.8, -5 - 4.5, 40 - 1.8])


def test_one_file_stands_for_its_series(tmp_path):
    dicom_series(tmp_path)
    wanted = other(tmp_path, 7, seed=7)
    volume = read_volume(wanted[4])
    np.testing.assert_array_equal(volume.array, chest(TALL, 7))
    assert "whole series" in volume.info["notes"][0]


def test_subfolders_other_files_and_scouts_are_passed_over(tmp_path):
    dicom_series(tmp_path / "study" / "series")
    (tmp_path / "README.txt").write_text("not an image")
    (tmp_path / "DICOMDIR").write_bytes(b"\0" * 300)
    (tmp_path / "study" / "broken.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"\x02")
    dicom_series(tmp_path / "scout", chest()[:, :, :2], prefix="s", ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    dicom_series(tmp_path / "sr", chest()[:, :, :2], prefix="r", Modality="SR", SeriesInstanceUID=UID + "9")
    volume = read_volume(tmp_path)
    np.testing.assert_array_equal(volume.array, chest())
    assert any("damaged" in note for note in volume.info["notes"])


# Each row: what the better series (number 5, listed last) has over the others; the rule's lines in their order.
RULES = {
    "axial": ({"ImageOrientationPatient": [1, 0, 0, 0, 0, -1], "ImagePositionPatient": lambda k: [0, 1.5 * k, 0]}, {}),
    "original": ({"ImageType": ["DERIVED", "SECONDARY"]}, {}),
    "long": ({"shape": (24, 22, 30)}, {"ImageType": ["ORIGINAL", "PRIMARY"]}),
    "contrast by tag": ({"ContrastBolusAgent": None}, {"ContrastBolusAgent": "IV"}),
    "contrast by name": ({"description": "thorax nativ"}, {"description": "CTA heart"}),
    "contrast by name, none": ({"description": "CHEST NO CONTRAST"}, {"description": "CTA heart"}),
    "contrast by name, ohne": ({"description": "Thorax o. KM 1.0"}, {"description": "CTA heart"}),
    "contrast by name, kein": ({"description": "Thorax kein KM"}, {"description": "CTA heart"}),
    "contrast by tag, none": ({"ContrastBolusAgent": "NONE"}, {"ContrastBolusAgent": "IV"}),
    "kernel": ({"ConvolutionKernel": "B70f"}, {"ConvolutionKernel": "B30f"}),
    "siemens kernel list": ({"ConvolutionKernel": ["Br69d", "3"]}, {"ConvolutionKernel": ["Bv36d", "3"]}),
    "thin": ({"spacing": (0.8, 0.9, 3.0)}, {"spacing": (0.8, 0.9, 1.5)}),
    "phase": ({"NominalPercentageOfCardiacPhase": 75}, {"NominalPercentageOfCardiacPhase": 30}),
    "phase by name": ({"description": "BestDiast 72 %"}, {"description": "BestSyst 38 %"}),
    "longer": ({}, {"shape": (24, 22, 60)}),
}


@pytest.mark.parametrize("line", RULES)
def test_rule(tmp_path, line):
    worse, better = RULES[line]
    worse, better = ({"ContrastBolusAgent": "IV", **tags} for tags in (worse, better))
    for tags in (worse, better):
        if tags["ContrastBolusAgent"] is None or "contrast by name" in line:
            del tags["ContrastBolusAgent"]
    other(tmp_path, 1, **{"seed": 1, **worse})
    other(tmp_path, 5, **{"seed": 5, **better})
    volume = read_volume(tmp_path)
    np.testing.assert_array_equal(volume.array, chest(better.get("shape", TALL), 5))
    assert "Series 2 of 2 taken" in volume.info["notes"][0]
    assert "rule: axial" in volume.info["notes"][0]


@pytest.mark.parametrize(
    ("wish", "seed"), [("1", 1), (2, 5), ("diastole", 1), ("CTA SYST", 5), (UID + "5", 5), (UID + "1", 1)]
)
def test_series_by_place_text_or_uid(tmp_path, wish, seed):
    other(tmp_path, 1, "CTA diastole", 1)
    other(tmp_path, 5, "CTA systole", 5)
    volume = read_volume(tmp_path, series=wish)
    np.testing.assert_array_equal(volume.array, chest(TALL, seed))
    assert "as asked for" in volume.info["notes"][0]


def test_unknown_series_lists_what_there_is(tmp_path):
    other(tmp_path, 1, "CTA diastole", 1)
    other(tmp_path, 5, "CTA systole", 5)
    with pytest.raises(InputError, match=r"no series '9'.*1: 'CTA diastole', 48 images.*2: 'CTA systole'"):
        read_volume(tmp_path, series=9)


PHASE_TAGS = {
    "percentage": lambda n: {"NominalPercentageOfCardiacPhase": 10 * n},
    "trigger time": lambda n: {"TriggerTime": 80 * n, "HeartRate": 75},
    "temporal position": lambda n: {"TemporalPositionIdentifier": n + 1},
    "acquisition": lambda n: {"AcquisitionNumber": n + 1},
}


@pytest.mark.parametrize("kind", PHASE_TAGS)
def test_phases_within_one_series(tmp_path, kind):
    for n in range(5):
        dicom_series(tmp_path, chest(seed=n), prefix=f"p{n}-", **PHASE_TAGS[kind](n))
    named = kind in ("percentage", "trigger time")  # 240 ms of an 800 ms beat are 30 %
    np.testing.assert_array_equal(read_volume(tmp_path).array, chest(seed=3 if named else 0))
    np.testing.assert_array_equal(read_volume(tmp_path, phase=2).array, chest(seed=1))
    if named:
        np.testing.assert_array_equal(read_volume(tmp_path, phase="10%").array, chest(seed=1))
    with pytest.raises(InputError, match="no phase"):
        read_volume(tmp_path, phase="late")


def test_duplicates_are_left_out_and_said(tmp_path):
    paths = dicom_series(tmp_path)
    shutil.copy(paths[3], tmp_path / "copy.dcm")
    dicom_series(tmp_path / "again", prefix="other")  # the same pixels under other instance numbers
    volume = read_volume(tmp_path)
    np.testing.assert_array_equal(volume.array, chest())
    assert any("20 duplicate images" in note for note in volume.info["notes"])


def test_gantry_tilt_shears_the_grid(tmp_path):
    """Slices shifted by 0.3 mm each: the affine says so, and a point keeps its millimetres."""
    dicom_series(tmp_path, slant=0.3, GantryDetectorTilt=11.3)
    volume = read_volume(tmp_path)
    np.testing.assert_allclose(volume.grid.to_ras(np.array([2, 3, 10])), [10 - 1.6, 20 - 3.0 - 2.7, 15.0])
    assert any("tilted gantry" in note for note in volume.info["notes"])
    assert volume.grid.voxel_volume == pytest.approx(0.8 * 0.9 * 1.5)


def test_slope_padding_and_signed_pixels(tmp_path):
    stored = (chest() // 2).astype("<i2")
    stored[:2] = -2000

    def pixels(k):
        return stored[:, :, k].T.tobytes()

    dicom_series(
        tmp_path, PixelData=pixels, PixelRepresentation=1, RescaleSlope=2, RescaleIntercept=0, PixelPaddingValue=-2000
    )
    volume = read_volume(tmp_path)
    expected = stored.astype(int) * 2
    expected[:2] = -1024
    np.testing.assert_array_equal(volume.array, np.maximum(expected, -1024))


def test_padding_below_16_bits_is_air_and_no_metal(tmp_path):
    stored = (chest() + 1024).astype("<i2")
    stored[:2] = -32768  # without a PixelPaddingValue
    dicom_series(
        tmp_path, PixelData=lambda k: stored[:, :, k].T.tobytes(), PixelRepresentation=1, RescaleIntercept=-1024
    )
    volume = read_volume(tmp_path)
    assert (volume.array[:2] == -1024).all() and volume.array.max() < 3000


def test_what_reconstruction_mixed_in_is_no_phase(tmp_path):
    for number, (name, percent) in enumerate(
        [
            ("Thorax CTA ASiR-V 40%", None),
            ("TAVI 35% iDose", 35.0),
            ("CTA ASiR 40% 75 %", 75.0),
        ]
    ):
        other(tmp_path / str(number), 1, name, 1)
        info = read_volume(tmp_path / str(number)).info
        assert (name, info["phase_percent"]) == (name, percent)


def test_values_beyond_16_bits_are_said(tmp_path):
    stored = (chest() + 1024).astype("<u2")
    stored[5, 5, 5] = 65000
    dicom_series(tmp_path, PixelData=lambda k: stored[:, :, k].T.tobytes(), RescaleIntercept=-1000)
    volume = read_volume(tmp_path)
    assert volume.array[5, 5, 5] == 32767
    assert "1 voxels above 32767 HU" in volume.info["notes"][0]


def test_big_endian_and_implicit(tmp_path):
    from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian

    dicom_series(tmp_path / "big", syntax=ExplicitVRBigEndian)
    dicom_series(tmp_path / "implicit", syntax=ImplicitVRLittleEndian)
    np.testing.assert_array_equal(read_volume(tmp_path / "big").array, chest())
    np.testing.assert_array_equal(read_volume(tmp_path / "implicit").array, chest())


def compress(paths, syntax: str) -> None:
    import pydicom

    for path in paths:
        dataset = pydicom.dcmread(path)
        dataset.compress(syntax, generate_instance_uid=False)
        dataset.save_as(path)


def test_rle_is_decoded(tmp_path):
    from pydicom.uid import RLELossless

    compress(dicom_series(tmp_path), RLELossless)
    np.testing.assert_array_equal(read_volume(tmp_path).array, chest())


def test_jpeg2000_is_decoded(tmp_path):
    pytest.importorskip("openjpeg", reason="writing JPEG 2000 takes a plugin; reading does not")
    from pydicom.uid import JPEG2000Lossless

    compress(dicom_series(tmp_path, chest((64, 64, 10))), JPEG2000Lossless)
    np.testing.assert_array_equal(read_volume(tmp_path).array, chest((64, 64, 10)))


def test_unknown_compression_is_named(tmp_path):
    import pydicom
    from pydicom.encaps import encapsulate
    from pydicom.uid import HTJ2KLossless

    for path in dicom_series(tmp_path):
        dataset = pydicom.dcmread(path)
        dataset.file_meta.TransferSyntaxUID = HTJ2KLossless
        dataset.PixelData = encapsulate([b"\xff\x4f\xff\x51" + b"\0" * 60])
        dataset["PixelData"].is_undefined_length = True
        dataset.save_as(path)
    with pytest.raises(InputError, match=r"High-Throughput JPEG 2000.*uncompressed"):
        read_volume(tmp_path)


def test_enhanced_multiframe(tmp_path):
    """One file with all slices, whose geometry stands in functional groups."""
    import pydicom
    from pydicom.dataset import Dataset

    paths = dicom_series(tmp_path / "parts")
    dataset = pydicom.dcmread(paths[0])
    dataset.NumberOfFrames = 20
    dataset.PixelData = (chest().transpose().astype(np.int32) + 1024).astype("<u2").tobytes()
    shared, frames = Dataset(), []
    shared.PixelMeasuresSequence = [Dataset()]
    shared.PixelMeasuresSequence[0].PixelSpacing = [0.9, 0.8]
    shared.PixelMeasuresSequence[0].SliceThickness = 1.5
    shared.PixelValueTransformationSequence = [Dataset()]
    shared.PixelValueTransformationSequence[0].RescaleSlope = 1
    shared.PixelValueTransformationSequence[0].RescaleIntercept = -1024
    for k in range(20):
        frame = Dataset()
        frame.PlanePositionSequence, frame.PlaneOrientationSequence = [Dataset()], [Dataset()]
        frame.PlanePositionSequence[0].ImagePositionPatient = [-10, -20, 1.5 * k]
        frame.PlaneOrientationSequence[0].ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        frames.append(frame)
    dataset.SharedFunctionalGroupsSequence, dataset.PerFrameFunctionalGroupsSequence = [shared], frames
    for name in (
        "ImagePositionPatient",
        "ImageOrientationPatient",
        "PixelSpacing",
        "RescaleSlope",
        "RescaleIntercept",
        "SliceThickness",
    ):
        delattr(dataset, name)
    path = tmp_path / "enhanced.dcm"
    dataset.save_as(path)
    volume = read_volume(path)
    np.testing.assert_array_equal(volume.array, chest())
    np.testing.assert_allclose(volume.spacing, [0.8, 0.9, 1.5])


def test_cancel_between_slices(tmp_path):
    dicom_series(tmp_path)
    seen: list[str] = []
    stop = Progress(lambda _, words: seen.append(words), lambda: any("slices" in words for words in seen))
    with pytest.raises(Cancelled):
        read_volume(tmp_path, progress=stop)


def test_no_identity_in_info(tmp_path):
    dicom_series(tmp_path, PatientName="Doe^Jane", PatientID="4711", AccessionNumber="A-99")
    words = str(read_volume(tmp_path).info)
    assert not any(secret in words for secret in ("Doe", "4711", "A-99"))


def test_original_slices_equal_the_resampled_ct(shared_ct):
    """lidc-0001 is the same CT, resampled to 1.0 mm in-plane: same place and same HU where the body is."""
    slices = read_volume(shared_ct / "lidc-0001-dicom")
    whole = read_volume(shared_ct / "lidc-0001" / "ct.nii.gz")
    assert slices.array.shape == (512, 512, 41)
    assert slices.array.dtype == np.int16
    np.testing.assert_allclose(slices.spacing, [0.703125, 0.703125, 2.5])
    affine = np.diag([3.0, 3.0, 2.5, 1.0])
    affine[:3, 3] = slices.grid.to_ras(np.array([420, 420, 5]))
    affine[2, 3] = slices.grid.to_ras(np.array([0, 0, 5]))[2]
    grid = Grid((70, 60, 30), affine)
    a, b = resample(slices, grid), resample(whole, grid)
    tissue = (b > -200) & (b < 600)
    assert tissue.mean() > 0.2
    assert np.median(np.abs(a - b)[tissue]) < 5
    assert np.corrcoef(a[tissue], b[tissue])[0, 1] > 0.98
