"""The output folder appears complete or not at all, whatever happens; tables and records say what they mean."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fedkdtavi_core import schema
from fedkdtavi_core.annotation import Status
from fedkdtavi_core.errors import InputError, UsageError
from fedkdtavi_core.labels import case, record, tables
from fedkdtavi_core.labels.exchange import exchange, folder_lock
from fedkdtavi_core.labels.jsonfile import read_json, write_json
from fedkdtavi_core.volume import Volume

posix = pytest.mark.skipif(os.name != "posix", reason="needs POSIX")


def fill(target: Path, text: str, **options) -> None:
    with case.output_folder(target, **options) as folder:
        for name in ("provenance.json", "b.txt"):
            (folder / name).write_text(text)


def content(target: Path) -> dict[str, str]:
    return {p.name: p.read_text() for p in sorted(target.iterdir())}


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_appears_whole_with_its_parents(tmp_path):
    target = tmp_path / "neu" / "Fälle Ж" / "case"
    fill(target, "one")
    assert content(target) == {"b.txt": "one", "provenance.json": "one"}
    assert names(target.parent) == ["case"]


def test_failure_leaves_nothing(tmp_path):
    target = tmp_path / "new" / "case"
    with pytest.raises(ZeroDivisionError), case.output_folder(target) as folder:
        (folder / "a.txt").write_text("half")
        raise ZeroDivisionError
    assert names(tmp_path) == []


def test_existing_is_refused_and_replaced_with_force(tmp_path):
    target = tmp_path / "case"
    fill(target, "old")
    with pytest.raises(UsageError, match="--force"):
        fill(target, "new")
    assert content(target)["b.txt"] == "old"
    fill(target, "new", force=True)
    assert content(target)["b.txt"] == "new"
    with pytest.raises(KeyboardInterrupt), case.output_folder(target, force=True) as folder:
        (folder / "provenance.json").write_text("half")
        raise KeyboardInterrupt
    assert content(target)["b.txt"] == "new"
    assert names(tmp_path) == ["case"]


def test_an_empty_folder_is_no_output(tmp_path):
    (tmp_path / "case").mkdir()
    fill(tmp_path / "case", "one")
    assert content(tmp_path / "case")["b.txt"] == "one"


def test_what_was_not_made_here_is_never_replaced(tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "text.tex").write_text("years")
    with pytest.raises(UsageError, match=r"holds no provenance\.json"):
        fill(tmp_path / "thesis", "new", force=True)
    (tmp_path / "file").write_text("x")
    with pytest.raises(UsageError, match="no folder"):
        fill(tmp_path / "file", "new", force=True)
    with pytest.raises(UsageError, match="is a file where a folder is needed"):
        fill(tmp_path / "file" / "case", "new")
    assert names(tmp_path) == ["file", "thesis"]


@posix
def test_not_writable_is_said_before_the_work(tmp_path):
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(UsageError, match="cannot be written"):
            case.check_output(tmp_path / "new" / "case")
    finally:
        tmp_path.chmod(0o700)


def test_too_long_a_name_is_said(tmp_path):
    with pytest.raises(UsageError, match="too long"):
        fill(tmp_path / ("n" * 300), "new")
    assert names(tmp_path) == []


def test_two_runs_for_one_folder(tmp_path):
    with case.output_folder(tmp_path / "case") as folder:
        (folder / "provenance.json").write_text("first")
        with pytest.raises(UsageError, match="another run is writing it"):
            fill(tmp_path / "case", "second")
    assert content(tmp_path / "case") == {"provenance.json": "first"}
    assert names(tmp_path) == ["case"]


def test_lock_is_freed_and_removed(tmp_path):
    with folder_lock(tmp_path / "case") as held:
        assert held
        assert names(tmp_path) == [".case.lock"]
    assert names(tmp_path) == []


@posix
def test_full_disk_is_one_sentence(tmp_path):
    program = """
import resource, sys
from pathlib import Path
from fedkdtavi_core.labels import case
from fedkdtavi_core.errors import UsageError
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    with case.output_folder(Path(sys.argv[1])) as folder:
        (folder / "a").write_bytes(bytes(5000))
except UsageError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", program, tmp_path / "case"], capture_output=True, text=True, check=True
    )
    assert "the disk is full; nothing was written" in done.stdout
    assert names(tmp_path) == []


# Dies without any clean-up at the n-th call of one of the system calls that change the disk.
KILLED = """
import os, sys
from pathlib import Path
from fedkdtavi_core.labels import case, exchange
target, after, swaps = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "exchange"
calls = 0
def counted(function):
    def wrapper(*args, **kwargs):
        global calls
        calls += 1
        if calls == after:
            os._exit(9)
        return function(*args, **kwargs)
    return wrapper
real = exchange.exchange
case.exchange = counted(real) if swaps else (lambda one, other: False)
for name in ("mkdir", "rename", "unlink", "rmdir", "open", "fsync", "close"):
    setattr(os, name, counted(getattr(os, name)))
with case.output_folder(target, force=True) as folder:
    for name in ("provenance.json", "b.txt"):
        (folder / name).write_text("new")
"""


@posix
@pytest.mark.parametrize("way", ["exchange", "two renames"])
def test_killed_at_any_moment_leaves_the_old_or_the_new(tmp_path, way):
    seen, finished = set(), False
    for after in range(1, 200):
        target = tmp_path / str(after) / "case"
        fill(target, "old")
        done = subprocess.run([sys.executable, "-c", KILLED, target, str(after), way], check=False)
        if target.exists():
            assert set(content(target)) == {"b.txt", "provenance.json"}
            assert len(set(content(target).values())) == 1, after
            seen.add(content(target)["b.txt"])
        else:  # between two renames: the next run puts the old one back
            assert way == "two renames"
        # The next run, be it refused or not, finds a whole folder, and clears what was left.
        if done.returncode == 9 and after % 4 == 0:
            fill(target, "newer", force=True)
            assert names(target.parent) == ["case"]
        if done.returncode == 0:
            finished = True
            break
        assert done.returncode == 9
    assert finished
    assert seen == {"old", "new"}


@posix
def test_old_folder_between_two_renames_comes_back(tmp_path):
    fill(tmp_path / "case", "old")
    (tmp_path / "case").rename(tmp_path / ".case.0123abcd.old")
    (tmp_path / ".case.4567cdef.partial").mkdir()
    with pytest.raises(UsageError, match="--force"):
        fill(tmp_path / "case", "new")
    assert content(tmp_path / "case")["b.txt"] == "old"
    assert names(tmp_path) == ["case"]


@pytest.mark.skipif(sys.platform != "linux", reason="Linux exchanges names")
def test_exchange(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    (tmp_path / "a" / "was-a").touch()
    assert exchange(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b" / "was-a").exists()
    assert not exchange(tmp_path / "a", tmp_path / "gone")


def test_json_has_no_nan_and_no_numpy(tmp_path):
    write_json(
        tmp_path / "a.json",
        {
            "ä": np.float32(1.5),
            "nan": float("nan"),
            "inf": np.inf,
            "n": np.int16(3),
            "v": np.arange(3),
            "s": Status.ABSENT,
        },
    )
    assert read_json(tmp_path / "a.json", "it") == {
        "ä": 1.5,
        "nan": None,
        "inf": None,
        "n": 3,
        "v": [0, 1, 2],
        "s": "absent",
    }


class Measured:
    def to_dict(self):
        return {"annulus": {"area": np.float64(478.25)}}

    def rows(self):
        return [
            {"id": "area", "value": np.float64(478.25), "unit": "mm²", "warning": None},
            {"id": "text", "value": "a, \"b\"", "unit": "", "extra": [1.0, 2.0]},
        ]  # fmt: skip


def test_tables_hold_the_rows(tmp_path):
    tables.write_measurements(tmp_path, Measured())
    assert json.loads((tmp_path / "measurements.json").read_text()) == {"annulus": {"area": 478.25}}
    with (tmp_path / "measurements.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[0] == {"id": "area", "value": "478.25", "unit": "mm²", "warning": "", "extra": ""}
    assert rows[1]["value"] == 'a, "b"'
    assert rows[1]["extra"] == "1; 2"


def test_labels_read_back_equal_and_only_reviewed_ones_are_truth(tmp_path):
    labels = {
        "calcification": record.LabelRecord(Status.CONFIRMED, record.now(), "reader-1", "ab" * 32),
        "hinge_rcc": record.LabelRecord(Status.PREDICTED, None, None, "ab" * 32),
        "hinge_lcc": record.LabelRecord(Status.CORRECTED, record.now(), "reader-1"),
        "ms_upper": record.LabelRecord(Status.ABSENT, record.now(), "reader-1"),
    }
    wanted = record.CaseRecord("cd" * 32, labels)
    record.write_record(tmp_path / "labels.json", wanted)
    back = record.read_record(tmp_path / "labels.json")
    assert back == wanted
    assert list(back.labels) == ["hinge_rcc", "hinge_lcc", "ms_upper", "calcification"]
    assert back.truth() == ("hinge_lcc", "calcification")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"schema_version": 99}, "schema version is 99"),
        ({"labels": {"spleen": {"status": "confirmed"}}}, "'spleen' is not in the schema"),
        ({"labels": {"hinge_rcc": {"status": "certain"}}}, "status 'certain'"),
        ({"labels": {"hinge_rcc": "confirmed"}}, "entry for hinge_rcc is broken"),
        ({"labels": {"hinge_rcc": {"status": "confirmed", "reviewer": 3}}}, "reviewer of hinge_rcc"),
        ({"ct_sha256": None}, "no CT digest"),
    ],
)
def test_broken_records_are_refused(tmp_path, change, words):
    whole = {"schema_version": schema.SCHEMA_VERSION, "ct_sha256": "ab", "labels": {}}
    write_json(tmp_path / "labels.json", whole | change)
    with pytest.raises(InputError, match=words):
        record.read_record(tmp_path / "labels.json")


def test_digest_is_of_the_content_not_of_its_order_in_memory():
    array = np.random.default_rng(0).integers(-1000, 1000, (5, 6, 7)).astype(np.int16)
    affine = np.diag([0.5, 0.5, 1.0, 1.0])
    digest = record.volume_digest(Volume(array, affine))
    assert digest == record.volume_digest(Volume(np.asfortranarray(array), affine))
    assert digest == record.volume_digest(Volume(array.astype(">i2"), affine))
    other = array.copy()
    other[2, 3, 4] += 1
    assert digest != record.volume_digest(Volume(other, affine))
    assert digest != record.volume_digest(Volume(array, np.diag([0.5, 0.5, 1.1, 1.0])))
    assert digest != record.volume_digest(Volume(array[:, :, ::-1], affine))
