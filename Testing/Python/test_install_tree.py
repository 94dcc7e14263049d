"""What CMake installs is what the repository holds, and it is enough to load the module and annotate."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from install_tree import CMAKE, COMPILER, REPOSITORY, InstallTree, install

pytestmark = pytest.mark.skipif(None in (CMAKE, COMPILER), reason="needs cmake, and a compiler for it to find")


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> InstallTree:
    return install(tmp_path_factory.mktemp("extension"))


def tracked(*folders: str) -> set[str]:
    """Files of the repository under these folders: committed, or to be committed."""
    command = ["git", "-C", str(REPOSITORY), "ls-files", "-z", "-co", "--exclude-standard", "--", *folders]
    names = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\0")
    return {name for name in names if name and (REPOSITORY / name).is_file()}


def test_every_file_is_listed_and_nothing_twice(tree):
    listed = [*tree.scripts, *tree.resources]
    assert len(listed) == len(set(listed))
    shipped = {name.removeprefix("FedKDTAVI/") for name in tracked("FedKDTAVI")} - {"CMakeLists.txt"}
    assert set(listed) == shipped


def test_installed_are_the_module_the_bundle_and_the_sample(tree):
    shared = tracked("Resources/Models", "Resources/SampleData")
    assert any(name.endswith(".onnx") for name in shared)
    assert tree.files == {*tree.scripts, *tree.resources, *shared}
    for name in shared:
        assert (tree.folder / name).read_bytes() == (REPOSITORY / name).read_bytes()


def test_only_the_module_lies_where_slicer_looks_for_modules(tree):
    assert [path.name for path in tree.folder.glob("*.py")] == ["FedKDTAVI.py"]


def test_extension_describes_itself(tree):
    said = tree.extension
    assert "not for clinical use" in said["DESCRIPTION"]
    catalog = json.loads((REPOSITORY / "FedKDTAVI.json").read_bytes())
    assert b"\r" not in (REPOSITORY / "FedKDTAVI.json").read_bytes()
    assert catalog["category"] == said["CATEGORY"] == "Cardiac"
    assert catalog["scm_url"] == said["HOMEPAGE"] + ".git"
    pictures = [said["ICONURL"], *said["SCREENSHOTURLS"].split()]
    start = said["HOMEPAGE"].replace("https://github.com/", "https://raw.githubusercontent.com/") + "/main/"
    for url in pictures:
        assert url.startswith(start)
        assert (REPOSITORY / url.removeprefix(start)).read_bytes().startswith(b"\x89PNG")


def test_ctest_finds_its_tests(tree):
    assert REPOSITORY / "FedKDTAVI" / "FedKDTAVI.py" in tree.tests
    for path in tree.tests:
        text = path.read_text(encoding="utf-8")
        assert "import pytest" not in text, f"{path}: Slicer has no pytest"
        assert "Test" in text


def run_installed(tree: InstallTree, code: str, folder: Path) -> dict:
    """Run ``code`` in a Python that knows the installed tree and the host only; what it prints last is JSON."""
    environment = os.environ | {
        "PYTHONPATH": str(REPOSITORY / "Testing" / "host"),
        "QT_QPA_PLATFORM": "offscreen",
        "OMP_NUM_THREADS": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "HOME": str(folder),
        "XDG_DATA_HOME": str(folder / "data"),
    }
    # -P: neither the working directory nor a checkout installed for development may help.
    command = [sys.executable, "-P", "-c", textwrap.dedent(code), str(tree.folder)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=folder, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
def test_module_runs_from_the_installed_tree_alone(tree, tmp_path):
    pytest.importorskip("PySide6")
    said = run_installed(
        tree,
        """
        import json, sys, time
        from pathlib import Path
        import pythonqt
        app = pythonqt.start()
        folder = Path(sys.argv[1])
        widget = pythonqt.loadModule(folder / "FedKDTAVI.py").widget
        heavy = sorted({"scipy", "onnxruntime", "nibabel", "SimpleITK", "matplotlib"} & set(sys.modules))
        ui, workspace = widget.ui, widget.window.workspace
        ui.sampleButton.click()
        ui.runButton.click()
        end = time.monotonic() + 240
        while workspace.busy and time.monotonic() < end:
            app.processEvents()
            time.sleep(0.02)
        import fedkdtavi_core, FedKDTAVILib
        from fedkdtavi_core.bundle import resolve
        places = [fedkdtavi_core.__file__, FedKDTAVILib.__file__, str(resolve().path)]
        print(json.dumps({
            "heavy": heavy, "problem": workspace.problem, "review": ui.reviewLabel.text,
            "rows": ui.measureTable.rowCount, "places": places,
        }))
        """,
        tmp_path,
    )
    assert said["problem"] == ""
    assert said["review"] == "0 of 9 reviewed"
    assert said["rows"] > 20
    assert said["heavy"] == []
    assert all(Path(place).is_relative_to(tree.folder) for place in said["places"])
