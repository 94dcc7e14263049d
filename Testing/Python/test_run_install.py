"""What is missing, the question to a person, and what is said when it goes wrong; settings and bundles."""

from __future__ import annotations

import json
import socket
import sys
import tomllib
import zipfile
from contextlib import suppress
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from fedkdtavi_core import folders
from fedkdtavi_core.bundle import resolver
from fedkdtavi_core.errors import BundleError, UsageError
from FedKDTAVILib import bundles, install, ownPackages
from FedKDTAVILib import process as processes
from FedKDTAVILib.installSentences import importSentence, pipSentence
from FedKDTAVILib.settings import ModuleSettings

REPOSITORY = Path(__file__).resolve().parents[2]


def lacking(monkeypatch, versions: dict[str, str | None]) -> None:
    """Let some packages be installed in other versions, or not at all (None)."""
    real = install.installedVersion
    monkeypatch.setattr(install, "installedVersion", lambda name: versions[name] if name in versions else real(name))


def wheel(folder: Path, name: str, code: str, requires: str = "") -> None:
    """A tiny wheel that pip installs."""
    information = f"{name}-1.0.dist-info"
    more = f"Requires-Dist: {requires}\n" if requires else ""
    files = {
        f"{name}.py": code,
        f"{information}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n{more}",
        f"{information}/WHEEL": "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files[f"{information}/RECORD"] = "".join(f"{file},,\n" for file in [*files, f"{information}/RECORD"])
    with zipfile.ZipFile(folder / f"{name}-1.0-py3-none-any.whl", "w") as archive:
        for file, text in files.items():
            archive.writestr(file, text)


def test_the_ranges_are_those_of_the_distribution():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    known = {Requirement(line).name: Requirement(line).specifier for line in project["dependencies"]}
    ours = install.requirements()
    assert {item.name for item in ours} == set(install.APPROXIMATE_MB)
    assert all(known[item.name] == item.specifier for item in ours)
    assert not {item.name for item in ours} & {"numpy", "scipy", "SimpleITK", "pydicom", "requests"}  # Slicer's own


def test_nothing_is_asked_where_nothing_is_missing():
    assert install.missing() == []
    assert install.ensureInstalled(lambda plan: pytest.fail("asked"))


def test_the_question_names_sizes_and_says_that_they_are_estimates(monkeypatch):
    lacking(monkeypatch, {"onnxruntime": None, "nibabel": "4.0.0"})
    plan = install.installPlan()
    assert [package.name for package in plan.packages] == ["onnxruntime", "nibabel"]
    assert not plan.exact
    assert "onnxruntime: about 17.2 MB" in plan.text
    assert "about 21 MB in all (an estimate)" in plan.text
    assert "pypi.org" in plan.text


def test_no_is_no(monkeypatch):
    lacking(monkeypatch, {"nibabel": None})
    monkeypatch.setattr(install, "_run", lambda *a: pytest.fail("something was run"))
    assert not install.ensureInstalled(lambda plan: False)


@pytest.mark.parametrize("name", ["onnxruntime-gpu", "onnxruntime-directml"])
def test_another_onnxruntime_is_not_joined_by_a_second(monkeypatch, name):
    lacking(monkeypatch, {"onnxruntime": None, name: "1.22.0"})
    assert install.missing() == []
    assert install.deviceNote("cuda") == ""
    lacking(monkeypatch, {"onnxruntime": None, name: "1.10.0"})
    assert [str(item) for item in install.missing()] == [f"{name}<2,>=1.20"]
    lacking(monkeypatch, {"onnxruntime": "1.22.0", name: "1.22.0"})
    with pytest.raises(install.InstallError, match="break each other"):
        install.missing()


def test_a_gpu_that_cannot_be_used_is_told():
    assert install.deviceNote("auto") == ""
    assert "CPU will be used" in install.deviceNote("cuda")


def test_what_is_installed_is_a_constraint():
    lines = install.constraints([Requirement("nibabel>=5")])
    names = [line.split("==")[0] for line in lines]
    assert "numpy" in names
    assert "nibabel" not in names
    assert len(set(names)) == len(names)


def test_a_wheel_folder_gives_exact_sizes(monkeypatch, tmp_path):
    folder = tmp_path / "Räder und mehr"
    folder.mkdir()
    wheel(folder, "fedkdtavi_trial", "value = 1\n", "fedkdtavi_other")
    wheel(folder, "fedkdtavi_other", "value = 2\n" * 1000)
    monkeypatch.setattr(install, "missing", lambda: [Requirement("fedkdtavi_trial>=1")])
    plan = install.installPlan(str(folder))
    assert plan.exact
    sizes = {package.name: package.megabytes for package in plan.packages}
    assert set(sizes) == {"fedkdtavi_trial", "fedkdtavi_other"}
    assert sizes["fedkdtavi_trial"] == (folder / "fedkdtavi_trial-1.0-py3-none-any.whl").stat().st_size / 1e6
    assert str(folder) in plan.text


def test_a_wheel_folder_that_lacks_something(monkeypatch, tmp_path):
    monkeypatch.setattr(install, "missing", lambda: [Requirement("fedkdtavi_trial>=1")])
    with pytest.raises(install.InstallError, match="holds no wheel of fedkdtavi_trial") as caught:
        install.installPlan(str(tmp_path))
    assert "fedkdtavi_trial" in caught.value.log
    with pytest.raises(install.InstallError, match="is no folder"):
        install.installPlan(str(tmp_path / "none"))


def test_where_slicers_folder_cannot_be_written_packages_go_into_a_folder_of_our_own(monkeypatch, tmp_path):
    folder, own = tmp_path / "wheels", tmp_path / "own ü"
    folder.mkdir()
    wheel(folder, "fedkdtavi_trial", "value = 1\n", "fedkdtavi_other\nRequires-Dist: packaging")
    wheel(folder, "fedkdtavi_other", "value = 2\n")
    monkeypatch.setattr(install, "missing", lambda: [Requirement("fedkdtavi_trial>=1")])
    monkeypatch.setattr(install, "importProblem", lambda onIdle: None)
    monkeypatch.setattr(ownPackages, "packagesFolder", lambda: own)
    monkeypatch.setattr(ownPackages, "areNeeded", lambda: True)
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert ownPackages.environment() == {}
    plan = install.installPlan(str(folder))
    assert str(own) in plan.text
    install.install(plan)
    # Nothing that is installed already comes along, and nothing comes before it.
    assert {path.name for path in own.glob("*.py")} == {"fedkdtavi_trial.py", "fedkdtavi_other.py"}
    assert sys.path[-1] == str(own) and install.installedVersion("fedkdtavi_other") == "1.0"
    asked = install._run(["-c", f"import os; print(os.environ['{folders.PACKAGES}'])"], None)
    assert str(own) in asked.log
    # The core's own entry puts it on its path.
    program = """
import runpy, sys
sys.argv = ["fedkdtavi", "--version"]
try:
    runpy.run_module("fedkdtavi_core", run_name="__main__")
except SystemExit:
    print(sys.path[-1])
"""
    seen = install._run(["-c", program], None)
    assert str(own) in seen.log


@pytest.fixture
def apart(monkeypatch, tmp_path):
    """Packages go into a folder of the test's own; fedkdtavi_trial is missing until it is there."""
    own = tmp_path / "own ü"
    wanted = Requirement("fedkdtavi_trial>=1")
    monkeypatch.setattr(install, "requirements", lambda: [wanted])
    monkeypatch.setattr(ownPackages, "packagesFolder", lambda: own)
    monkeypatch.setattr(ownPackages, "areNeeded", lambda: True)
    monkeypatch.setattr(install, "importProblem", lambda onIdle: None)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return own


@pytest.fixture
def silentIndex():
    """A package index that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(20)
        yield server


@pytest.mark.skipif(sys.platform == "win32", reason="the launcher is a shell script")
@pytest.mark.parametrize("launched", [False, True])
def test_pip_ends_when_it_is_cancelled(monkeypatch, tmp_path, apart, silentIndex, launched):
    if launched:  # as PythonSlicer: killing it does not end what it has started
        launcher = tmp_path / "PythonSlicer"
        launcher.write_text(f'#!/bin/sh\n"{sys.executable}" "$@"\nexit $?\n', encoding="utf-8")
        launcher.chmod(0o755)
        monkeypatch.setattr(processes.shutil, "which", lambda name: str(launcher))
    asking, temporary = [], tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(install.tempfile, "tempdir", str(temporary))
    monkeypatch.setenv("TMPDIR", str(temporary))  # pip's own, unless it is given another one

    def onIdle() -> None:
        if not asking:
            silentIndex.settimeout(0.01)
            with suppress(TimeoutError):
                asking.append(silentIndex.accept()[0])
        else:
            raise install.InstallCancelled

    address = f"http://127.0.0.1:{silentIndex.getsockname()[1]}/"
    plan = install.InstallPlan([], [install.Package("fedkdtavi_trial", "1.0", None)], True, address)
    with pytest.raises(install.InstallCancelled, match="install again"):
        install.install(plan, onIdle)
    assert not any(temporary.iterdir())  # nothing of pip is left there
    with asking[0] as connection:  # pip has hung up, as it is gone
        connection.settimeout(3.0)
        while connection.recv(65536):
            pass


def test_what_a_cancelled_installation_leaves_is_missing_and_can_be_installed(monkeypatch, tmp_path, apart):
    folder = tmp_path / "wheels"
    folder.mkdir()
    wheel(folder, "fedkdtavi_trial", "value = 1\n")
    wheel(folder, "fedkdtavi_other", "value = 1\n")
    with zipfile.ZipFile(folder / "fedkdtavi_other-1.0-py3-none-any.whl") as archive:
        archive.extractall(apart)  # whole, and there before
    run = install._run

    def stopped(arguments, onIdle):
        with zipfile.ZipFile(folder / "fedkdtavi_trial-1.0-py3-none-any.whl") as archive:
            archive.extractall(apart)
        (apart / "fedkdtavi_trial.py").unlink()
        raise install.InstallCancelled

    plan = install.installPlan(str(folder))
    monkeypatch.setattr(install, "_run", stopped)
    with pytest.raises(install.InstallCancelled, match="install again"):
        install.install(plan)
    assert {path.name for path in apart.iterdir()} == {"fedkdtavi_other.py", "fedkdtavi_other-1.0.dist-info"}
    assert install.missing() != []
    monkeypatch.setattr(install, "_run", run)
    install.install(plan)
    assert install.missing() == [] and (apart / "fedkdtavi_trial.py").is_file()


def test_cancelled_after_the_installation_is_told_as_it_is(monkeypatch, tmp_path, apart):
    wheel(tmp_path, "fedkdtavi_trial", "value = 1\n")
    monkeypatch.setattr(install, "importProblem", lambda onIdle: onIdle())

    def onIdle() -> None:
        if install.installedVersion("fedkdtavi_trial"):
            raise install.InstallCancelled

    plan = install.InstallPlan([], [install.Package("fedkdtavi_trial", "1.0", None)], True, str(tmp_path))
    with pytest.raises(install.InstallCancelled, match="were installed before"):
        install.install(plan, onIdle)
    assert install.missing() == []


def test_the_folder_of_this_python_can_be_written_or_not(monkeypatch, tmp_path):
    monkeypatch.setattr(ownPackages.sysconfig, "get_path", lambda name: str(tmp_path))
    assert not ownPackages.areNeeded() and not any(tmp_path.iterdir())
    monkeypatch.setattr(ownPackages.sysconfig, "get_path", lambda name: str(tmp_path / "none"))
    assert ownPackages.areNeeded()


def test_the_import_is_tried_in_a_process_of_its_own(monkeypatch):
    assert install.importProblem() is None
    ended = install.Ended(1, True, "ImportError: DLL load failed while importing onnxruntime_pybind11_state")
    monkeypatch.setattr(install, "_run", lambda *a: ended)
    assert "Visual C++" in str(install.importProblem())


@pytest.mark.parametrize(
    ("log", "words"),
    [("ProxyError('Cannot connect to proxy.', 407 Proxy Authentication Required)", "proxy"),
     ("SSLError(SSLCertVerificationError(1, '[SSL: CERTIFICATE_VERIFY_FAILED]", "certificate"),
     ("NewConnectionError: [Errno 11001] getaddrinfo failed", "network"),
     ("OSError: [Errno 28] No space left on device", "disk is full"),
     ("[WinError 5] Access is denied: 'C:\\\\Program Files", "cannot be written"),
     ("[WinError 32] The process cannot access the file because it is being used by another process", "in use"),
     ("ERROR: ResolutionImpossible: for help visit", "fits"), ("ERROR: odd thing", "odd thing"), ("", "said nothing")],
)  # fmt: skip
def test_pip_in_one_sentence(log, words):
    sentence = pipSentence(log)
    assert words in sentence
    assert "\n" not in sentence


@pytest.mark.parametrize(
    ("log", "words"),
    [("A dynamic link library (DLL) initialization routine failed.", "Visual C++"),
     ("version `GLIBC_2.28' not found", "too old"), ("No module named 'flatbuffers'", "flatbuffers"), ("", "crashed")],
)  # fmt: skip
def test_import_in_one_sentence(log, words):
    assert words in importSentence(log)


class Store(dict):
    """The calls of QSettings that the module needs."""

    def value(self, key, default=None):
        return self.get(key, default)

    def setValue(self, key, value) -> None:
        self[key] = value


def test_settings():
    store = Store({"FedKDTAVI/device": 7, "FedKDTAVI/reviewer": None})
    settings = ModuleSettings(store)
    assert (settings.device, settings.wheelFolder) == ("auto", "")
    assert settings.reviewer.startswith("reviewer-")
    assert ModuleSettings(store).reviewer == settings.reviewer
    settings.device, settings.reviewer, settings.wheelFolder = "cpu", "reader-2", " /wheels "
    assert (settings.device, settings.reviewer, settings.wheelFolder) == ("cpu", "reader-2", "/wheels")
    for wrong in ("", "Dr. Müller", "a b", "x" * 41):
        with pytest.raises(UsageError):
            settings.reviewer = wrong
    with pytest.raises(UsageError):
        settings.device = "tpu"
    assert settings.reviewer == "reader-2"


@pytest.fixture
def home(monkeypatch, tmp_path):
    monkeypatch.setattr(resolver, "user_folder", lambda: tmp_path / "bundles")
    return tmp_path


def test_bundles_are_imported_chosen_and_taken_back(home):
    (shipped,) = bundles.listBundles()
    assert shipped.isShipped
    assert shipped.inUse
    assert "not for clinical use" in bundles.cardText(shipped).lower()
    imported = bundles.importBundle(shipped.path)
    assert [(entry.isShipped, entry.inUse) for entry in bundles.listBundles()] == [(True, False), (False, True)]
    assert bundles.bundleInUse() == imported
    bundles.chooseBundle(shipped)
    assert bundles.bundleInUse().isShipped
    bundles.chooseBundle(imported)
    assert not bundles.bundleInUse().isShipped


def test_a_damaged_bundle_is_listed_with_its_reason_and_not_chosen(home):
    (shipped,) = bundles.listBundles()
    imported = bundles.importBundle(shipped.path)
    card = imported.path / "docs" / "README.md"
    card.write_text(json.dumps("altered"), encoding="utf-8")
    damaged = bundles.listBundles()[1]
    assert "altered or damaged" in damaged.problem
    bundles.chooseBundle(shipped)
    with pytest.raises(BundleError):
        bundles.chooseBundle(damaged)
    assert bundles.bundleInUse().isShipped
