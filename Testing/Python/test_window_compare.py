"""Two model bundles compared in the panel on a site's own reviewed cases."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("qt")
import slicer

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "core"))
import tiny_bundle

from fedkdtavi_core.bundle import paired
from FedKDTAVILib.bundles import importBundle
from FedKDTAVILib.compareJob import comparisonText
from FedKDTAVILib.siteCase import exportCase
from FedKDTAVILib.widget import dialogs
from FedKDTAVILib.widget.bundlePanel import BundlePanel

pytest_plugins = ["window_case"]  # the fixtures widget and case


def wait(panel: BundlePanel) -> None:
    end = time.monotonic() + 60
    while panel._job is not None and time.monotonic() < end:
        slicer.app.processEvents()
        time.sleep(0.005)
    assert panel._job is None


@pytest.fixture
def compared(case, monkeypatch, tmp_path):
    """The panel, with a second bundle imported and a site of one reviewed case; and the texts it showed."""
    monkeypatch.setattr("fedkdtavi_core.bundle.resolver.user_folder", lambda: tmp_path / "bundles")
    case.ui.acceptButton.click()
    case.ui.acceptButton.click()
    exportCase(case.window.workspace.caseNodes, tmp_path / "site", reviewer="R1")
    shown = []
    monkeypatch.setattr(dialogs, "showText", lambda text, title: shown.append(text))
    case.ui.bundleSection.collapsed = False
    assert case.ui.compareButton.toolTip == "There is no other bundle to compare with; import one."
    importBundle(tiny_bundle.write_bundle(tmp_path / "tiny").path)
    case.window.panel(BundlePanel)._list()
    return case, shown


def test_in_the_panel(compared, tmp_path) -> None:
    case, shown = compared
    case.ui.siteFolder.currentPath = str(tmp_path / "site")
    assert case.ui.compareButton.enabled, case.ui.compareButton.toolTip
    case.ui.compareButton.click()
    assert not case.ui.runButton.enabled and "being compared" in case.ui.runButton.toolTip
    assert not case.ui.bundleSelector.enabled
    wait(case.window.panel(BundlePanel))
    assert case.ui.problemLabel.text == ""
    (text,) = shown
    assert text.startswith("**On this site: too few cases (1, at least 8")
    assert "| all landmarks | 2 | 0.0 |" in text  # both as the shipped bundle had them
    assert "confirmed as the old bundle had them" in text and "ot for clinical use" in text
    assert case.ui.runButton.enabled and case.ui.compareButton.text == "Compare..."


def test_cancelled_and_refused(compared, monkeypatch, tmp_path) -> None:
    case, shown = compared
    panel = case.window.panel(BundlePanel)
    case.ui.siteFolder.currentPath = str(tmp_path / "site")
    case.ui.compareButton.click()
    assert case.ui.compareButton.text == "Cancel"
    case.ui.compareButton.click()
    wait(panel)
    assert (shown, case.ui.problemLabel.text) == ([], "")
    case.ui.siteFolder.currentPath = ""
    monkeypatch.setattr(dialogs, "folder", lambda *_: tmp_path)
    case.ui.compareButton.click()
    wait(panel)
    assert shown == [] and "is no site dataset" in case.ui.problemLabel.text


def test_what_is_missing_and_skipped_is_said() -> None:
    row = {"n": 3, "old_median": 1.25, "new_median": None, "old_missing": 0, "new_missing": 3}
    row["sentence"] = "new is worse"
    summary = {
        "site": "s", "synthetic": False, "cases": 3, "landmarks": {"hinge_rcc": row}, "all_landmarks": row,
        "calcification": {**row, "n": 0}, "confirmed_as_predicted_by": {"old": 0, "new": 2}, "skipped": {"a": "broken"},
        "refused": {"old": {}, "new": {"b": "no root"}}, "verdict": "new is worse", "rule": f"{paired.WORST_MM:g} mm",
        "learned_from": {"old": 0, "new": 4}, "only_learned_cases": False,
    }  # fmt: skip
    text = comparisonText(summary, "one 1", "two 2")
    assert "| RCC | 3 | 1.3 | \u2013 | 0/3 | new is worse |" in text
    assert "calcium |" not in text
    assert "2 labels were confirmed as the new bundle" in text
    assert "Skipped a: broken" in text and "new gave nothing for b: no root" in text
    assert "Left out: 4 cases that the new bundle has learned from." in text
    text = comparisonText(summary | {"only_learned_cases": True}, "one 1", "two 2")
    assert "Warning: the new bundle has learned from 4 of these cases" in text
