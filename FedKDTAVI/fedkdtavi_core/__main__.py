"""``python -m fedkdtavi_core``: the command line from this very copy of the code, installed or not."""

import contextlib
import os
import sys

from . import folders
from .cli.main import main
from .errors import EXIT_CANCELLED

if __name__ == "__main__":
    folders.use_packages()
    code = main()
    if code == EXIT_CANCELLED:
        # All is put in order and somebody waits: Python taking itself and its libraries apart can take a second.
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(code)
    sys.exit(code)
