"""``python -m fedkdtavi_training train CONFIG``: the training subcommands without the installed program."""

from __future__ import annotations

import sys

from fedkdtavi_core.errors import EXIT_USAGE, FedKDTAVIError

from . import commands

COMMANDS = (
    "phantom", "train", "distill", "finetune", "next-round", "arms", "average", "weights", "calibrate", "export",
    "evaluate", "report", "federation",
)  # fmt: skip


def main() -> int:
    """Run one subcommand; errors are one sentence on standard error."""
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    if name not in COMMANDS:
        print(f"Give one of {', '.join(COMMANDS)}.", file=sys.stderr)
        return EXIT_USAGE
    try:
        return getattr(commands, name.replace("-", "_"))(sys.argv[2:])
    except FedKDTAVIError as error:
        print(error, file=sys.stderr)
        return error.exit_code


if __name__ == "__main__":
    raise SystemExit(main())
