"""A folder of CTs without a window: which are found, exit codes, one failure stops none of the others."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fedkdtavi_core.annotation import Status
from fedkdtavi_core.errors import EXIT_CANCELLED, EXIT_INPUT, EXIT_OK, EXIT_USAGE, UsageError
from fedkdtavi_core.site.check import ERROR, check_site
from fedkdtavi_core.site.dataset import open_site
from FedKDTAVILib import batch
from FedKDTAVILib.batchCases import BatchCase, findCases
from FedKDTAVILib.caseFolder import folderDigest
from FedKDTAVILib.landmarkNodes import setPointState
from FedKDTAVILib.siteCase import exportCase, openCase

REPOSITORY = Path(__file__).resolve().parents[2]
SAMPLE_CT = REPOSITORY / "Resources" / "SampleData" / "phantom-tavi.nii.gz"
SCRIPT = REPOSITORY / "FedKDTAVI" / "FedKDTAVILib" / "batch.py"
# Slicer's --python-script on the host: the script's own globals, its name, and slicer.util.exit at the end.
AS_SLICER = """
import runpy, sys, types
from slicerhost import start
start()
import slicer
options = types.SimpleNamespace(runPythonAndExit=True)
type(slicer.app).commandOptions = lambda self: options
type(slicer.app).exit = lambda self, status: sys.exit(status)
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def touch(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def dicom(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(128) + b"DICM" + bytes(200))


def test_files_and_dicom_folders(tmp_path):
    touch(tmp_path, "a.nii.gz", "b.NRRD", "calcification.seg.nrrd", "notes.txt", ".hidden.nii", "deep/er/c.mha")
    dicom(tmp_path / "patient" / "series" / "IM0001")
    found = [case.path.relative_to(tmp_path).as_posix() for case in findCases(tmp_path)]
    assert found == ["a.nii.gz", "b.NRRD", "deep/er/c.mha", "patient"]


def test_a_folder_that_is_a_series_itself(tmp_path):
    dicom(tmp_path / "IM0001")
    assert [case.path for case in findCases(tmp_path)] == [tmp_path]


def test_a_site_dataset_by_its_cases(tmp_path):
    touch(tmp_path, "site.json", "cases/one/ct.nii.gz", "cases/two/ct.nii.gz", "cases/none/labels.json")
    cases = tmp_path / "cases"
    assert findCases(tmp_path) == [
        BatchCase(cases / "one" / "ct.nii.gz", "one"), BatchCase(cases / "two" / "ct.nii.gz", "two"),
    ]  # fmt: skip


def test_no_ct_is_told(tmp_path, capsys):
    with pytest.raises(UsageError, match="holds no CT"):
        findCases(tmp_path)
    assert batch.main(["--", "--in", str(tmp_path / "none"), "--out", str(tmp_path)]) == EXIT_USAGE
    assert "is no folder" in capsys.readouterr().err
    assert batch.main(["--in", str(tmp_path)]) == EXIT_USAGE
    assert "--out" in capsys.readouterr().err
    assert batch.main(["--help"]) == EXIT_OK


def test_missing_packages_are_not_installed_unasked(monkeypatch, tmp_path, capsys):
    from FedKDTAVILib import install

    monkeypatch.setattr(install, "missing", lambda: [r for r in install.requirements() if r.name == "nibabel"])
    monkeypatch.setattr(install, "_run", lambda *a: pytest.fail("something was run"))
    assert batch.main(["--in", str(tmp_path), "--out", str(tmp_path)]) == EXIT_USAGE
    assert "--install" in capsys.readouterr().err


def test_it_is_read_in_any_code_page():
    assert SCRIPT.read_bytes().isascii()


def test_as_slicer_runs_it(tmp_path):
    """One bad CT among two, in folders with umlauts; then again with --resume."""
    source, out = tmp_path / "CTs für heute", tmp_path / "Ergebnis é"
    source.mkdir()
    shutil.copy(SAMPLE_CT, source / "herz 1.nii.gz")
    (source / "bad.nii.gz").write_bytes(b"no CT")
    command = [sys.executable, "-c", f"import sys; sys.argv[0] = {str(SCRIPT)!r}\n{AS_SLICER}"]
    options = ["--", "--in", source, "--out", out, "--no-report", "--device", "cpu"]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY / "Testing" / "host"), "PYTHONUTF8": "1"}
    done = subprocess.run(
        [*command, *map(str, options)], env=environment, capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == EXIT_INPUT, done.stderr
    assert "1 of 2 CTs annotated, 1 failed." in done.stdout
    assert "bad.nii.gz" in done.stderr
    assert "Traceback" not in done.stderr
    assert [entry.name for entry in out.iterdir()] == ["herz 1"]
    assert (out / "herz 1" / "landmarks.mrk.json").is_file()
    assert batch.main([*map(str, options), "--resume"]) == EXIT_INPUT
    (source / "bad.nii.gz").unlink()
    assert batch.main([*map(str, options), "--resume"]) == EXIT_OK


def test_what_a_person_corrected_is_not_overwritten(tmp_path, capsys):
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    shutil.copy(SAMPLE_CT, source / "ct1.nii.gz")
    name = findCases(source)[0].name
    touch(out, f"{name}/provenance.json")
    assert batch.main(["--in", str(source), "--out", str(out)]) == EXIT_USAGE
    assert "--force" in capsys.readouterr().err


def test_cancelled_by_the_keyboard(tmp_path, monkeypatch, capsys):
    source = tmp_path / "in"
    source.mkdir()
    shutil.copy(SAMPLE_CT, source / "ct1.nii.gz")
    started = []

    class Interrupted(batch.BlockingProcess):
        def wait(self, onIdle=None) -> None:
            if not started:
                started.append(self)
                raise KeyboardInterrupt
            super().wait(onIdle)

    monkeypatch.setattr(batch, "BlockingProcess", Interrupted)
    assert batch.main(["--in", str(source), "--out", str(tmp_path / "out")]) == EXIT_CANCELLED
    assert "Cancelled" in capsys.readouterr().err
    assert not started[0].isRunning()
    assert not list((tmp_path / "out").glob("*")) if (tmp_path / "out").exists() else True


def test_predictions_as_cases_of_a_site(tmp_path, capsys):
    source, out, site = tmp_path / "in", tmp_path / "out", tmp_path / "Klinik é"
    source.mkdir()
    shutil.copy(SAMPLE_CT, source / "Muster Erika.nii.gz")
    options = ["--in", str(source), "--out", str(out), "--site", str(site), "--no-report", "--device", "cpu"]
    assert batch.main(options) == EXIT_OK
    assert "no ground truth" in capsys.readouterr().out
    (case,) = open_site(site).cases
    assert {record.status for record in case.record.labels.values()} == {Status.PREDICTED}
    assert {"hinge_rcc", "ostium_lca", "calcification"} <= case.record.labels.keys()
    assert case.record.truth() == ()
    assert [problem for problem in check_site(site) if problem.level == ERROR] == []
    assert not any(b"Muster" in path.read_bytes() for path in case.path.rglob("*"))
    before = folderDigest(case.path)
    # Done already: neither annotated nor imported again. A run that was stopped between the two goes on there.
    assert batch.main([*options, "--resume"]) == EXIT_OK
    assert folderDigest(case.path) == before
    shutil.rmtree(case.path)
    assert batch.main([*options, "--resume"]) == EXIT_OK
    (case,) = open_site(site).cases
    caseNodes = openCase(case.path)
    annotation = caseNodes.toAnnotation()
    assert {landmark.status for landmark in annotation.landmarks.values()} == {Status.PREDICTED}
    assert annotation.provenance["bundle"]["digest"] == case.record.labels["hinge_rcc"].bundle
    setPointState(caseNodes.landmarks, "hinge_rcc", annotation.landmarks["hinge_rcc"].position, Status.CONFIRMED)
    assert exportCase(caseNodes, site, reviewer="R1") == case.path
    assert open_site(site).case(case.id).record.truth() == ("hinge_rcc",)
    assert open_site(site).case(case.id).record.labels["hinge_rcc"].bundle == annotation.provenance["bundle"]["digest"]
    # A later prediction leaves what was reviewed alone.
    assert batch.main([*options, "--force"]) == EXIT_OK
    assert open_site(site).case(case.id).record.truth() == ("hinge_rcc",)


def test_a_site_that_is_none_is_refused_before_any_work(tmp_path, capsys):
    source, holiday = tmp_path / "in", tmp_path / "holiday"
    touch(source, "ct.nii.gz")
    touch(holiday, "picture.jpg")
    assert batch.main(["--in", str(source), "--out", str(tmp_path / "out"), "--site", str(holiday)]) == EXIT_USAGE
    assert "is no site dataset" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
