"""What opening the module costs, and how still the window stands around a run, in a process of its own; prints JSON.

Seconds of this thread's own work, whatever else the machine does: ``setup`` until the panel is there, ``stop`` the most
between two events while the run went on, ``end`` from the result's arrival to the review. ``heavy`` and ``heavyAtEnd``:
large packages that were imported before Run, and before the result came.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "Testing" / "host"))
HEAVY = ("SimpleITK", "matplotlib", "nibabel", "onnxruntime", "pydicom", "scipy")


def heavy() -> list[str]:
    return [name for name in HEAVY if name in sys.modules]


def measured(run: bool) -> dict:
    """The figures above; without a ``run`` only ``setup`` and ``heavy``."""
    import pythonqt

    pythonqt.start()
    import qt
    import slicer

    from fedkdtavi_core import schema  # noqa: F401  (what Slicer has read of the core when it starts)

    began = time.thread_time()
    widget = pythonqt.loadModule(REPOSITORY / "FedKDTAVI" / "FedKDTAVI.py").widget
    result = {"setup": time.thread_time() - began, "heavy": heavy()}
    widget.ui.sampleButton.click()
    slicer.app.processEvents()
    result["heavy"] = sorted({*result["heavy"], *heavy()})
    if not run:
        return result
    from FedKDTAVILib.widget.runPanel import RunPanel

    panel = widget.window.panel(RunPanel)
    end = panel.onFinished

    def onFinished(found) -> None:
        result["heavyAtEnd"] = heavy()
        before = time.thread_time()
        end(found)
        result["end"] = time.thread_time() - before

    panel.onFinished = onFinished
    widget.ui.runButton.click()
    stops, last = [], time.thread_time()
    while "end" not in result and not widget.window.workspace.problem:
        qt.QThread.msleep(1)
        slicer.app.processEvents()
        now = time.thread_time()
        stops.append(now - last)
        last = now
    result["stop"] = max(stops[:-1])
    result["reviewed"] = widget.window.workspace.session is not None
    return result


if __name__ == "__main__":
    print(json.dumps(measured("--run" in sys.argv)))
