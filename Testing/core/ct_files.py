"""Small CTs and the files that hold them, for the readers' tests."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

SHAPE = (24, 22, 20)
SPACING = (0.8, 0.9, 1.5)


def chest(shape=SHAPE, seed: int = 0) -> np.ndarray:
    """int16 HU: air around a body with fat, muscle, lung, contrast and a little calcium, all with noise."""
    i, j, k = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    hu = np.full(shape, -1000.0)
    hu[i**2 + j**2 < 0.9] = -90
    hu[i**2 + j**2 < 0.75] = 45
    hu[(i - 0.5) ** 2 + j**2 < 0.08] = -850
    hu[(i + 0.1) ** 2 + (j - 0.1) ** 2 + k**2 < 0.12] = 380
    hu[(i + 0.3) ** 2 + (j - 0.2) ** 2 + k**2 < 0.01] = 900
    return (hu + np.random.default_rng(seed).normal(0, 12, shape)).round().clip(-1024, 3071).astype(np.int16)


def affine(spacing=SPACING, origin=(-12.0, 7.0, -300.0), turn=None) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3] = (np.eye(3) if turn is None else turn) * np.asarray(spacing, float)
    matrix[:3, 3] = origin
    return matrix


def turn_z(angle: float) -> np.ndarray:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])


def nifti(path: Path, array=None, matrix=None, **fields: Any) -> Path:
    """A NIfTI file; ``fields`` are written over the finished header byte for byte, however impossible.

    Special: ``cut`` keeps only that many bytes of the packed file, ``cut_inside`` of the unpacked one.
    """
    cut, cut_inside = fields.pop("cut", None), fields.pop("cut_inside", None)
    array = chest() if array is None else array
    image = nibabel.Nifti1Image(array, affine() if matrix is None else matrix)
    raw = bytearray(image.to_bytes())
    header = np.frombuffer(raw, nibabel.Nifti1Header.template_dtype, 1).copy()
    for name, value in fields.items():
        if isinstance(value, dict):
            for index, entry in value.items():
                header[name][0, index] = entry
        else:
            header[name] = value
    raw[: header.itemsize] = header.tobytes()
    raw = bytes(raw)[:cut_inside]
    data = gzip.compress(raw, 1) if path.name.endswith(".gz") else raw
    path.write_bytes(data[:cut])
    return path


def itk(path: Path, array=None, spacing=SPACING, *, compress: bool = False, meta: dict[str, str] | None = None) -> Path:
    """A NRRD or MetaImage file with axes along LPS (so i and j run to the left and to the back)."""
    import SimpleITK as sitk

    image = sitk.GetImageFromArray((chest() if array is None else array).transpose())
    image.SetSpacing([float(s) for s in spacing])
    image.SetOrigin([10.0, -20.0, 30.0])
    for key, value in (meta or {}).items():
        image.SetMetaData(key, value)
    sitk.WriteImage(image, str(path), compress)
    return path


def itk_text(path: Path, *changes: tuple[str, str], compress: bool = False, array=None) -> Path:
    """The same with words of its text header exchanged; every change must hit."""
    data = itk(path, array, compress=compress).read_bytes()
    for old, new in changes:
        assert old.encode() in data, (old, data[:400])
        data = data.replace(old.encode(), new.encode(), 1)
    path.write_bytes(data)
    return path


def dicom_series(folder: Path, array=None, *, spacing=SPACING, start=0, slant=0.0, **tags: Any) -> list[Path]:
    """One file per slice, named ``<prefix>000.dcm`` ...; axial, ``slant`` shifts each slice by so many mm along j.

    ``tags`` are set on every slice (a callable gets the slice's number); None deletes the tag. Special are ``prefix``
    and ``syntax`` (a transfer syntax UID; the pixels follow its byte order).
    """
    import pydicom
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRBigEndian, ExplicitVRLittleEndian

    array = chest() if array is None else array
    prefix, syntax = tags.pop("prefix", "im"), tags.pop("syntax", ExplicitVRLittleEndian)
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for k in range(array.shape[2]):
        ds = Dataset()
        ds.file_meta = FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = syntax
        ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = CTImageStorage
        ds.SOPInstanceUID = f"1.2.826.0.1.3680043.10.1.{abs(hash_of(prefix))}.{k + 1}"
        ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
        ds.StudyInstanceUID, ds.SeriesInstanceUID = "1.2.826.0.1.3680043.10.2", "1.2.826.0.1.3680043.10.3.1"
        ds.Modality, ds.SeriesNumber, ds.ImageType = "CT", 3, ["ORIGINAL", "PRIMARY", "AXIAL"]
        ds.Rows, ds.Columns, ds.SamplesPerPixel = array.shape[1], array.shape[0], 1
        ds.PhotometricInterpretation, ds.InstanceNumber = "MONOCHROME2", k + 1
        ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 0
        ds.RescaleSlope, ds.RescaleIntercept = 1, -1024
        ds.PixelSpacing = [spacing[1], spacing[0]]
        ds.SliceThickness = spacing[2]
        ds.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        ds.ImagePositionPatient = [-10, -20 + slant * k, start + spacing[2] * k]
        order = ">" if syntax == ExplicitVRBigEndian else "<"
        ds.PixelData = (array[:, :, k].T.astype(np.int32) + 1024).astype(f"{order}u2").tobytes()
        ds["PixelData"].VR = "OW"
        for name, value in tags.items():
            value = value(k) if callable(value) else value
            if value is None:
                del ds[name]
            elif name in ("PixelData",):
                ds.PixelData = value
            else:
                setattr(ds, name, value)
        paths.append(folder / f"{prefix}{k:03d}.dcm")
        pydicom.dcmwrite(paths[-1], ds, enforce_file_format=True)
    return paths


def hash_of(text: str) -> int:
    """A small number that is the same in every run."""
    return sum((n + 1) * ord(c) for n, c in enumerate(text))
