"""``python -m fedkdtavi_core``: the command line from this very copy of the code, installed or not."""

import sys

from .cli.main import main

if __name__ == "__main__":
    sys.exit(main())
