"""Reload (developer mode): new code, the same case, nothing left of the old panel; in a process of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("qt")

# The module's folders are copied, so that "new code" can be written.
SCRIPT = r"""
import json, sys
import numpy as np
from pathlib import Path
import pythonqt
pythonqt.start()
import slicer

module = Path(sys.argv[1])
sys.path = [entry for entry in sys.path if Path(entry).name != "FedKDTAVI"]
old = pythonqt.loadModule(module).widget
old.ui.sampleButton.click()
from fedkdtavi_core.annotation import Annotation, Landmark
from FedKDTAVILib.caseNodes import CaseNodes
annotation = Annotation()
annotation.landmarks["hinge_rcc"] = Landmark("hinge_rcc", np.array([1.0, 2.0, 3.0]), 0.9)
CaseNodes(old.window.workspace.parameterNode).showAnnotation(annotation)
old.window.workspace.openReview()
old.ui.reviewTable.selectRow(6)
old.ui.acceptButton.click()
session, library = old.window.workspace.session, sys.modules["FedKDTAVILib"]
words = module.parent / "FedKDTAVILib" / "words.py"
words.write_text(words.read_text(encoding="utf-8") + "\nNEW = True\n", encoding="utf-8")
old.onReload()
new = slicer.modules.FedKDTAVIWidget
points = CaseNodes(new.window.workspace.parameterNode).landmarks
pressed = [one.key.toString() for one in new.window.shortcuts._shortcuts if one.isEnabled()]
new.ui.previousButton.click()
new.ui.undoButton.click()
print(json.dumps({
    "isNew": new is not old and sys.modules["FedKDTAVILib"] is not library,
    "newCode": getattr(sys.modules["FedKDTAVILib.words"], "NEW", False),
    "oldEnded": not session.isActive,
    "reviewed": new.window.workspace.session.queue.reviewedCount,
    "keys": len(pressed),
    "problem": new.window.workspace.problem,
    "oldHidden": old.ui.runButton.isVisibleTo(new.parent) is False,
}))
"""


def test_reload_in_the_middle_of_a_review(tmp_path: Path) -> None:
    from FedKDTAVILib.widget.shortcuts import KEYS

    repository = Path(__file__).resolve().parents[2]
    skipped = shutil.ignore_patterns("__pycache__")
    shutil.copytree(repository / "FedKDTAVI", tmp_path / "FedKDTAVI", ignore=skipped)
    shutil.copytree(repository / "Resources" / "SampleData", tmp_path / "Resources" / "SampleData")
    host = repository / "Testing" / "host"
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path / "FedKDTAVI" / "FedKDTAVI.py")],
        env={**os.environ, "QT_QPA_PLATFORM": "offscreen", "PYTHONPATH": str(host), "PYTHONDONTWRITEBYTECODE": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found == {
        "isNew": True,
        "newCode": True,
        "oldEnded": True,
        "reviewed": 1,
        "keys": len(KEYS),
        "problem": "",
        "oldHidden": True,
    }
