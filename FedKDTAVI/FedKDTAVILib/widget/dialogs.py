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


def confirm(question: str, title: str) -> bool:
    """Does the person agree?"""
    return bool(slicer.util.confirmOkCancelDisplay(question, windowTitle=title))


def showText(text: str, title: str) -> None:
    """Show a longer text, of which all can be scrolled, selected and copied."""
    slicer.util.infoDisplay(title, windowTitle=title, detailedText=text)


def copy(text: str) -> None:
    """Put a text on the clipboard."""
    slicer.app.clipboard().setText(text)


def _path(chosen: str) -> Path | None:
    return Path(chosen) if chosen else None
