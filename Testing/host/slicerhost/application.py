"""``slicer.app``: the calls of qSlicerCoreApplication that need no window."""

from __future__ import annotations

import tempfile

from .files import FileManager
from .settings import Settings


class Application:
    """Stands in for ``slicer.app``; methods and properties are those of qSlicerApplication, only fewer."""

    applicationName = "Slicer"
    majorVersion = 5
    minorVersion = 13
    documentationBaseUrl = "https://slicer.readthedocs.io/"

    def __init__(self, scene, applicationLogic) -> None:
        self._scene = scene
        self._applicationLogic = applicationLogic
        self._files = FileManager()
        self._settings = Settings()
        self._temporary = tempfile.TemporaryDirectory(prefix="slicerhost-")  # removed when the process ends

    @property
    def temporaryPath(self) -> str:
        return self._temporary.name

    def mrmlScene(self):
        return self._scene

    def applicationLogic(self):
        return self._applicationLogic

    def coreIOManager(self):
        return self._files

    def ioManager(self):
        return self._files

    def layoutManager(self):
        return None

    def settings(self):
        return self._settings

    def userSettings(self):
        return self._settings

    def processEvents(self) -> None:
        """Nothing waits where there is no window."""

    def pauseRender(self) -> None:
        """Nothing is drawn where there is no window."""

    def resumeRender(self) -> None:
        """See :meth:`pauseRender`."""

    def testingEnabled(self) -> bool:
        """True: ``slicer.util`` shows no dialog that waits for an answer."""
        return True

    def translate(self, context: str, text: str) -> str:
        return text

    def tr(self, text: str) -> str:
        return text
