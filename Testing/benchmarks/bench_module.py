"""How fast the module's measurements follow a drag, on real Slicer nodes (limit: 50 ms at the 95th percentile).

    python Testing/benchmarks/bench_module.py [--ct FILE] [--steps 60]

The CT (default: the sample CT) is loaded as Slicer loads it and annotated with the shipped bundle. Then every landmark
and one point of the contour is dragged along a circle of 3 mm in steps, as Slicer's markups widget moves them; a step
lasts from setting the point to the new table being handed over. How long the panel takes to open, and how long the
window stands still around a run, is measured in processes of their own where PySide6 is there. Wall time counts; the
processor's time beside it tells how much of that was ours on a machine that does other things as well. Needs the extra
``slicer``.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import common
import numpy as np

sys.path.insert(0, str(common.REPOSITORY / "Testing" / "host"))
RADIUS_MM = 3.0
LIMIT_MS = 50.0
START = {"setup": "panel opened", "stop": "longest stop during a run", "end": "labels of a run shown"}


def annotated_case(ct: Path):
    """The case's nodes, with what the shipped bundle finds."""
    from slicerhost import start

    scene = start()
    import slicer

    from fedkdtavi_core.bundle import resolver, verify
    from fedkdtavi_core.pipeline import annotate
    from FedKDTAVILib.caseNodes import CaseNodes
    from FedKDTAVILib.volumes import volumeFromNode

    volume_node = slicer.util.loadVolume(str(ct))
    parameter_node = scene.AddNewNodeByClass("vtkMRMLScriptedModuleNode", "FedKDTAVI")
    parameter_node.SetNodeReferenceID("inputVolume", volume_node.GetID())
    case = CaseNodes.find(parameter_node)
    folder = common.REPOSITORY / "Resources" / "Models" / "fedkdtavi"
    bundle = verify(folder) if folder.is_dir() else resolver.resolve(None)
    case.showAnnotation(annotate(volumeFromNode(volume_node), bundle, device="cpu"))
    return case


class Clock:
    """Milliseconds of wall and of processor time since it was made."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def read(self) -> tuple[float, float]:
        """(wall, processor) in ms."""
        return 1000 * (time.perf_counter() - self._wall), 1000 * (time.process_time() - self._cpu)


def drag(node, index: int, steps: int, tables: list) -> tuple[list[tuple[float, float]], tuple[float, float]]:
    """(wall, processor) milliseconds of every step, each of them measured, and of the drag's end."""
    start = np.array(node.GetNthControlPointPositionWorld(index))
    node.SetAttribute("Markups.MovingMarkupIndex", str(index))
    node.InvokeCustomModifiedEvent(node.PointStartInteractionEvent)
    taken = []
    for angle in np.linspace(0, 2 * np.pi, steps, endpoint=False):
        before, clock = len(tables), Clock()
        offset = RADIUS_MM * np.array([np.cos(angle) - 1, np.sin(angle), np.sin(2 * angle) / 2])
        node.SetNthControlPointPositionWorld(index, *(start + offset))
        taken.append(clock.read())
        if len(tables) != before + 1:
            raise SystemExit("a step of the drag was not measured")
    clock = Clock()
    node.InvokeCustomModifiedEvent(node.PointEndInteractionEvent)
    node.SetAttribute("Markups.MovingMarkupIndex", "")
    return taken, clock.read()


def start_times(times: int) -> dict[str, list[float]]:
    """Milliseconds of wall time of what :data:`START` names; empty without PySide6."""
    script = common.REPOSITORY / "Testing" / "Python" / "module_start.py"
    found: dict[str, list[float]] = {}
    for _ in range(times):
        done = subprocess.run([sys.executable, str(script), "--run"], capture_output=True, text=True)
        if "ModuleNotFoundError" in done.stderr:
            return {}
        done.check_returncode()
        content = json.loads(done.stdout.splitlines()[-1])
        for key in START:
            found.setdefault(key, []).append(1000 * content[key])
    return found


def main() -> None:
    """Run it, print median and 95th percentile, write results/bench_module.csv."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ct", type=Path, help="default: the sample CT")
    parser.add_argument("--steps", type=int, default=60, help="steps of each drag")
    arguments = parser.parse_args()
    ct = arguments.ct or sorted((common.REPOSITORY / "Resources" / "SampleData").glob("*.nii.gz"))[0]
    case = annotated_case(ct)

    from fedkdtavi_core import schema
    from FedKDTAVILib.liveMeasurements import LiveMeasurements
    from FedKDTAVILib.reviewSession import ReviewSession
    from FedKDTAVILib.volumeCache import VolumeCache

    tables: list = []
    cache = VolumeCache()
    session = ReviewSession(case, cache=cache)
    live = LiveMeasurements(case, cache, tables.append)
    session.onChange = live.refresh
    live.refresh()
    rows = []

    def record(part: str, times: list[tuple[float, float]]) -> None:
        wall, cpu = np.percentile(times, [50, 95], axis=0).T
        found = {"median_ms": wall[0], "p95_ms": wall[1], "cpu_median_ms": cpu[0], "cpu_p95_ms": cpu[1]}
        rows.append(
            {
                "part": part,
                **{key: "" if np.isnan(value) else f"{value:.1f}" for key, value in found.items()},
                "n": str(len(times)),
            }
        )
        words = "   ".join(f"{key} {value:6.1f}" for key, value in found.items())
        print(f"{part:34s} {words}   n {len(times)}", flush=True)

    steps: list[tuple[float, float]] = []
    ends: list[tuple[float, float]] = []
    for index, label in enumerate(schema.LANDMARKS):
        taken, end = drag(case.landmarks, index, arguments.steps, tables)
        record(f"drag {label.name}", taken)
        steps += taken
        ends.append(end)
    taken, end = drag(case.contour, 0, arguments.steps, tables)
    record("drag a point of the contour", taken)
    record("drag to measurement, all", steps + taken)
    record("end of a drag, contour traced", [*ends, end])
    actions = []
    for action in (session.accept, session.undo, session.redo) * 5:
        clock = Clock()
        action()
        actions.append(clock.read())
    record("accept, undo, redo, measured anew", actions)
    for key, values in start_times(5).items():
        record(START[key], [(value, float("nan")) for value in values])
    shape = " x ".join(str(n) for n in case.volume.GetImageData().GetDimensions())
    load = f"load average {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    print(f"CT of {shape} voxels; {load}; limit {LIMIT_MS:.0f} ms for a step")
    if arguments.ct is None:
        print("written:", common.write("bench_module.csv", rows, f"sample CT of {shape} voxels; {load}"))
    live.end()
    session.end()


if __name__ == "__main__":
    main()
