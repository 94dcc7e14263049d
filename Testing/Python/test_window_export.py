"""Writing cases and files from the panel, and opening cases: what it says meanwhile, asks and does."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("qt")
import qt
import slicer
from window_case import texts

from FedKDTAVILib.fileExport import ExportedFiles
from FedKDTAVILib.siteCase import CaseSummary, siteCases
from FedKDTAVILib.widget import dialogs, exportPanel

pytest_plugins = ["window_case"]  # the fixture case


class TestExport:
    def test_case_is_saved_opened_again_and_the_next_one_follows(self, case, tmp_path, monkeypatch):
        ui = case.ui
        assert ui.exportCaseButton.toolTip == "Choose the site folder first."
        ui.siteFolder.currentPath = str(tmp_path)
        ui.acceptButton.click()
        ui.exportCaseButton.click()
        assert ui.problemLabel.text == ""
        (saved,) = siteCases(tmp_path)
        assert (saved.reviewed, saved.total) == (1, 9)
        assert texts(ui.caseTable) == [[saved.caseId, "1 of 9"]]
        assert not ui.nextCaseButton.enabled
        assert f'fedkdtavi site status "{tmp_path}"' in ui.commandLabel.text
        asked = []
        monkeypatch.setattr(dialogs, "confirm", lambda question, title: asked.append(question))
        monkeypatch.setattr(dialogs, "folder", lambda *_: saved.path)
        ui.openCaseButton.click()
        assert asked == [] and ui.reviewLabel.text == "1 of 9 reviewed"
        ui.acceptButton.click()
        ui.openCaseButton.click()
        assert len(asked) == 1 and ui.reviewLabel.text == "2 of 9 reviewed"

    def test_plain_files(self, case, tmp_path, monkeypatch):
        monkeypatch.setattr(dialogs, "folder", lambda *_: tmp_path)
        case.ui.exportFilesButton.click()
        assert (tmp_path / "fedkdtavi-labels" / "landmarks.mrk.json").is_file()
        assert str(tmp_path) in case.ui.exportLabel.text

    @pytest.mark.parametrize("button", ["exportCaseButton", "exportFilesButton", "nextCaseButton"])
    def test_writing_says_so_and_a_double_click_writes_once(self, case, tmp_path, monkeypatch, button):
        ui, seen = case.ui, []
        ui.siteFolder.currentPath = str(tmp_path)
        monkeypatch.setattr(dialogs, "folder", lambda *_: tmp_path)
        # There is another case to go on to, or the button stays shut.
        monkeypatch.setattr(exportPanel, "nextCase", lambda *_: CaseSummary(tmp_path / "other", "other", 0, 9))
        monkeypatch.setattr(case.window.panel(exportPanel.ExportPanel), "_open", seen.append)
        case.window.refresh()
        again = getattr(ui, button)
        assert again.enabled

        def write(*_, **__) -> Path:
            cursor = qt.QApplication.overrideCursor()
            seen.append((ui.exportLabel.text, cursor is not None and cursor.shape() == qt.Qt.WaitCursor))
            if len(seen) > 2:
                return tmp_path
            again.click()  # meanwhile
            qt.QTimer.singleShot(0, again.click)  # waits until the window is live again
            return tmp_path

        monkeypatch.setattr(exportPanel, "exportCase", write)
        monkeypatch.setattr(exportPanel, "exportFiles", lambda *_, **__: ExportedFiles(write(), ()))
        again.click()
        slicer.app.processEvents()
        opened = [tmp_path / "other"] if button == "nextCaseButton" else []
        assert seen[1:] == opened
        sentence, waiting = seen[0]
        assert sentence.startswith("Saving the") and waiting
        assert qt.QApplication.overrideCursor() is None
        assert ui.exportLabel.text.startswith("Saved") and again.enabled

    def test_opening_a_case_says_so_and_a_double_click_opens_once(self, case, tmp_path, monkeypatch):
        ui, seen, opened = case.ui, [], exportPanel.openCase
        ui.siteFolder.currentPath = str(tmp_path)
        ui.exportCaseButton.click()
        (saved,) = siteCases(tmp_path)
        monkeypatch.setattr(dialogs, "folder", lambda *_: saved.path)

        def read(*given):
            cursor = qt.QApplication.overrideCursor()
            seen.append((ui.exportLabel.text, cursor is not None and cursor.shape() == qt.Qt.WaitCursor))
            if len(seen) == 1:
                ui.openCaseButton.click()  # meanwhile
                qt.QTimer.singleShot(0, ui.openCaseButton.click)  # waits until the window is live again
            return opened(*given)

        monkeypatch.setattr(exportPanel, "openCase", read)
        ui.openCaseButton.click()
        slicer.app.processEvents()
        assert seen == [("Opening the case; wait.", True)]
        assert qt.QApplication.overrideCursor() is None and ui.openCaseButton.enabled
        assert "wait" not in ui.exportLabel.text and case.window.workspace.session is not None

        (saved.path / "landmarks.mrk.json").write_text("{")
        ui.openCaseButton.click()
        assert "landmarks.mrk.json" in ui.problemLabel.text and ui.openCaseButton.enabled
        assert case.window.workspace.session is not None

    def test_what_could_not_be_written_leaves_the_window_live(self, case, tmp_path, monkeypatch):
        def full(*_, **__):
            raise OSError("the disk is full")

        monkeypatch.setattr(exportPanel, "exportCase", full)
        case.ui.siteFolder.currentPath = str(tmp_path)
        case.ui.exportCaseButton.click()
        assert "disk is full" in case.ui.problemLabel.text
        assert case.ui.exportLabel.text == "" and case.ui.exportCaseButton.enabled
        assert qt.QApplication.overrideCursor() is None

    def test_folder_that_cannot_be_written_is_said(self, case, tmp_path):
        place = tmp_path / "file"
        place.write_text("no folder")
        case.ui.siteFolder.currentPath = str(place)
        case.ui.exportCaseButton.click()
        assert str(place) in case.ui.problemLabel.text
