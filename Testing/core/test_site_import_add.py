"""Results of annotate whose CT the site has not got: it comes along, as a case that opens as annotate wrote it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import site_cases
from site_import import ALL, two_cases

from fedkdtavi_core import errors
from fedkdtavi_core.cli.main import main
from fedkdtavi_core.labels.annotated import read_annotation, write_annotation
from fedkdtavi_core.site.adopt import adopt
from fedkdtavi_core.site.dataset import open_site
from fedkdtavi_core.site.localkey import default_key


@pytest.fixture
def site(tmp_path) -> Path:
    return two_cases(tmp_path / "site")


def made_on(folder: Path, ct: Path) -> Path:
    """An annotation folder of the CT file ``ct``, with paths as annotate writes them."""
    from fedkdtavi_core.readers import read_volume

    read = read_volume(ct)
    annotation = read_annotation(site_cases.annotated(folder / "draft", read), read.grid).annotation
    annotation.warnings = ["weak contrast"]
    annotation.landmarks["hinge_lcc"].flags = ["low"]
    (folder / "result").mkdir()
    write_annotation(folder / "result", annotation, read.grid, {"path": str(ct), "chosen_series": None})
    return folder / "result"


def test_a_result_whose_ct_the_site_has_not_got_brings_it_along(site, tmp_path, capsys):
    import ct_files

    source = ct_files.nifti(tmp_path / "Muster.nii.gz", ct_files.chest(seed=7).astype(np.float32) + 0.4)
    folder = made_on(tmp_path, source)
    assert main(["site", "import", str(site), str(folder)]) == errors.EXIT_INPUT
    assert main(["site", "import", str(site), str(folder), "--add", "--json"]) == 0
    (one,) = json.loads(capsys.readouterr().out.splitlines()[-1])["inputs"]
    case = open_site(site).case(one["case"])
    assert set(one["taken"].values()) == {"predicted"} and one["taken"].keys() == ALL
    assert case.record.truth() == ()
    # It opens as what annotate wrote: the bundle, flags and covariance are known, and the hospital's names are not.
    found = read_annotation(case.path, case.read_grid())
    assert found.changed == []
    assert found.provenance["bundle"] == {"digest": "ab12"}
    assert found.annotation.landmarks["hinge_lcc"].flags == ["low"]
    assert found.annotation.landmarks["hinge_lcc"].covariance is not None
    assert found.annotation.warnings == ["weak contrast"]
    assert not any(b"Muster" in path.read_bytes() for path in case.path.iterdir())
    assert main(["site", "import", str(site), str(folder), "--add"]) == 0
    assert len(open_site(site).cases) == 3


def test_a_ct_that_changed_or_went_since_is_not_taken_along(site, tmp_path):
    import ct_files

    source = ct_files.nifti(tmp_path / "a.nii.gz", ct_files.chest(seed=7))
    folder, key = made_on(tmp_path, source), default_key(site)
    ct_files.nifti(source, ct_files.chest(seed=8))
    with pytest.raises(errors.InputError, match="is not the CT that was annotated"):
        adopt(site, folder, key)
    source.unlink()
    with pytest.raises(errors.InputError, match="is not there"):
        adopt(site, folder, key)
    with pytest.raises(errors.UsageError, match="folders written by annotate"):
        adopt(site, folder / "landmarks.mrk.json", key)
    assert len(open_site(site).cases) == 2
    assert not key.exists()
