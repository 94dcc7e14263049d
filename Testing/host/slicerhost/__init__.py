"""Slicer without its window: the real MRML scene and logics of ``slicer-core``, and small stand-ins for the rest.

``start()`` makes ``slicer.mrmlScene``, ``slicer.app`` and the Python packages that Slicer's desktop program adds
(``slicer.i18n``, ``slicer.ScriptedLoadableModule`` ...) available, as a module finds them in Slicer. Where the
environment variable ``SLICER_BASE_PYTHON`` names the ``Base/Python`` of a Slicer checkout, its own files are used
instead of the stand-ins. What MRML does here is what it does in Slicer; a stand-in only ever knows less than Slicer.
"""

from .session import start

__all__ = ["start"]
