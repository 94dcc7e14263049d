"""A window for the headless host: PySide6 made to feel like PythonQt, with stand-ins for the widgets of CTK and Slicer.

``start()`` provides the modules ``qt`` and ``ctk``, Slicer's widgets in ``slicer``, and a ``slicer.app`` with an event
loop. Widgets, layouts, painting and ``.ui`` files are Qt's own. A property or signal that is misspelt raises; what a
stand-in knows is what names.json says that Slicer knows, and no more.
"""

from .modules import loadModule
from .start import start

__all__ = ["loadModule", "start"]
