"""Where results cannot be kept, that is one sentence and exit code 2, said before there is anything to lose."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import hospitals
import pytest

from fedkdtavi_core.errors import EXIT_USAGE, UsageError
from fedkdtavi_training import cache, calibrate, commands, disk, tally
from fedkdtavi_training.disk import TrainingError
from fedkdtavi_training.federated import experiment
from fedkdtavi_training.original import command

pytestmark = pytest.mark.torch


@pytest.fixture
def in_the_way(tmp_path):
    """A file where a folder is wanted: nobody can write below it, root included."""
    path = tmp_path / "file"
    path.write_text("mine")
    yield path
    assert path.read_text() == "mine"


@pytest.mark.parametrize(
    ("number", "kind", "words"),
    [
        (errno.ENOSPC, TrainingError, "the older one stays: make room and start again"),
        (errno.EDQUOT, TrainingError, "make room"),
        (errno.EACCES, UsageError, r"\(Permission denied\); choose a folder that can be written"),
        (errno.EROFS, UsageError, "choose a folder"),
    ],
)
def test_room_is_asked_for_only_where_it_is_lacking(tmp_path, monkeypatch, number, kind, words):
    def failing(path: Path, content: bytes) -> None:
        raise OSError(number, "Permission denied" if number == errno.EACCES else "x")

    monkeypatch.setattr(disk, "replace_file", failing)
    with pytest.raises(kind, match=words):
        disk.write_bytes(tmp_path / "a", b"")


def test_an_experiments_folder_that_cannot_be_made(in_the_way, tmp_path):
    folders = hospitals.write(tmp_path / "hospitals", {"a": ("hps",)})
    for out in (in_the_way, in_the_way / "below", Path("/proc/none/at/all")):
        with pytest.raises(UsageError, match=r"cannot be written .*; choose a folder") as refused:
            experiment.run(hospitals.experiment(folders, out), say=lambda text: None)
        assert refused.value.exit_code == EXIT_USAGE and "\n" not in str(refused.value)


def test_the_original_command_lines_folder_that_cannot_be_made(in_the_way, tmp_path):
    hospitals.write(tmp_path / "data", {"north": ("hps",)})
    words = ["--data", str(tmp_path / "data"), "-t", "1", "--num_rounds", "1", "--out"]
    for out in (in_the_way, Path("/proc/none")):
        with pytest.raises(UsageError, match="cannot be written"):
            command.main([*words, str(out)])


def test_an_evaluation_is_refused_before_the_first_ct(in_the_way, tmp_path, monkeypatch):
    words = ["--cases", str(tmp_path), "--out"]
    for out in (in_the_way / "r.csv", Path("/proc/none/r.csv")):
        with pytest.raises(UsageError, match="cannot be written"):
            commands.evaluate([*words, str(out)])
    with pytest.raises(UsageError, match="is a folder; give --out a CSV"):
        commands.evaluate([*words, str(tmp_path)])
    (tmp_path / "README.md").write_text("# mine\n")
    with pytest.raises(UsageError, match="holds other things than results"):
        commands.evaluate([*words, str(tmp_path / "README.md")])
    assert (tmp_path / "README.md").read_text() == "# mine\n"
    monkeypatch.setattr("os.access", lambda path, how: False)  # as of a folder that is there and read-only
    with pytest.raises(UsageError, match="cannot be written; choose another folder for --out"):
        commands.evaluate([*words, str(tmp_path / "r.csv")])


def test_help_of_the_phantoms_tells_of_those_to_learn_from(capsys):
    with pytest.raises(SystemExit):
        commands.phantom(["--help"])
    assert "With --cache crop or --cache chest" in " ".join(capsys.readouterr().out.split())


def test_what_else_is_written(in_the_way, tmp_path):
    with pytest.raises(UsageError, match="cannot be written"):
        tally.write_rows(in_the_way / "r.csv", [{"case": "a"}])
    with pytest.raises(UsageError, match="cannot be written"):
        cache.write(in_the_way / "cache", "crop", 1, 0)
    with pytest.raises(UsageError, match="cannot be written"):
        commands.weights(["--out", str(in_the_way / "w.safetensors")])
    (tmp_path / "c.json").write_text(
        json.dumps({"task": "teacher", "cache": ["x"], "out": str(in_the_way), "steps": 1})
    )
    with pytest.raises(UsageError, match="cannot be written"):
        commands.train([str(tmp_path / "c.json")])


def test_a_table_of_confidences_that_cannot_be_kept(in_the_way, tmp_path, monkeypatch):
    monkeypatch.setattr(calibrate, "from_csv", lambda paths, say: {"hps": {}})
    with pytest.raises(UsageError, match="cannot be written"):
        calibrate.main([str(tmp_path / "r.csv"), "--out", str(in_the_way / "c.json")])
