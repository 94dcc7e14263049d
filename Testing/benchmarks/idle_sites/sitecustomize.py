"""Python imports this at the start of every process whose PYTHONPATH holds this folder."""

import os
import sys

_FOLDER = os.environ.get("FEDKDTAVI_IDLE")
if _FOLDER:
    import idle

    if "fedkdtavi_training.federation.child" in sys.orig_argv:
        idle.install()
    elif idle.engine():
        idle.count_bytes(os.path.join(_FOLDER, f"{os.getpid()}.bytes"))  # noqa: PTH118
        idle.note_memory(os.path.join(_FOLDER, f"{os.getpid()}.memory"))  # noqa: PTH118
