"""Phantoms, training in rounds, evaluation and export.

NumPy's BLAS takes its number of threads when it is loaded, and with another number the last bits of a sample are
others: one thread, unless the environment says otherwise, before anything of ours loads NumPy.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
