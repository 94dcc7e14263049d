"""What the panel asks a person for: files, folders, yes or no. One place, so that a test can answer."""

from __future__ import annotations

from pathlib import Path

import qt
import slicer


def openFile(title: str, filters: str) -> Path | None:
    """A file that exists, or None when the person cancels. ``filters`` as in Qt: "Model bundle (*.zip)"."""
    return _path(qt.QFileDialog.getOpenFileName(slicer.util.mainWindow(), title, "", filters))


def saveFile(title: str, name: str, filters: str) -> Path | None:
    """A file to write, or None when the person cancels; the system asks before one is replaced."""
    return _path(qt.QFileDialog.getSaveFileName(slicer.util.mainWindow(), title, name, filters))


def folder(title: str, start: str = "") -> Path | None:
    """A folder, or None when the person cancels."""
    return _path(qt.QFileDialog.getExistingDirectory(slicer.util.mainWindow(), title, start))


def waiting():
    """A context in which the mouse says that the window is busy: files of a whole CT are written or read."""
    return slicer.util.WaitCursor()


def confirm(question: str, title: str) -> bool:
    """Does the person agree?"""
    return bool(slicer.util.confirmOkCancelDisplay(question, windowTitle=title))


def choose(question: str, title: str, answers: list[str]) -> int | None:
    """Which of the answers, by its place; None when the person cancels."""
    box = qt.QMessageBox(qt.QMessageBox.Question, title, question, qt.QMessageBox.Cancel, slicer.util.mainWindow())
    buttons = [box.addButton(answer, qt.QMessageBox.AcceptRole) for answer in answers]
    box.exec_()
    pressed = box.clickedButton()
    return buttons.index(pressed) if pressed in buttons else None


def showText(markdown: str, title: str) -> None:
    """Show a longer text that can be scrolled, selected and copied."""
    dialog = qt.QDialog(slicer.util.mainWindow())
    dialog.setWindowTitle(title)
    dialog.resize(720, 560)
    layout = qt.QVBoxLayout(dialog)
    browser = qt.QTextBrowser(dialog)
    browser.setMarkdown(markdown)
    layout.addWidget(browser)
    buttons = qt.QDialogButtonBox(qt.QDialogButtonBox.Close, dialog)
    buttons.connect("rejected()", dialog.reject)
    layout.addWidget(buttons)
    dialog.exec_()


def copy(text: str) -> None:
    """Put a text on the clipboard."""
    slicer.app.clipboard().setText(text)


def _path(chosen: str) -> Path | None:
    return Path(chosen) if chosen else None
