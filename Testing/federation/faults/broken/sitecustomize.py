"""Python imports this at the start of every process whose PYTHONPATH holds this folder.

Only the process that a fault is meant for is changed: a site's training, or the server's process of a job.
"""

import os
import sys

if os.environ.get("FEDKDTAVI_FAULTS"):
    if "fedkdtavi_training.federation.child" in sys.orig_argv:
        import breakage

        breakage.site()
    elif "nvflare.private.fed.app.server.runner_process" in sys.orig_argv:
        import breakage

        breakage.server()
