"""A person who presses whatever is allowed: see window_walk.py.

FEDKDTAVI_WALK_ACTIONS=1000 walks further than the default.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("qt")
ACTIONS = os.environ.get("FEDKDTAVI_WALK_ACTIONS", "40")


@pytest.mark.parametrize("seed", ["1"])
def test_walk(seed: str, tmp_path: Path) -> None:
    script = Path(__file__).with_name("window_walk.py")
    environment = {**os.environ, "QT_QPA_PLATFORM": "offscreen", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, str(script), seed, ACTIONS, str(tmp_path)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=100 + 5 * int(ACTIONS),
    )
    assert done.returncode == 0, done.stderr[-6000:]
