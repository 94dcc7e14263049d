"""What happened in every round, as CSV: a row a site and round."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..disk import write_bytes

_FIRST = ("round", "site", "outcome", "reason", "change")


def write(path: Path, history: Sequence[dict[str, Any]]) -> None:
    """Write all rows anew, atomically."""
    rest = sorted({key for row in history for key in row} - set(_FIRST) - {"digest"})
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, [*_FIRST, *rest], extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for row in history:
        writer.writerow({key: f"{value:.6g}" if isinstance(value, float) else value for key, value in row.items()})
    write_bytes(path, text.getvalue().encode())
