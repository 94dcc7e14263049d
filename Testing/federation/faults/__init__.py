"""The ten faults of a federation, each tried on a real one: processes of their own, mutual TLS, nothing mocked."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "training"))  # its small hospitals
