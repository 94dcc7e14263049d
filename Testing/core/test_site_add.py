"""CTs taken into a site: readable as before, without identity, each once, and the key stays outside."""

from __future__ import annotations

import gzip
import json
import os
import re
from pathlib import Path

import ct_files
import nibabel
import numpy as np
import pytest
import site_cases

from fedkdtavi_core import errors
from fedkdtavi_core.cli.main import main
from fedkdtavi_core.readers import read_volume
from fedkdtavi_core.site.add import add_ct
from fedkdtavi_core.site.ctfile import header_texts
from fedkdtavi_core.site.dataset import open_site
from fedkdtavi_core.site.localkey import default_key, read_key

NAME = "Muster^Erika"


def spoken(folder: Path) -> bytes:
    """All that a site's folder tells: names and contents, unpacked."""
    told = b""
    for path in sorted(folder.rglob("*")):
        told += str(path.relative_to(folder)).encode() + b"\n"
        if path.is_file():
            data = path.read_bytes()
            told += gzip.decompress(data) if path.suffix == ".gz" else data
    return told


@pytest.fixture
def site(tmp_path) -> Path:
    return site_cases.make_site(tmp_path / "site")


def sources(folder: Path) -> dict[str, Path]:
    """The same patient's name in every format's own way."""
    folder.mkdir()
    nifti = ct_files.nifti(folder / "Muster.nii.gz", ct_files.chest(seed=1), descrip=NAME.encode())
    nrrd = ct_files.itk(folder / "Muster.nrrd", ct_files.chest(seed=2), meta={"PatientName": NAME})
    mha = ct_files.itk(folder / "Muster.mha", ct_files.chest(seed=3), meta={"PatientName": NAME})
    ct_files.dicom_series(folder / "Muster", ct_files.chest(seed=4), PatientName=NAME, PatientID="4711-Muster")
    return {"nifti": nifti, "nrrd": nrrd, "mha": mha, "dicom": folder / "Muster"}


@pytest.mark.parametrize("kind", ["nifti", "nrrd", "mha", "dicom"])
def test_a_ct_is_kept_as_it_is_without_identity(kind, site, tmp_path):
    source = sources(tmp_path / "in")[kind]
    added = add_ct(site, source)
    before = read_volume(source)
    (case,) = open_site(site).cases
    after = case.read_volume()
    assert case.id == added.case
    assert re.fullmatch(r"case-[0-9a-f]{10}", case.id)
    assert after.array.dtype == np.int16
    assert np.array_equal(after.array, before.array)
    assert np.allclose(after.affine, before.affine, atol=1e-4)
    assert header_texts(case.path / "ct.nii.gz") == []
    for word in (b"Muster", b"Erika", b"4711", str(tmp_path).encode()):
        assert word not in spoken(site)
    assert set(case.states().values()) == {"unlabelled"}


def test_the_key_tells_which_is_which_to_its_owner_alone(site, tmp_path):
    source = sources(tmp_path / "in")["dicom"]
    case = add_ct(site, source).case
    key = default_key(site)
    assert key.parent == tmp_path
    assert not key.is_relative_to(site)
    entry = read_key(key)[case]
    assert entry.path == str(source)
    assert entry.series_uid == "1.2.826.0.1.3680043.10.3.1"
    assert "stays in this hospital" in json.loads(key.read_text())["note"]
    if os.name == "posix":
        assert key.stat().st_mode & 0o777 == 0o600


def test_ids_are_made_not_derived(tmp_path):
    source = sources(tmp_path / "in")["nifti"]
    ids = {add_ct(site_cases.make_site(tmp_path / name), source).case for name in ("one", "two")}
    assert len(ids) == 2


def test_a_ct_comes_in_once_whatever_its_format(site, tmp_path):
    first = ct_files.nifti(tmp_path / "a.nii.gz")
    again = ct_files.nifti(tmp_path / "b.nii")
    add_ct(site, first)
    with pytest.raises(errors.InputError, match="in the site already"):
        add_ct(site, again)
    assert len(open_site(site).cases) == 1
    assert len(read_key(default_key(site))) == 1


def test_fractions_of_a_hu_are_rounded_and_the_ct_is_still_known(site, tmp_path):
    array = ct_files.chest().astype(np.float32) + 0.3
    source = ct_files.nifti(tmp_path / "float.nii.gz", array)
    case = add_ct(site, source).case
    kept = open_site(site).case(case).read_volume()
    assert kept.array.dtype == np.int16
    assert np.array_equal(kept.array, np.rint(array))
    with pytest.raises(errors.InputError, match=case):
        add_ct(site, source)


def test_a_sheared_ct_has_no_qform_that_would_straighten_it(site, tmp_path):
    affine = ct_files.affine()
    affine[0, 2] = 0.2
    source = tmp_path / "tilt.nii.gz"
    nibabel.save(nibabel.Nifti1Image(ct_files.chest(), affine), source)
    case = add_ct(site, source).case
    kept = open_site(site).case(case)
    header = nibabel.load(kept.path / "ct.nii.gz").header
    assert int(header["qform_code"]) == 0
    assert np.allclose(header.get_sform(), affine, atol=1e-5)


def test_one_bad_ct_stops_none_of_the_others(site, tmp_path, capsys):
    good, bad = ct_files.nifti(tmp_path / "good.nii.gz"), tmp_path / "bad.nii.gz"
    bad.write_bytes(b"no CT")
    assert main(["site", "add", str(site), str(bad), str(good), "--json"]) == errors.EXIT_INPUT
    captured = capsys.readouterr()
    result = json.loads(captured.out)
    assert [one["status"] for one in result["inputs"]] == ["failed", "done"]
    assert result["exit_code"] == result["error"]["exit_code"] == errors.EXIT_INPUT
    assert captured.err.count("\n") == 1
    assert len(open_site(site).cases) == 1


def test_a_key_inside_the_site_is_refused(site, tmp_path, capsys):
    source = ct_files.nifti(tmp_path / "ct.nii.gz")
    assert main(["site", "add", str(site), str(source), "--key", str(site / "key.json")]) == errors.EXIT_USAGE
    assert "must not lie in the site's folder" in capsys.readouterr().err
    assert open_site(site).cases == ()


def test_a_broken_key_is_not_overwritten(site, tmp_path):
    key = default_key(site)
    key.write_text('{"cases": {"case-1": {"path": "x"}}}')
    with pytest.raises(errors.InputError, match="restore it"):
        add_ct(site, ct_files.nifti(tmp_path / "ct.nii.gz"))
    assert key.read_text() == '{"cases": {"case-1": {"path": "x"}}}'
    assert open_site(site).cases == ()


def test_init_makes_names_and_keeps(tmp_path, capsys):
    folder = tmp_path / "clinic"
    assert main(["site", "init", str(folder)]) == 0
    assert open_site(folder).info.id == "clinic"
    site_cases.make_case(folder, "a", {})
    assert main(["site", "init", str(folder), "--id", "clinic", "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["id"] == "clinic"
    assert [case.id for case in open_site(folder).cases] == ["a"]


def test_init_renames_a_site_only_when_asked_to(tmp_path, capsys):
    folder = tmp_path / "clinic"
    assert main(["site", "init", str(folder), "--note", "ours"]) == 0
    assert main(["site", "init", str(folder), "--id", "site-3"]) == errors.EXIT_USAGE
    assert "is the site clinic already" in capsys.readouterr().err
    assert open_site(folder).info.id == "clinic"
    assert main(["site", "init", str(folder), "--id", "site-3", "--rename"]) == 0
    assert "was site clinic and is now site site-3" in capsys.readouterr().out
    assert (open_site(folder).info.id, open_site(folder).info.note) == ("site-3", "ours")


@pytest.mark.parametrize("site_id", ["site 3", "a/b", "../x", "-x", "Köln"])
def test_an_id_that_a_configuration_could_not_name_is_none(site_id, tmp_path, capsys):
    assert main(["site", "init", str(tmp_path / "clinic"), f"--id={site_id}"]) == errors.EXIT_USAGE
    assert f"the id {site_id!r} is none; give one of letters" in capsys.readouterr().err
    assert not (tmp_path / "clinic").exists()


def test_init_takes_no_folder_with_other_things_in_it(tmp_path, capsys):
    (tmp_path / "holiday.jpg").write_bytes(b"")
    assert main(["site", "init", str(tmp_path)]) == errors.EXIT_USAGE
    assert "no site dataset" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["holiday.jpg"]


@pytest.mark.parametrize("action", ["status", "worklist", "check"])
def test_what_is_no_site_is_refused(action, tmp_path, capsys):
    assert main(["site", action, str(tmp_path / "nowhere")]) == errors.EXIT_USAGE
    assert "fedkdtavi site init" in capsys.readouterr().err
