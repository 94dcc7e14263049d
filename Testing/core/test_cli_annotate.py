"""annotate and measure, end to end through real files: a CT of spheres and small networks that see them."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
import tiny_bundle
from test_cli_program import CORE, ENVIRONMENT

from fedkdtavi_core import errors, schema
from fedkdtavi_core.annotation import Status
from fedkdtavi_core.cli.main import main
from fedkdtavi_core.labels import annotated, markups, segmentation
from fedkdtavi_core.readers import read_volume

ALWAYS = {
    "landmarks.mrk.json",
    "calcification.seg.nrrd",
    "measurements.json",
    "measurements.csv",
    "report.png",
    "provenance.json",
}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("bundle") / "tiny"
    tiny_bundle.write_bundle(folder)
    return folder


def write_ct(path: Path, **options) -> Path:
    volume = tiny_bundle.blob_volume(**options)
    noise = np.random.default_rng(0).normal(0, 6, volume.array.shape)
    hu = (volume.array + noise).round().astype(np.int16)
    hu[:6] = -1000  # air, as in every CT
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(hu, volume.affine), path)
    return path


@pytest.fixture(scope="module")
def ct(tmp_path_factory) -> Path:
    return write_ct(tmp_path_factory.mktemp("cts") / "Herz Müller Ж.nii.gz")


def annotate(bundle: Path, out: Path, *arguments) -> int:
    return main(["annotate", *map(str, arguments), "--out", str(out), "--bundle", str(bundle), "--device", "cpu"])


@pytest.fixture(scope="module")
def done(bundle, ct, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("out")
    assert annotate(bundle, out, ct) == 0
    return out / "Herz Müller Ж"


def names(folder: Path) -> set[str]:
    return {entry.name for entry in folder.iterdir()}


def copy(folder: Path, target: Path) -> Path:
    import shutil

    return Path(shutil.copytree(folder, target))


def test_all_files_are_there_and_hold_what_was_found(done, ct):
    assert names(done) - {"annulus.mrk.json"} == ALWAYS
    assert names(done.parent) == {done.name}
    landmarks = markups.read_landmarks(done / "landmarks.mrk.json").landmarks
    for label_id, position in tiny_bundle.POINTS.items():
        assert np.linalg.norm(landmarks[label_id].position - position) < 1.0, label_id
        assert landmarks[label_id].status is Status.PREDICTED
    grid = read_volume(ct).grid
    assert segmentation.read_segment(done / "calcification.seg.nrrd", grid).notes == []
    with (done / "measurements.csv").open(encoding="utf-8-sig", newline="") as file:
        table = list(csv.DictReader(file))
    rows = json.loads((done / "measurements.json").read_text(encoding="utf-8"))["rows"]
    assert [row["id"] for row in table] == [row["id"] for row in rows]
    assert (done / "report.png").read_bytes().startswith(b"\x89PNG")
    provenance = json.loads((done / "provenance.json").read_text(encoding="utf-8"))
    assert provenance["ct"]["path"] == str(ct.resolve())
    assert len(provenance["bundle"]["digest"]) == 64
    assert set(provenance["landmarks"]) == set(schema.LANDMARK_IDS)


def test_reading_back_changes_nothing(done, ct):
    found = annotated.read_annotation(done, read_volume(ct).grid)
    assert found.changed == []
    assert found.notes == []
    assert found.annotation.landmarks["hinge_rcc"].covariance.shape == (3, 3)


def test_output_that_is_there_is_refused_and_replaced_with_force(bundle, ct, done, tmp_path, capsys):
    copy(done, tmp_path / done.name)
    (tmp_path / done.name / "measurements.csv").write_text("mine")
    assert annotate(bundle, tmp_path, ct) == errors.EXIT_USAGE
    assert "--force" in capsys.readouterr().err
    assert (tmp_path / done.name / "measurements.csv").read_text() == "mine"
    assert annotate(bundle, tmp_path, ct, "--force", "--no-report") == 0
    assert names(tmp_path / done.name) - {"annulus.mrk.json"} == ALWAYS - {"report.png"}
    assert names(tmp_path) == {done.name}


def test_results_of_another_ct_of_the_same_name_are_not_replaced(bundle, ct, done, tmp_path, capsys):
    """PACS exports share names: a reviewed result of one patient must not go for another's."""
    there = tmp_path / "out" / done.name
    shutil.copytree(done, there)
    content = json.loads((there / "provenance.json").read_text(encoding="utf-8"))
    content["ct"] |= {"sha256": "0" * 64, "path": "/elsewhere/ct.nii.gz"}
    (there / "provenance.json").write_text(json.dumps(content))
    before = {path.name: path.read_bytes() for path in there.iterdir()}
    assert annotate(bundle, tmp_path / "out", ct, "--force") == errors.EXIT_USAGE
    assert "holds the results of another CT (/elsewhere/ct.nii.gz)" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in there.iterdir()} == before


def test_json_is_one_object_and_timings_are_told(bundle, ct, tmp_path, capsys):
    assert annotate(bundle, tmp_path, ct, "--json", "--no-report", "--timings") == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    assert captured.out.isascii()
    result = json.loads(captured.out)
    (one,) = result["cts"]
    assert (result["exit_code"], one["status"], one["input"]) == (0, "done", str(ct))
    assert Path(one["output"]) == tmp_path / "Herz Müller Ж"
    assert {"reading", "coarse", "fine", "measuring", "writing"} <= set(one["seconds"])
    assert "reading" in one["timings"]


def test_one_failure_stops_none_of_the_others(bundle, ct, tmp_path, capsys):
    empty = write_ct(tmp_path / "empty.nii.gz", heart=False)
    (tmp_path / "broken.nii.gz").write_bytes(b"no CT")
    arguments = [tmp_path / "gone.nii.gz", empty, tmp_path / "broken.nii.gz", ct, "--no-report"]
    assert annotate(bundle, tmp_path / "out", *arguments) == errors.EXIT_INPUT
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 3
    assert "1 of 4 CTs annotated, 3 failed." in captured.out
    assert f"{empty}: exit code 3" in captured.out
    assert names(tmp_path / "out") == {"Herz Müller Ж"}


def test_no_root_leaves_nothing_behind(bundle, tmp_path, capsys):
    empty = write_ct(tmp_path / "empty.nii.gz", heart=False)
    assert annotate(bundle, tmp_path / "new" / "out", empty) == errors.EXIT_NO_ROOT
    assert "empty.nii.gz" in capsys.readouterr().err
    assert names(tmp_path) == {"empty.nii.gz"}


def test_drawing_that_fails_leaves_nothing_behind(bundle, ct, tmp_path, capsys, monkeypatch):
    import fedkdtavi_core.report

    def fail(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(fedkdtavi_core.report, "draw", fail)
    assert annotate(bundle, tmp_path / "out", ct) == errors.EXIT_USAGE
    assert "disk is full; nothing was written" in capsys.readouterr().err
    assert names(tmp_path) == set()


def test_points_a_person_set_are_kept(bundle, ct, done, tmp_path, capsys):
    landmarks = markups.read_landmarks(done / "landmarks.mrk.json").landmarks
    landmarks["hinge_lcc"].position += np.array([0.0, 1.0, 2.0])
    landmarks["hinge_lcc"].status = Status.CORRECTED
    markups.write_landmarks(tmp_path / "mine.mrk.json", landmarks)
    assert annotate(bundle, tmp_path / "out", ct, "--points", tmp_path / "mine.mrk.json", "--no-report") == 0
    assert "nobody has reviewed RCC, NCC" in capsys.readouterr().out
    back = markups.read_landmarks(tmp_path / "out" / done.name / "landmarks.mrk.json").landmarks
    np.testing.assert_allclose(back["hinge_lcc"].position, landmarks["hinge_lcc"].position)
    assert back["hinge_lcc"].status is Status.CORRECTED
    assert back["hinge_rcc"].status is Status.PREDICTED


def test_broken_points_are_refused(bundle, ct, tmp_path, capsys):
    (tmp_path / "mine.mrk.json").write_text("{")
    assert annotate(bundle, tmp_path / "out", ct, "--points", tmp_path / "mine.mrk.json") == errors.EXIT_INPUT
    assert "mine.mrk.json" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def move(folder: Path, label_id: str, by) -> None:
    """As a drag in Slicer: the position changes, the description does not."""
    path = folder / "landmarks.mrk.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    point = content["markups"][0]["controlPoints"][schema.LANDMARK_IDS.index(label_id)]
    point["position"] = (np.array(point["position"]) + by).tolist()
    path.write_text(json.dumps(content), encoding="utf-8")


def rows(folder: Path) -> dict[str, float | None]:
    return {r["id"]: r["value"] for r in json.loads((folder / "measurements.json").read_text(encoding="utf-8"))["rows"]}


def test_measuring_again_gives_the_same_and_keeps_what_lies_there(done, tmp_path):
    folder = copy(done, tmp_path / "case")
    (folder / "my notes.txt").write_text("keep")
    before = rows(folder)
    assert main(["measure", str(folder), "--no-report"]) == 0
    assert rows(folder) == before
    assert (folder / "my notes.txt").read_text() == "keep"
    assert names(tmp_path) == {"case"}


def test_a_moved_point_is_measured_and_counts_as_corrected(done, tmp_path, capsys):
    folder = copy(done, tmp_path / "case")
    before = rows(folder)
    move(folder, "ostium_lca", [0.0, 0.0, 5.0])
    assert main(["measure", str(folder), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["changed"] == ["ostium_lca"]
    changed = {row for row, value in rows(folder).items() if value != before[row]}
    assert any("lca" in row or "left" in row for row in changed), changed


def test_measure_wants_the_ct_that_was_annotated(done, ct, tmp_path, capsys):
    folder = copy(done, tmp_path / "case")
    other = write_ct(tmp_path / "other.nii.gz", leave_out=("ms_upper",))
    assert main(["measure", str(folder), "--ct", str(other)]) == errors.EXIT_INPUT
    assert "is not the CT" in capsys.readouterr().err
    assert main(["measure", str(tmp_path)]) == errors.EXIT_INPUT
    assert main(["measure", str(folder / "nothing")]) == errors.EXIT_INPUT
    provenance = json.loads((folder / "provenance.json").read_text(encoding="utf-8"))
    provenance["ct"]["path"] = str(tmp_path / "moved away.nii.gz")
    (folder / "provenance.json").write_text(json.dumps(provenance), encoding="utf-8")
    assert main(["measure", str(folder)]) == errors.EXIT_INPUT
    assert "give its place with --ct" in capsys.readouterr().err
    assert main(["measure", str(folder), "--ct", str(ct), "--no-report"]) == 0


def test_original_spelling(bundle, ct, tmp_path):
    script = CORE.parent / "training" / "tavi_predictor.py"
    command = [sys.executable, script, "--fname", ct, "--tmp_dir", tmp_path / "tmp", "--bundle", bundle, "--no-report"]
    environment = {key: value for key, value in ENVIRONMENT.items() if key != "PYTHONPATH"}
    subprocess.run(command, check=True, env=environment, capture_output=True)
    assert (tmp_path / "tmp" / "Herz Müller Ж" / "landmarks.mrk.json").is_file()


def start(bundle: Path, ct: Path, out: Path, *arguments: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "fedkdtavi_core", "annotate", ct, "--out", out, "--bundle", bundle, *arguments]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([str(word) for word in command], env=ENVIRONMENT, **pipes)


def test_progress_for_a_program(bundle, ct, tmp_path):
    with start(bundle, ct, tmp_path / "out", "--progress", "json", "--no-report") as process:
        out, err = process.communicate(timeout=120)
    assert (process.returncode, err) == (0, b"")
    assert out.isascii()
    events = [json.loads(line) for line in out.splitlines()]
    assert events[0]["event"] == "start"
    assert Path(events[0]["file"]) == CORE / "fedkdtavi_core" / "__init__.py"
    assert events[0]["version"]
    fractions = [event["fraction"] for event in events if event["event"] == "progress"]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    assert [event["event"] for event in events[-2:]] == ["done", "result"]


def stopped_after(process: subprocess.Popen, words: str, stop) -> tuple[int, list[dict]]:
    """Stop the run at the first event whose message has ``words``; its exit code and all its events."""
    events = []
    for line in process.stdout:
        events.append(json.loads(line))
        if words in events[-1].get("message", ""):
            stop(process)
            break
    events += [json.loads(line) for line in process.stdout]
    return process.wait(timeout=120), events


STOPS = {
    "standard input closes": lambda process: process.stdin.close(),
    "Ctrl-C": lambda process: process.send_signal(signal.SIGINT),
    "asked to end": lambda process: process.send_signal(signal.SIGTERM),
}


@pytest.mark.skipif(os.name != "posix", reason="Windows has other signals")
@pytest.mark.parametrize(("way", "words"), list(zip(STOPS, ("Writing", "Reading", "Writing"), strict=True)))
def test_a_run_that_is_stopped_leaves_nothing(bundle, ct, tmp_path, way, words):
    with start(bundle, ct, tmp_path / "out", "--progress", "json", "--cancel-on-stdin-close") as process:
        code, events = stopped_after(process, words, STOPS[way])
        complaint = process.stderr.read().decode()
    if code == 0:  # on a fast machine the run may end before the request arrives; then all of it is there
        assert names(tmp_path / "out" / "Herz Müller Ж") >= ALWAYS
        return
    assert code == errors.EXIT_CANCELLED, complaint
    assert complaint.count("\n") == 1
    if "in the middle of a step" in complaint:  # a busy machine: a watched run does not wait for an orderly end
        assert way == "standard input closes"
        assert not (tmp_path / "out" / "Herz Müller Ж").exists()
        return
    assert "Cancelled; 0 of 1 CTs are done" in complaint
    assert events[-1]["event"] == "result"
    assert events[-1]["status"] == "cancelled"
    assert names(tmp_path) == set()


@pytest.mark.skipif(os.name != "posix", reason="Windows has other signals")
def test_killed_while_writing_leaves_the_old_result(bundle, ct, done, tmp_path):
    copy(done, tmp_path / "out" / done.name)
    (tmp_path / "out" / done.name / "old").touch()
    with start(bundle, ct, tmp_path / "out", "--progress", "json", "--force") as process:
        stopped_after(process, "Drawing", lambda process: process.kill())
    there = names(tmp_path / "out" / done.name)
    assert "old" in there or there - {"annulus.mrk.json"} == ALWAYS
    assert annotate(bundle, tmp_path / "out", ct, "--force", "--no-report") == 0
    assert names(tmp_path / "out") == {done.name}


def test_a_terminal_gets_a_bar(bundle, ct, tmp_path):
    pty = pytest.importorskip("pty")
    leader, follower = pty.openpty()
    command = ["annotate", str(ct), "--out", str(tmp_path / "out"), "--bundle", str(bundle), "--no-report"]
    environment = ENVIRONMENT | {"TERM": "xterm-256color", "LC_ALL": "C.UTF-8"}
    process = subprocess.Popen(
        [sys.executable, "-m", "fedkdtavi_core", *command], env=environment, stdout=subprocess.PIPE, stderr=follower
    )
    os.close(follower)
    shown = b""
    while True:
        try:
            part = os.read(leader, 4096)
        except OSError:  # Linux says so when the other side has closed
            break
        if not part:
            break
        shown += part
    os.close(leader)
    out = process.stdout.read().decode()
    process.stdout.close()
    assert process.wait(timeout=60) == 0
    assert "%" in shown.decode()
    assert "7 of 7 landmarks" in out
