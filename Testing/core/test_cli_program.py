"""The program's frame: help at once, every error one sentence, commands of the extras only when asked for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import types
from importlib import metadata
from pathlib import Path

import pytest
import tiny_bundle

from fedkdtavi_core import errors
from fedkdtavi_core.cli import console, extras, naming, options
from fedkdtavi_core.cli.main import main

CORE = Path(errors.__file__).resolve().parents[1]
ENVIRONMENT = os.environ | {"PYTHONPATH": str(CORE), "PYTHONUTF8": "0"}


def run(*arguments, **options) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "fedkdtavi_core", *map(str, arguments)]
    defaults = {"capture_output": True, "text": True, "env": ENVIRONMENT, "check": False}
    return subprocess.run(command, **defaults | options)


def test_help_imports_nothing_heavy():
    program = "import sys; from fedkdtavi_core.cli.main import main; main(['--help']); print(*sys.modules, sep='\\n')"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=ENVIRONMENT, check=True)
    assert "annotate" in done.stdout
    loaded = {name.split(".")[0] for name in done.stdout.split()}
    assert not loaded & {"numpy", "scipy", "nibabel", "SimpleITK", "pydicom", "onnxruntime", "matplotlib", "rich"}


@pytest.mark.parametrize("arguments", [["--help"], ["annotate", "--help"], ["measure", "--help"], ["bundle", "--help"]])
def test_help_is_ascii_and_succeeds(arguments, capsys):
    assert main(arguments) == 0
    assert capsys.readouterr().out.isascii()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "COMMAND"),
        (["unheard-of"], "no command 'unheard-of'. The commands are annotate, measure, bundle"),
        (["anotate", "ct.nii.gz"], "no command 'anotate', did you mean annotate? The commands"),
        (["annotate", "ct.nii.gz"], "--out"),
        (["annotate", "ct.nii.gz", "--out", "o", "--device", "abacus"], "abacus"),
        (["annotate", "a", "a", "--out", "o"], "named twice"),
        (["annotate", "a", "b", "--out", "o", "--points", "p.mrk.json"], "--points belongs to one CT"),
        (["bundle", "pack", "folder"], "--out"),
        (
            ["annotate", "a", "--out", "o", "--devise=cpu"],
            "annotate: unrecognized arguments: --devise=cpu, did you mean --device?",
        ),
        (["bundle", "info", "--jsn"], "did you mean --json? (see fedkdtavi bundle info --help)"),
        (["measure", "a", "--nearly"], "measure: unrecognized arguments: --nearly (see"),
    ],
)
def test_wrong_use_is_one_sentence_and_exit_code_2(arguments, words, capsys):
    assert main(arguments) == errors.EXIT_USAGE
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert captured.err.startswith("fedkdtavi")
    assert words in captured.err


def test_a_wild_point_does_not_flood_the_terminal(capsys):
    """It disagrees with everything; the worst of that is told, and how much more there is."""
    flags = {"hinge_rcc": [f"reason {n}" for n in range(9)], "ms_upper": ["one", "two"]}
    options.say_findings(console.Console(), [], [], flags)
    told = capsys.readouterr().out.splitlines()
    assert [line.strip() for line in told] == [
        "check RCC: reason 0",
        "check RCC: reason 1",
        "check RCC: … and 7 more, in its label file",
        "check MS upper: one",
        "check MS upper: two",
    ]


def test_json_says_the_same_as_one_object(capsys):
    assert main(["annotate", "ct.nii.gz", "--json"]) == errors.EXIT_USAGE
    captured = capsys.readouterr()
    result = json.loads(captured.out)
    assert result["exit_code"] == errors.EXIT_USAGE
    assert result["error"]["code"] == "usage"
    assert result["error"]["message"] in captured.err


def test_bundle_refused_is_exit_code_5(tmp_path, capsys):
    assert main(["bundle", "verify", str(tmp_path)]) == errors.EXIT_BUNDLE
    assert (
        main(["annotate", "ct.nii.gz", "--out", str(tmp_path / "out"), "--bundle", str(tmp_path)]) == errors.EXIT_BUNDLE
    )
    assert capsys.readouterr().err.count("\n") == 2
    assert list(tmp_path.iterdir()) == []


def test_bundle_commands(tmp_path, capsys):
    sealed = tiny_bundle.write_bundle(tmp_path / "tiny")
    assert main(["bundle", "pack", str(tmp_path / "tiny"), "--out", str(tmp_path / "tiny.zip")]) == 0
    assert main(["bundle", "verify", str(tmp_path / "tiny.zip")]) == 0
    assert capsys.readouterr().out.count(sealed.digest) == 2
    assert main(["bundle", "info", str(tmp_path / "tiny.zip"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["digest"] == sealed.digest
    assert main(["bundle", "pack", str(tmp_path / "tiny"), "--out", str(tmp_path / "tiny.zip")]) == errors.EXIT_USAGE
    (tmp_path / "tiny" / "models" / "student.onnx").write_bytes(b"altered")
    assert main(["bundle", "verify", str(tmp_path / "tiny")]) == errors.EXIT_BUNDLE
    assert "student.onnx" in capsys.readouterr().err


def test_the_unexpected_is_one_sentence_and_a_log(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(console, "_log_folder", lambda: tmp_path / "logs")
    failure = console.describe(ZeroDivisionError("first line\nsecond line"), "ct.nii.gz")
    assert failure["exit_code"] == 1
    assert "ct.nii.gz (ZeroDivisionError: first line)" in failure["message"]
    assert "second line" in Path(failure["log"]).read_text()
    (tmp_path / "file").touch()
    monkeypatch.setattr(console, "_log_folder", lambda: tmp_path / "file" / "logs")
    elsewhere = Path(console.describe(ZeroDivisionError("again"))["log"])
    assert "again" in elsewhere.read_text()
    elsewhere.unlink()


def test_too_little_memory_is_said():
    failure = console.describe(MemoryError(), "ct.nii.gz")
    assert failure["exit_code"] == errors.EXIT_INPUT
    assert failure["message"].startswith("ct.nii.gz: there is not enough memory")


class Entry(types.SimpleNamespace):
    def load(self):
        return self.function


@pytest.fixture
def entry(monkeypatch):
    def put(function=None):
        found = [] if function is None else [Entry(function=function)]
        monkeypatch.setattr(metadata, "entry_points", lambda **_: found)

    return put


def test_a_command_of_an_extra_gets_its_own_arguments(entry):
    seen = []
    entry(lambda argv: seen.append(argv) or 7)
    assert main(["phantom", "--out", "d", "--help"]) == 7
    assert seen == [["--out", "d", "--help"]]


def test_an_extra_that_is_not_installed_says_how(entry, capsys):
    entry(None)
    assert main(["train", "config"]) == errors.EXIT_USAGE
    assert 'pip install -e ".[train]"' in capsys.readouterr().err

    def needs_torch(argv):
        raise ModuleNotFoundError("No module named 'torch'", name="torch")

    entry(needs_torch)
    assert main(["evaluate"]) == errors.EXIT_USAGE
    assert 'needs torch, which is not installed; install it with pip install -e ".[train]"' in capsys.readouterr().err


def test_the_hint_names_all_that_a_command_needs(entry, capsys):
    def needs_pydantic(argv):
        raise ModuleNotFoundError("No module named 'pydantic'", name="pydantic")

    def needs_highdicom(argv):
        raise ModuleNotFoundError("No module named 'highdicom'", name="highdicom")

    entry(needs_highdicom)
    assert main(["train", "config"]) == errors.EXIT_USAGE
    assert 'pip install -e ".[train,dicom]"' in capsys.readouterr().err
    entry(needs_pydantic)
    assert main(["federation", "simulate"]) == errors.EXIT_USAGE
    assert 'needs pydantic, which is not installed; install it with pip install -e ".[train,federated]"' in (
        capsys.readouterr().err
    )


def test_every_entry_point_is_described():
    import tomllib

    project = tomllib.loads((CORE.parent / "pyproject.toml").read_text())["project"]
    assert set(project["entry-points"][extras.GROUP]) == set(extras.described())


def test_errors_of_a_command_of_an_extra_keep_their_code(entry, capsys):
    def refuses(argv):
        raise errors.InputError("site.json: is broken; make it again.")

    entry(refuses)
    assert main(["phantom"]) == errors.EXIT_INPUT
    assert capsys.readouterr().err == "fedkdtavi: site.json: is broken; make it again.\n"


@pytest.mark.parametrize(
    ("paths", "wanted"),
    [
        (["x/ct.nii.gz"], ["x-ct"]),
        (["x/Image.nrrd"], ["x-Image"]),
        (["Müller/DICOM/series 2"], ["Müller-DICOM-series 2"]),
        (["p7/ST0/SE_003", "p8/DICOM"], ["p7-ST0-SE_003", "p8-DICOM"]),
        (["case 5/0001.dcm"], ["case 5-0001"]),
        (["a/ct-muller.nii.gz", "b/scanner.nii"], ["ct-muller", "scanner"]),
        (["a/ct.nii.gz", "b/ct.nrrd"], ["a-ct", "b-ct"]),
        (["a/x/ct.nii", "b/x/ct.nii", "c/other.mha"], ["a-x-ct", "b-x-ct", "other"]),
        (["a/CT.nii", "b/ct.nii"], ["a-CT", "b-ct"]),
        (["Herz Müller Ж.nii.gz", "dicom folder"], ["Herz Müller Ж", "dicom folder"]),
        (["a/ct.nii", "a/ct.mha", "b/ct.nii"], ["a-ct", "a-ct-2", "b-ct"]),
        (["a/b-c.nii", "b/b-c.nii", "x/a-b-c.mha"], ["a-b-c", "b-b-c", "a-b-c-2"]),
        (["con.nii", "v1.2.nii", ".nii.gz"], ["_con", "v1.2", "nii.gz"]),
    ],
)
def test_folder_names(paths, wanted, tmp_path):
    names = naming.folder_names([tmp_path / path for path in paths])
    assert len({name.casefold() for name in names}) == len(names)
    for name, expected in zip(names, wanted, strict=True):
        assert name == expected


def test_the_folder_one_stands_in_has_a_name(tmp_path, monkeypatch):
    (tmp_path / "Müller" / "series 1").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "Müller")
    assert naming.folder_names([Path()]) == ["Müller"]
    monkeypatch.chdir("series 1")
    assert naming.folder_names([Path()]) == ["Müller-series 1"]


def test_two_runs_of_a_generic_name_do_not_collide(tmp_path):
    one, two = (naming.folder_names([tmp_path / case / "ct.nii.gz"]) for case in ("a", "b"))
    assert one != two


def test_a_generic_name_at_the_root_is_a_name():
    assert naming.folder_names([Path("/ct.nii.gz")]) == ["ct"]


def test_patterns_are_expanded_where_the_shell_does_not(tmp_path):
    for name in ("b.nii", "a.nii", "[1].nii"):
        (tmp_path / name).touch()
    assert [p.name for p in naming.expand([str(tmp_path / "*.nii")])] == ["[1].nii", "a.nii", "b.nii"]
    assert [p.name for p in naming.expand([str(tmp_path / "[1].nii")])] == ["[1].nii"]


def test_names_that_the_terminal_cannot_show_do_not_crash():
    done = run("bundle", "verify", "Ж-ä.zip", env=ENVIRONMENT | {"PYTHONIOENCODING": "ascii"})
    assert done.returncode == errors.EXIT_BUNDLE
    assert "\\u0416-\\xe4.zip" in done.stderr


def test_a_reader_that_goes_away_is_no_error():
    command = f'"{sys.executable}" -m fedkdtavi_core bundle verify nothing --json'
    done = run_shell(f"{command} | true")
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


def run_shell(line: str) -> subprocess.CompletedProcess:
    return subprocess.run(line, shell=True, capture_output=True, text=True, env=ENVIRONMENT, check=False)


@pytest.mark.skipif(os.name != "posix", reason="Windows has other signals")
def test_a_request_to_stop_does_not_change_the_exit_code():
    program = """
import os, signal, sys
from fedkdtavi_core.cli.stop import stoppable
with stoppable() as asked:
    try:
        exec("os.kill(os.getpid(), signal.SIGTERM)")
    except KeyboardInterrupt:
        os.kill(os.getpid(), signal.SIGTERM)  # a second request while things are put in order
        sys.exit(41 if asked() else 1)
"""
    assert subprocess.run([sys.executable, "-c", program], env=ENVIRONMENT, check=False).returncode == 41
