"""The program ``fedkdtavi``: finds the command, and turns whatever ends it into one sentence and an exit code."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from .. import __version__
from ..errors import EXIT_OK
from . import annotate, bundle, extras, measure, site
from .console import PROGRAM, Console, prepare_streams
from .options import Parser

_DESCRIPTION = (
    "TAVI planning labels and measurements from a cardiac CT. Trained on synthetic phantoms; not for clinical use."
)
_COMMANDS = {
    "annotate": (annotate, "annotate CTs: landmarks, calcium, annulus, measurements, a picture"),
    "measure": (measure, "measure again from label files that were corrected"),
    "bundle": (bundle, "verify, describe, pack or compare model bundles"),
    "site": (site, "make, fill and look after a site dataset: CTs and their labels"),
}


def build_parser() -> argparse.ArgumentParser:
    """The commands of the core; those of the extras are listed, and parse their own arguments."""
    listing = "\n".join(f"  {name:<10}  {about}" for name, about in extras.described().items())
    parser = Parser(
        prog=PROGRAM,
        description=_DESCRIPTION,
        epilog=f"further commands:\n{listing}\n\n{PROGRAM} COMMAND --help tells more.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", dest="command", required=True)
    for name, (module, about) in _COMMANDS.items():
        sub = commands.add_parser(
            name,
            help=about,
            description=module.DESCRIPTION,
            epilog=module.EPILOG,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(sub)
        sub.set_defaults(run=module.run)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line ``argv`` (default: the process's own) and return the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    prepare_streams()
    # The small dense solves of the contour are fifty times slower on several BLAS threads beside a busy process.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    console = Console("--json" in arguments)
    try:
        if arguments and not arguments[0].startswith("-") and arguments[0] not in _COMMANDS:
            return extras.run(arguments[0], arguments[1:], _COMMANDS)
        args = build_parser().parse_args(arguments)
        return args.run(args)
    except SystemExit as finished:  # argparse after --help or --version; a plain string is an error of a plugin's own
        if isinstance(finished.code, str):
            console.error(finished.code)
            return 1
        return EXIT_OK if finished.code is None else finished.code
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - the last place where anything can be put into words
        return console.fail(error)
