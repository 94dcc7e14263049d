"""What a review needs and what takes a second to import, imported bit by bit while a run goes on anyway.

Not in a thread: in Slicer, Python's threads hardly run while the window waits for the mouse. Each bit is below a tenth
of a second once the disk has been read.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from contextlib import suppress

# In this order each brings little beside what the ones before have brought.
MODULES = (
    "numpy.ma", "numpy.random", "numpy.polynomial", "numpy.f2py", "numpy.testing", "scipy._lib._array_api",
    "scipy._lib._util", "scipy.special._ufuncs", "scipy.special", "scipy.linalg", "scipy.sparse", "scipy.sparse.linalg",
    "scipy.ndimage", "scipy.spatial", "scipy.fft", "scipy.optimize", "scipy.interpolate",
    "fedkdtavi_core.geometry", "fedkdtavi_core.plausibility", "fedkdtavi_core.measurements", "fedkdtavi_core.calcium",
    "fedkdtavi_core.labels.annotated", "SimpleITK",
)  # fmt: skip
PAUSE_MS = 30  # for the mouse, the progress bar and the child process


class EarlyImports:
    """Imports :data:`MODULES`, one at a time.

    >>> early = EarlyImports(qt.QTimer.singleShot)
    >>> early.start()                          # when a run has begun; harmless when called again

    Args:
        later: ``later(ms, function)`` calls back once when the program is idle.
    """

    def __init__(self, later: Callable[[int, Callable[[], None]], None]) -> None:
        self._later = later
        self._left: list[str] | None = None

    def start(self) -> None:
        """Begin with the first after a pause."""
        if self._left is None:
            self._left = list(MODULES)
            self._later(PAUSE_MS, self._step)

    def _step(self) -> None:
        # A private module may go with another SciPy, a package may be broken: who needs it will say so.
        with suppress(ImportError):
            importlib.import_module(self._left.pop(0))
        if self._left:
            self._later(PAUSE_MS, self._step)
