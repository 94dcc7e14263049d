"""``fedkdtavi report``: one self-contained page from per-case results of ``fedkdtavi evaluate``."""
