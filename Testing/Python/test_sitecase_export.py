"""An export that cannot be finished leaves the old case or the new one, and says why in one sentence."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
import slicer

from fedkdtavi_core.annotation import Status
from fedkdtavi_core.errors import InputError, UsageError
from fedkdtavi_core.labels.record import read_record, volume_digest
from fedkdtavi_core.readers import read_volume
from fedkdtavi_core.site.check import ERROR, check_site
from fedkdtavi_core.site.dataset import SiteInfo, read_site
from fedkdtavi_core.site.init import init_site
from FedKDTAVILib import siteCase
from FedKDTAVILib.caseFolder import folderDigest
from FedKDTAVILib.landmarkNodes import pointState, setPointState
from FedKDTAVILib.siteCase import exportCase, exportFiles, openCase

_WRITES = ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "shutil.copyfile")


def correct(caseNodes, labelId: str = "hinge_rcc", by: float = 1.0) -> None:
    position = pointState(caseNodes.landmarks, labelId).position + by
    setPointState(caseNodes.landmarks, labelId, position, Status.CORRECTED)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def onEachWrite(act) -> None:
    """Call ``act`` whenever this process is about to change the file system; cannot be undone."""

    def hook(event: str, args: tuple) -> None:
        opened = event == "open" and isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        if event in _WRITES or opened:
            act()

    sys.addaudithook(hook)


def killedAt(number: int, work) -> int:
    """Run ``work`` in a fork of this process that is killed at its nth write; 0: it came to its end, 9: killed."""
    child = os.fork()
    if child == 0:
        left = [number]

        def act() -> None:
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)

        onEachWrite(act)
        try:
            work()
        except BaseException:  # noqa: BLE001 - a fork must never come back into the test
            os._exit(1)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks to kill")
def test_killed_at_every_write_the_old_or_the_new_is_there(caseNodes, tmp_path):
    folder = exportCase(caseNodes, tmp_path, reviewer="R1")
    old = contents(folder)
    correct(caseNodes)
    record = caseNodes.state.read()["case"]
    states = set()
    for number in range(1, 200):
        caseNodes.state.update(case=record)
        ended = killedAt(number, lambda: exportCase(caseNodes, tmp_path, reviewer="R2"))
        assert ended in (0, signal.SIGKILL)
        assert folder.is_dir()
        now = contents(folder)
        assert set(now) == set(old)
        if now == old:
            states.add("old")
        else:  # the new one, whole
            assert read_record(folder / "labels.json").labels["hinge_rcc"].status is Status.CORRECTED
            assert read_record(folder / "labels.json").ct_sha256 == volume_digest(read_volume(folder / "ct.nii.gz"))
            assert openCase(folder).toAnnotation().landmarks["hinge_rcc"].status is Status.CORRECTED
            states.add("new")
            break
    assert number > 10
    assert states == {"old", "new"}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks to kill")
def test_killed_in_a_first_export_nothing_half_is_there(caseNodes, tmp_path):
    target = tmp_path / "cases" / "one"
    for number in range(1, 200, 3):
        ended = killedAt(number, lambda: exportCase(caseNodes, tmp_path, "one", reviewer="R1"))
        if target.exists():
            assert (target / "labels.json").is_file()
            assert len(contents(target)) == 6
            break
        assert ended == signal.SIGKILL
    assert number > 4


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        (errno.ENOSPC, "the disk is full; nothing was written"),
        (errno.EACCES, "cannot be written"),
        (errno.EIO, "check"),
    ],
)
@pytest.mark.parametrize("failing", ["write_annotation", "write_record", "write_ct", "_keepOthers"])
def test_a_write_that_fails_is_one_sentence(caseNodes, tmp_path, monkeypatch, failing, code, sentence):
    folder = exportCase(caseNodes, tmp_path, reviewer="R1")
    old = contents(folder)
    correct(caseNodes)
    kept = caseNodes.state.read()

    def fail(*_args, **_keywords):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(siteCase, failing, fail)
    monkeypatch.setattr(Path, "hardlink_to", fail)  # so that the CT has to be written again
    with pytest.raises(UsageError, match=sentence) as error:
        exportCase(caseNodes, tmp_path, reviewer="R1")
    assert str(error.value).count("\n") == 0
    assert contents(folder) == old
    assert list(folder.parent.iterdir()) == [folder]
    assert caseNodes.state.read() == kept


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder(caseNodes, tmp_path):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(UsageError, match="cannot be written; choose another place"):
            exportCase(caseNodes, tmp_path, reviewer="R1")
    finally:
        tmp_path.chmod(0o700)


def test_a_place_that_is_read_only(caseNodes, tmp_path, monkeypatch):
    real = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: real(path, mode) and not mode & os.W_OK)
    with pytest.raises(UsageError, match="cannot be written; choose another place"):
        exportCase(caseNodes, tmp_path, reviewer="R1")
    assert list(tmp_path.iterdir()) == []


def test_a_file_where_the_site_should_be(caseNodes, tmp_path):
    (tmp_path / "site").write_text("no folder")
    with pytest.raises(UsageError, match="is a file where a folder is needed"):
        exportCase(caseNodes, tmp_path / "site", reviewer="R1")


@pytest.mark.parametrize("change", ["labels.json", "landmarks.mrk.json", "calcification.seg.nrrd", "note.txt"])
def test_changed_by_somebody_else_meanwhile(caseNodes, tmp_path, change):
    folder = exportCase(caseNodes, tmp_path, reviewer="R1")
    with (folder / change).open("ab") as file:
        file.write(b"\n")
    old = contents(folder)
    correct(caseNodes)
    with pytest.raises(UsageError, match=r"somebody has changed this case since it was opened; open it again"):
        exportCase(caseNodes, tmp_path, reviewer="R1")
    assert contents(folder) == old
    assert exportCase(caseNodes, tmp_path, "another", reviewer="R1").name == "another"


def test_changed_while_it_is_written(caseNodes, tmp_path, monkeypatch):
    folder = exportCase(caseNodes, tmp_path, reviewer="R1")
    correct(caseNodes)
    write = siteCase.write_record

    def meanwhile(path, record):
        write(path, record)
        (folder / "labels.json").write_text("{}")

    monkeypatch.setattr(siteCase, "write_record", meanwhile)
    with pytest.raises(UsageError, match="somebody has changed this case"):
        exportCase(caseNodes, tmp_path, reviewer="R1")
    assert (folder / "labels.json").read_text() == "{}"


def test_a_case_that_was_never_opened_is_not_replaced(caseNodes, tmp_path):
    exportCase(caseNodes, tmp_path, "one", reviewer="R1")
    caseNodes.state.update(case=None)
    with pytest.raises(UsageError, match="is there already; open that case"):
        exportCase(caseNodes, tmp_path, "one", reviewer="R1")
    foreign = tmp_path / "cases" / "two"
    foreign.mkdir()
    (foreign / "holiday.txt").write_text("mine")
    with pytest.raises(UsageError, match="was not made here"):
        exportCase(caseNodes, tmp_path, "two", reviewer="R1")
    assert (foreign / "holiday.txt").read_text() == "mine"


def test_what_a_person_put_beside_the_labels_stays(caseNodes, tmp_path):
    folder = exportCase(caseNodes, tmp_path, reviewer="R1")
    (folder / "note.txt").write_text("seen by two")
    (folder / "more").mkdir()
    (folder / "more" / "x").write_text("x")
    opened = openCase(folder)
    correct(opened)
    exportCase(opened, tmp_path, reviewer="R2")
    assert (folder / "note.txt").read_text() == "seen by two"
    assert (folder / "more" / "x").read_text() == "x"
    correct(opened, "hinge_lcc")
    exportCase(opened, tmp_path, reviewer="R2")  # and is no change by somebody else


@pytest.mark.parametrize("caseId", ["", "../up", "a/b", ".hidden", "a" * 65, "Müller"])
def test_ids_that_are_no_folder_name(caseNodes, tmp_path, caseId):
    with pytest.raises(UsageError, match="may have letters, digits"):
        exportCase(caseNodes, tmp_path, caseId, reviewer="R1")
    assert list(tmp_path.iterdir()) == []


def test_nobody_is_no_reviewer(caseNodes, tmp_path):
    with pytest.raises(UsageError, match="has no pseudonym"):
        exportCase(caseNodes, tmp_path, reviewer=" ")


def test_an_incomplete_case_is_not_written(caseNodes, tmp_path):
    slicer.mrmlScene.RemoveNode(caseNodes.landmarks)
    with pytest.raises(InputError, match="landmarks of this case was deleted"):
        exportCase(caseNodes, tmp_path, reviewer="R1")
    assert list(tmp_path.iterdir()) == []


def test_the_same_ct_ends_in_the_same_case_and_is_not_packed_twice(caseNodes, tmp_path):
    folder = exportCase(caseNodes, tmp_path, reviewer="R1")
    first = (folder / "ct.nii.gz").stat()
    assert exportCase(caseNodes, tmp_path, reviewer="R1") == folder
    assert (folder / "ct.nii.gz").stat().st_ino == first.st_ino
    assert (folder / "ct.nii.gz").stat().st_nlink == 1
    assert caseNodes.state.read()["case"]["digest"] == folderDigest(folder)


def test_plain_files(caseNodes, tmp_path, monkeypatch):
    correct(caseNodes)
    exported = exportFiles(caseNodes, tmp_path / "out")
    assert exported.files == (
        "annulus.mrk.json",
        "calcification.seg.nrrd",
        "landmarks.mrk.json",
        "measurements.csv",
        "measurements.json",
        "provenance.json",
        "report.png",
    )
    assert exported.notes == ()
    assert (tmp_path / "out" / "report.png").read_bytes()[:4] == b"\x89PNG"
    assert b"phantom-tavi.nii" not in (tmp_path / "out" / "provenance.json").read_bytes()
    loaded = slicer.util.loadMarkups(str(tmp_path / "out" / "landmarks.mrk.json"))
    position = pointState(loaded, "hinge_rcc").position
    assert np.abs(position - pointState(caseNodes.landmarks, "hinge_rcc").position).max() < 1e-3
    with pytest.raises(UsageError, match="is there already"):
        exportFiles(caseNodes, tmp_path / "out")
    # Where matplotlib is not installed all the rest is written, and said what is missing.
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    exported = exportFiles(caseNodes, tmp_path / "out", replace=True)
    assert "report.png" not in exported.files
    assert "matplotlib is not installed" in exported.notes[0]


def test_fractions_of_a_hu_are_rounded_and_the_site_is_sound(caseNodes, tmp_path):
    array = slicer.util.arrayFromVolume(caseNodes.volume)
    slicer.util.updateVolumeFromArray(caseNodes.volume, array.astype(np.float32) + 0.25)
    caseNodes.showAnnotation(caseNodes.toAnnotation())  # annotated as it is now
    folder = exportCase(caseNodes, tmp_path, reviewer="R1")
    assert re.fullmatch(r"case-[0-9a-f]{10}", folder.name)  # tells nothing of the CT
    volume = read_volume(folder / "ct.nii.gz")
    assert volume.array.dtype == np.int16
    assert np.array_equal(volume.array.T, array)
    assert [problem for problem in check_site(tmp_path) if problem.level == ERROR] == []
    correct(caseNodes)
    before = (folder / "ct.nii.gz").stat().st_ino
    assert exportCase(caseNodes, tmp_path, reviewer="R1") == folder
    assert (folder / "ct.nii.gz").stat().st_ino == before


def test_it_needs_no_nibabel(caseNodes, tmp_path, monkeypatch):
    array = slicer.util.arrayFromVolume(caseNodes.volume)
    with monkeypatch.context() as lacking:
        lacking.setitem(sys.modules, "nibabel", None)
        folder = exportCase(caseNodes, tmp_path, reviewer="R1")
    assert np.array_equal(read_volume(folder / "ct.nii.gz").array.T, array)


def test_a_site_that_cannot_be_named_is_told_and_the_case_is_known_to_be_there(caseNodes, tmp_path, monkeypatch):
    def fail(*_args):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr("fedkdtavi_core.site.init.write_site", fail)
        with pytest.raises(UsageError, match=r"The case was written, .*No space left") as error:
            exportCase(caseNodes, tmp_path, "one", reviewer="R1")
    assert str(error.value).count("\n") == 0
    assert not (tmp_path / "site.json").exists()
    correct(caseNodes)
    assert exportCase(caseNodes, tmp_path, reviewer="R1").name == "one"
    assert re.fullmatch(r"site-[0-9a-f]{8}", json.loads((tmp_path / "site.json").read_text())["id"])


def test_a_site_that_has_a_name_keeps_it(caseNodes, tmp_path):
    init_site(tmp_path / "clinic", note="for all")
    exportCase(caseNodes, tmp_path / "clinic", reviewer="R1")
    assert read_site(tmp_path / "clinic") == SiteInfo("clinic", note="for all")
