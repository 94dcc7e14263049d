"""The original spelling of ``fedkdtavi annotate``: ``python tavi_predictor.py --fname ct.nii.gz --tmp_dir ./tmp``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

CORE = Path(__file__).resolve().parents[1] / "FedKDTAVI"
if CORE.is_dir():  # a checkout brings its own core, installed or not
    sys.path.insert(0, str(CORE))

from fedkdtavi_core.cli.main import main  # noqa: E402 - only now can it be found


def annotate(argv: list[str] | None = None) -> int:
    """Annotate ``--fname`` into its own folder under ``--tmp_dir``; other options go to ``fedkdtavi annotate``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fname", required=True, help="CT file, or folder with DICOM files")
    parser.add_argument("--tmp_dir", default="./tmp", help="folder for the results (default: ./tmp)")
    known, further = parser.parse_known_args(argv)
    return main(["annotate", known.fname, "--out", known.tmp_dir, *further])


if __name__ == "__main__":
    sys.exit(annotate())
