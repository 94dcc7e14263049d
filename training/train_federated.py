"""The published system's command line: ``python train_federated.py --task 1 --locations site-1 site-2 ...``."""

from __future__ import annotations

import sys
from pathlib import Path

CORE = Path(__file__).resolve().parents[1] / "FedKDTAVI"
if CORE.is_dir():  # a checkout brings its own core, installed or not
    sys.path.insert(0, str(CORE))

from fedkdtavi_core.cli.extras import install_command  # noqa: E402 - only now can it be found
from fedkdtavi_core.errors import FedKDTAVIError  # noqa: E402


def main(argv: list[str] | None = None) -> int:
    """Train or test; errors are one sentence on standard error."""
    try:
        from fedkdtavi_training.original.args import parse

        parse(argv)  # --help and wrong use need no torch
        from fedkdtavi_training.original.command import main as run

        return run(argv)
    except FedKDTAVIError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except ModuleNotFoundError as error:
        how = install_command("train")
        print(f"{error.name} is not installed; install it with {how} (see README.md).", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("Cancelled; the same command goes on from the last round.", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
