"""Broken and wrong files: each is refused with one sentence that names it, says what is wrong and what to do."""

from __future__ import annotations

import os
import tarfile
import tracemalloc
import zipfile
from pathlib import Path

import nibabel
import numpy as np
import pytest
from ct_files import affine, chest, dicom_series, itk, itk_text, nifti

from fedkdtavi_core.errors import EXIT_INPUT, InputError
from fedkdtavi_core.readers import read_volume

NAN, INF = float("nan"), float("inf")
SIZES = "sizes: 24 22 20"
DIRECTIONS = "(0.80000000000000004,0,0) (0,0.90000000000000002,0) (0,0,1.5)"


def raw(path, data: bytes):
    path.write_bytes(data)
    return path


def labels(shape=(24, 22, 20)):
    return (chest(shape) > 200).astype(np.uint8) + 2 * (chest(shape) < -500).astype(np.uint8)


def mr():
    """Like an MR: nothing below 0, hundreds of grey values."""
    return np.abs(np.random.default_rng(0).normal(300, 150, (24, 22, 20))).astype(np.int16)


def with_nan(share: float):
    hu = chest().astype(np.float32)
    hu.ravel()[np.random.default_rng(0).permutation(hu.size)[: int(share * hu.size)]] = NAN
    return hu


def rgb(shape=(24, 22, 20)):
    return np.zeros(shape, np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")]))


def pair(folder):
    nibabel.save(nibabel.Nifti1Pair(chest(), affine()), folder / "ct.hdr")
    return folder / "ct.hdr"


def fifo(folder):
    os.mkfifo(folder / "pipe")
    return folder / "pipe"


def flipped(path, at: int):
    """The same file with one byte changed."""
    data = bytearray(path.read_bytes())
    data[at] ^= 0xFF
    return raw(path, bytes(data))


def cut(path, keep: float):
    data = path.read_bytes()
    return raw(path, data[: int(len(data) * keep)])


def rest_of(folder, *, without=()):
    paths = dicom_series(folder / "dcm")
    for n in without:
        paths[n].unlink()
    return folder / "dcm"


def changed(folder, **tags):
    dicom_series(folder / "dcm", **tags)
    return folder / "dcm"


def one_cut(folder, keep: int):
    path = dicom_series(folder / "dcm")[9]
    raw(path, path.read_bytes()[:keep])
    return folder / "dcm"


def cut_all(folder):
    for path in dicom_series(folder):
        raw(path, path.read_bytes()[:200])
    return folder


def label_slice(k: int) -> bytes:
    return labels()[:, :, k].T.astype("<u2").tobytes()


def two_scans(folder):
    dicom_series(folder / "dcm")
    dicom_series(folder / "dcm", chest(seed=1), prefix="other")
    return folder / "dcm"


def renamed_nifti_folder(folder):
    nifti(folder / "ct.nii.gz")
    return folder


def folder_of_two(tmp_path):
    folder = renamed_nifti_folder(tmp_path)
    first = next(iter(folder.iterdir()))
    first.with_name(f"b-{first.name}").write_bytes(first.read_bytes())
    return folder


def mhd_without_data(folder):
    itk(folder / "ct.mhd")
    (folder / "ct.raw").unlink()
    return folder / "ct.mhd"


def mhd_with_short_data(folder):
    itk(folder / "ct.mhd", compress=True)
    cut(folder / "ct.zraw", 0.5)
    return folder / "ct.mhd"


def bad_syntax(folder):
    for path in dicom_series(folder / "dcm"):
        raw(path, path.read_bytes().replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.7\0"))
    return folder / "dcm"


def nhdr_with_short_data(folder):
    itk(folder / "ct.nhdr")
    cut(folder / "ct.raw", 0.5)
    return folder / "ct.nhdr"


def seg_nrrd(folder):
    return itk(folder / "ct.seg.nrrd", labels(), meta={"Segment0_ID": "Segment_1", "Segment0_Name": "valve"})


def complex_nifti(folder):
    return nifti(folder / "ct.nii", chest().astype(np.complex64))


def zipped(path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("ct.nii", b"CT" * 400)
    return path


def tarred(path: Path) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        archive.addfile(tarfile.TarInfo("ct.nii"))
    return path


TABLE = {
    # nothing there, or no image
    "missing": (lambda f: f / "nowhere.nii.gz", "does not exist"),
    "empty file": (lambda f: raw(f / "ct.nii.gz", b""), "is empty"),
    "empty folder": (lambda f: f, "empty folder"),
    "zip": (lambda f: zipped(f / "ct.zip"), "is an archive"),
    "zip with the name of a CT": (lambda f: zipped(f / "ct.nii.gz"), "is an archive"),
    "tar.gz": (lambda f: tarred(f / "ct.tar.gz"), "is an archive"),
    "folder with text": (lambda f: raw(f / "a.txt", b"hello").parent, "no DICOM images"),
    "folder with a NIfTI": (renamed_nifti_folder, "give that file itself"),
    "folder with two": (folder_of_two, "2 other image files, such as .*give the files themselves"),
    "pipe": (fifo, "neither a file nor a folder"),
    "text": (lambda f: raw(f / "ct.txt", b"this is no image " * 50), "no image format known"),
    "text named nii": (lambda f: raw(f / "ct.nii", b"this is no image " * 50), "no NIfTI header"),
    "text named mha": (lambda f: raw(f / "ct.mha", b"this is no image " * 50), "no MetaImage header"),
    "png": (lambda f: raw(f / "ct.png", b"\x89PNG\r\n\x1a\n" + b"\1" * 500), "no image format known"),
    "zeros": (lambda f: raw(f / "ct.dcm", b"\0" * 5000), "only zeros"),
    "gzip of text": (lambda f: raw(f / "a.nii.gz", __import__("gzip").compress(b"hello" * 200)), "no NIfTI header"),
    "garbage gzip": (lambda f: raw(f / "a.nii.gz", b"\x1f\x8b" + b"\xff" * 300), "broken gzip"),
    "umlauts missing": (lambda f: f / "Größe 心 x.nii", "Größe 心 x.nii does not exist"),
    # truncated or damaged
    "nifti header cut": (lambda f: nifti(f / "a.nii", cut_inside=200), "no NIfTI header"),
    "nifti header just cut": (lambda f: nifti(f / "a.nii", cut_inside=347), "within its header"),
    "nifti voxels cut": (lambda f: nifti(f / "a.nii", cut_inside=9000), "truncated"),
    "nifti no voxels": (lambda f: nifti(f / "a.nii.gz", cut_inside=352), "truncated"),
    "gzip cut": (lambda f: nifti(f / "a.nii.gz", cut=-4000), "truncated"),
    "gzip cut at its end": (lambda f: nifti(f / "a.nii.gz", cut=-4), "truncated inside its gzip"),
    "cut inside the gzip": (lambda f: nifti(f / "a.nii.gz", cut_inside=15000), "truncated"),
    "gzip byte changed": (lambda f: flipped(nifti(f / "a.nii.gz"), 6000), "damaged inside its gzip"),
    "gzip checksum changed": (lambda f: flipped(nifti(f / "a.nii.gz"), -6), "damaged inside its gzip"),
    "nrrd cut": (lambda f: cut(itk(f / "a.nrrd"), 0.6), "truncated"),
    "nrrd gzip cut": (lambda f: cut(itk(f / "a.nrrd", compress=True), 0.6), "cannot be read as NRRD|truncated"),
    "mha cut": (lambda f: cut(itk(f / "a.mha"), 0.6), "truncated"),
    "mha compressed cut": (lambda f: cut(itk(f / "a.mha", compress=True), 0.6), "truncated"),
    "mha zlib damaged": (lambda f: flipped(itk(f / "a.mha", compress=True), 440), "damaged in its compressed voxels"),
    "mhd compressed cut": (mhd_with_short_data, "truncated"),
    "mhd without data": (mhd_without_data, "refers to the file 'ct.raw'"),
    "nhdr with short data": (nhdr_with_short_data, "truncated"),
    "hdr of a pair": (pair, r"\.hdr/\.img pair"),
    # headers
    "size 0": (lambda f: nifti(f / "a.nii", dim={2: 0}), "impossible size"),
    "body too large": (lambda f: nifti(f / "a.nii.gz", chest((70, 70, 20)), affine((18, 18, 19))), "covers 1260 x"),
    "body too small": (lambda f: nifti(f / "a.nii.gz", matrix=affine((0.1, 0.1, 0.1))), "less than an aortic root"),
    "HU times ten": (lambda f: nifti(f / "a.nii.gz", 10 * chest()), "values down to -10240 .* air has -1000"),
    "size negative": (lambda f: nifti(f / "a.nii.gz", dim={1: -24}), "impossible size"),
    "size absurd": (lambda f: nifti(f / "a.nii.gz", dim={1: 32000, 2: 32000, 3: 32000}), "more than a CT can have"),
    "size large": (lambda f: nifti(f / "a.nii.gz", dim={1: 1000, 2: 1000, 3: 1000}), "truncated or its header"),
    "dimensions 0": (lambda f: nifti(f / "a.nii", dim={0: 0}), "0 dimensions"),
    "dimensions 99": (lambda f: nifti(f / "a.nii", dim={0: 99}), "dimensions"),
    "spacing 0": (lambda f: nifti(f / "a.nii", pixdim={3: 0}, sform_code=0), "claims voxels of"),
    "spacing negative": (lambda f: nifti(f / "a.nii", pixdim={2: -0.9}, sform_code=0), "claims voxels of"),
    "spacing nan": (lambda f: nifti(f / "a.nii", pixdim={1: NAN}, sform_code=0), "claims voxels of"),
    "spacing inf": (lambda f: nifti(f / "a.nii", pixdim={1: INF}, sform_code=0), "claims voxels of"),
    "spacing 0 beside sform": (lambda f: nifti(f / "a.nii", pixdim={3: 0}), "claims voxels of"),
    "spacing -1 beside sform": (lambda f: nifti(f / "a.nii", pixdim={1: -1}, qform_code=1), "claims voxels of"),
    "spacing absurd": (lambda f: nifti(f / "a.nii", None, affine((800, 900, 1500))), "claims voxels of 800 x 900"),
    "spacing tiny": (lambda f: nifti(f / "a.nii", None, affine((8e-4, 9e-4, 1.5e-3))), "claims voxels of"),
    "sform nan": (lambda f: nifti(f / "a.nii", srow_y={1: NAN}), "NaN or infinite"),
    "sform zero": (lambda f: nifti(f / "a.nii", srow_x=0, srow_y=0, srow_z=0), "claims voxels of 0"),
    "sform singular": (lambda f: nifti(f / "a.nii", srow_x={1: 0.9}, srow_y={0: 0.8, 1: 0.9}, srow_z={0: 0}),
                       "claims voxels|singular"),
    "sform two equal axes": (lambda f: nifti(f / "a.nii", srow_x={0: 0.8, 1: 0.8}, srow_y={1: 0.01}), "singular"),
    "origin absurd": (lambda f: nifti(f / "a.nii", srow_x={3: 1e9}), "from the origin"),
    "qform impossible": (lambda f: nifti(f / "a.nii", sform_code=0, qform_code=1, quatern_b=9, quatern_c=9),
                         "orientation"),
    "datatype unknown": (lambda f: nifti(f / "a.nii", datatype=777), "broken NIfTI header"),
    "offset nan": (lambda f: nifti(f / "a.nii", vox_offset=NAN), "start at byte"),
    "offset negative": (lambda f: nifti(f / "a.nii", vox_offset=-5), "start at byte"),
    "slope inf": (lambda f: nifti(f / "a.nii", scl_slope=INF, scl_inter=0), "slope|broken"),
    "intercept nan": (lambda f: nifti(f / "a.nii", scl_slope=2, scl_inter=NAN), "intercept|broken"),
    "nrrd size 0": (lambda f: itk_text(f / "a.nrrd", (SIZES, "sizes: 24 0 20")), "impossible size"),
    "nrrd size negative": (lambda f: itk_text(f / "a.nrrd", (SIZES, "sizes: 24 -2 20")), "impossible size"),
    "nrrd size words": (lambda f: itk_text(f / "a.nrrd", (SIZES, "sizes: a b c")), "unreadable 'sizes'"),
    "nrrd size absurd": (lambda f: itk_text(f / "a.nrrd", (SIZES, "sizes: 99999 99999 99999")), "more than a CT"),
    "nrrd size large": (lambda f: itk_text(f / "a.nrrd", (SIZES, "sizes: 900 900 900")), "truncated or its header"),
    "nrrd singular": (lambda f: itk_text(f / "a.nrrd", (DIRECTIONS, "(1,0,0) (1,0,0) (0,0,1)")), "singular|cannot be"),
    "nrrd nan": (lambda f: itk_text(f / "a.nrrd", (DIRECTIONS, "(nan,0,0) (0,1,0) (0,0,1)")), "NaN|voxels|cannot be"),
    "nrrd zero": (lambda f: itk_text(f / "a.nrrd", (DIRECTIONS, "(0,0,0) (0,1,0) (0,0,1)")), "NaN|voxels|cannot be"),
    "nrrd huge": (lambda f: itk_text(f / "a.nrrd", (DIRECTIONS, "(900,0,0) (0,900,0) (0,0,900)")), "voxels of 900"),
    "nrrd type": (lambda f: itk_text(f / "a.nrrd", ("type: short", "type: banana")), "cannot be read as NRRD"),
    "nrrd no sizes": (lambda f: itk_text(f / "a.nrrd", (SIZES, "comment: x")), "no 'sizes'"),
    "mha size 0": (lambda f: itk_text(f / "a.mha", ("DimSize = 24", "DimSize = 0")), "impossible size"),
    "mha spacing 0": (lambda f: itk_text(f / "a.mha", ("Spacing = 0.8", "Spacing = 0.0")), "claims voxels of"),
    "mha spacing negative": (lambda f: itk_text(f / "a.mha", ("Spacing = 0.8", "Spacing = -.8")), "claims voxels of"),
    "mha spacing nan": (lambda f: itk_text(f / "a.mha", ("0.80000000000000004 0.9", "nan 0.9")), "claims voxels of"),
    "mha singular": (lambda f: itk_text(f / "a.mha", ("1 0 0 0 1 0 0 0 1", "1 0 0 1 0 0 0 0 1")), "singular|cannot be"),
    "mha offset": (lambda f: itk_text(f / "a.mha", ("Offset = 10 -20", "Offset = 10 -x0")), "unreadable 'offset'"),
    "mha matrix": (lambda f: itk_text(f / "a.mha", ("1 0 0 0 1 0 0 0 1", "1 0 0 0 1 0")), "6 numbers"),
    "mha dimensions": (lambda f: itk_text(f / "a.mha", ("NDims = 3", "NDims = 7")), "dimensions"),
    "mha no type": (lambda f: itk_text(f / "a.mha", ("ElementType", "ElementTipe")), "no 'elementtype'"),
    "mha size large": (lambda f: itk_text(f / "a.mha", ("DimSize = 24 22 20", "DimSize = 900 900 900")), "truncated"),
    # no volume, no CT
    "2-D": (lambda f: nifti(f / "a.nii", chest()[:, :, 5]), "flat image"),
    "one slice": (lambda f: nifti(f / "a.nii.gz", chest()[:, :, 5:6]), "flat image"),
    "few slices": (lambda f: nifti(f / "a.nii", chest()[:, :, :4]), "only 24 x 22 x 4"),
    "2-D nrrd": (lambda f: itk(f / "a.nrrd", chest()[:, :, 5], (1, 1)), "flat image"),
    "5-D vectors": (lambda f: nifti(f / "a.nii", np.zeros((24, 22, 20, 1, 3), np.float32)), "3 values for every voxel"),
    "colour": (lambda f: nifti(f / "a.nii", rgb()), "colours"),
    "colour mha": (lambda f: itk_text(f / "a.mha", ("ElementType", "ElementNumberOfChannels = 3\nElementType"),
                                      ("24 22 20", "8 22 20")), "colours or vectors"),
    "complex": (complex_nifti, "type complex64"),
    "label map": (lambda f: nifti(f / "a.nii.gz", labels()), "label map"),
    "label map by header": (lambda f: nifti(f / "a.nii.gz", intent_code=1002), "label map by its header"),
    "label map as float": (lambda f: nifti(f / "a.nii.gz", labels().astype(np.float32)), "label map"),
    "segmentation nrrd": (seg_nrrd, "is a segmentation"),
    "8-bit picture": (lambda f: nifti(f / "a.nii", (chest() // 20 + 60).clip(0, 255).astype(np.uint8)), "8-bit"),
    "MR": (lambda f: nifti(f / "a.nii.gz", mr()), "it is an MR or another image"),
    "MR by header": (lambda f: itk_text(f / "a.mha", ("ElementT", "Modality = MET_MOD_MR\nElementT")), "modality MR"),
    "no intercept": (lambda f: nifti(f / "a.nii", (chest() + 1024).astype(np.uint16)), "without its intercept"),
    "twice the intercept": (lambda f: nifti(f / "a.nii", chest() - 1024), "air has -1000"),
    "constant": (lambda f: nifti(f / "a.nii", np.full((24, 22, 20), -1000, np.int16)), "same value"),
    "normalised": (lambda f: nifti(f / "a.nii", (chest() / 1000).astype(np.float32)), "too few for Hounsfield"),
    "huge values": (lambda f: nifti(f / "a.nii", chest().astype(np.float32) * 1e6), "no Hounsfield units"),
    "overflowing float64": (lambda f: nifti(f / "a.nii", np.where(chest() > 0, 1e300, chest())), "NaN or infinite"),
    "many NaN": (lambda f: nifti(f / "a.nii", with_nan(0.02)), r"2\.0% voxels that are NaN"),
    "all NaN": (lambda f: nifti(f / "a.nii", with_nan(1.0)), r"100\.0% voxels that are NaN"),
    # DICOM
    "slice missing": (lambda f: rest_of(f, without=[9]), "1 missing between im008.dcm and im010.dcm: 3.00 mm"),
    "slices missing": (lambda f: rest_of(f, without=[4, 5, 6]), "3 missing between"),
    "irregular": (lambda f: changed(f, ImagePositionPatient=lambda k: [0, 0, 1.5 * k + (k > 9) * 0.4]), "irregular"),
    "not on a line": (lambda f: changed(f, ImagePositionPatient=lambda k: [9 * (k % 2), 0, 1.5 * k]), "straight line"),
    "two scans mixed": (two_scans, "different images at the same place"),
    "MR series": (lambda f: changed(f, Modality="MR"), "holds no CT but MR"),
    "structures": (lambda f: changed(f, Modality="RTSTRUCT", PixelData=b""), "no CT but RTSTRUCT"),
    "scout only": (lambda f: changed(f, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]), "only scouts"),
    "colour pictures": (lambda f: changed(f, SamplesPerPixel=3), "colour pictures"),
    "no position": (lambda f: changed(f, ImagePositionPatient=None), "without position"),
    "no spacing": (lambda f: changed(f, PixelSpacing=None), "pixel spacing"),
    "spacing zero": (lambda f: changed(f, PixelSpacing=[0, 0.8]), "claims voxels of"),
    "pixel spacing nan": (lambda f: changed(f, PixelSpacing=["nan", "0.8"]), "pixel spacing"),
    "orientation singular": (lambda f: changed(f, ImageOrientationPatient=[1, 0, 0, 1, 0, 0]), "possible orientation"),
    "orientation zero": (lambda f: changed(f, ImageOrientationPatient=[0, 0, 0, 0, 0, 0]), "possible orientation"),
    "rows absurd": (lambda f: changed(f, Rows=65000, Columns=65000), "more than a CT can have"),
    "rows zero": (lambda f: changed(f, Rows=0), "size in their headers"),
    "rows too many": (lambda f: changed(f, Rows=2200), "truncated"),
    "pixels cut": (lambda f: one_cut(f, -300), "truncated|cannot be read"),
    "header cut": (lambda f: one_cut(f, 300), "1 missing between"),
    "no pixels": (lambda f: changed(f, PixelData=None), "no pixels"),
    "all files cut": (lambda f: cut_all(f), "damaged DICOM"),
    "two slices": (lambda f: rest_of(f, without=range(2, 20)), "at least 8 parallel slices"),
    "one damaged file": (lambda f: raw(dicom_series(f)[0], b"\0" * 128 + b"DICM" + b"\1" * 20), "damaged DICOM file"),
    "bad pixel tag": (lambda f: changed(f, BitsAllocated=13), "13 bits a pixel"),
    "bad transfer syntax": (bad_syntax, "cannot be read as DICOM"),
    "slope zero": (lambda f: changed(f, RescaleSlope=0), "same value"),
    "no rescale": (lambda f: changed(f, RescaleSlope=None, RescaleIntercept=None), "without its intercept"),
    "dicom labels": (lambda f: changed(f, RescaleIntercept=0, PixelData=label_slice), "label map"),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:Invalid value for VR")  # pydicom, while the broken files are written
@pytest.mark.skipif(not Path("/proc/cpuinfo").exists(), reason="the system has no /proc")
@pytest.mark.parametrize("name", ["/proc/cpuinfo", "/proc/self/mem", "/proc/self/environ"])
def test_what_the_system_makes_up_is_no_file(name):
    with pytest.raises(InputError, match=rf"^{name} is empty \(0 bytes\): .*\.$"):
        read_volume(name)


@pytest.mark.parametrize("case", TABLE)
def test_refused_with_one_sentence(tmp_path, case, capfd):
    make, expected = TABLE[case]
    path = make(tmp_path)
    before = sorted(p.name for p in tmp_path.rglob("*"))
    with pytest.raises(InputError, match=expected) as caught:
        read_volume(path)
    sentence = str(caught.value)
    assert caught.value.exit_code == EXIT_INPUT
    assert str(tmp_path) in sentence
    assert "\n" not in sentence
    assert sentence.endswith(".")
    assert ": " in sentence  # what is wrong: what to do
    assert len(sentence) - len(str(path)) < 330
    assert sorted(p.name for p in tmp_path.rglob("*")) == before  # nothing left behind
    assert capfd.readouterr() == ("", "")  # and nothing said beside it


def test_the_table_is_large_enough():
    assert len(TABLE) >= 100


@pytest.mark.parametrize("case", ["size absurd", "size large", "nrrd size absurd", "nrrd size large", "mha size large"])
def test_absurd_sizes_are_refused_before_memory_is_taken(tmp_path, case):
    path = TABLE[case][0](tmp_path)
    tracemalloc.start()
    with pytest.raises(InputError):
        read_volume(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 50e6


@pytest.mark.parametrize("name", ["ct.nii.gz", "ct.nrrd", "ct.mha"])
def test_series_of_a_file_is_refused(tmp_path, name):
    path = nifti(tmp_path / name) if "nii" in name else itk(tmp_path / name)
    with pytest.raises(InputError, match="no DICOM and so has no series"):
        read_volume(path, series=1)
    with pytest.raises(InputError, match="one phase and does not say which, so not 'diastole'"):
        read_volume(path, phase="diastole")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_no_permission(tmp_path):
    path = nifti(tmp_path / "ct.nii")
    path.chmod(0)
    with pytest.raises(InputError, match="permissions"):
        read_volume(path)
