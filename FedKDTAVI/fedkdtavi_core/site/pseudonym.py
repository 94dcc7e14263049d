"""Who reviewed a label is told by a pseudonym: it travels with the labels, so it must not be a name."""

from __future__ import annotations

import re

from ..errors import UsageError

_PSEUDONYM = re.compile(r"[\w-]{1,32}")


def check_pseudonym(reviewer: str) -> str:
    """``reviewer`` without blanks around it.

    Raises:
        UsageError: it has blanks, dots or other signs that names, titles and addresses have, or is longer than 32. A
            name in one word cannot be told from a pseudonym.
    """
    reviewer = reviewer.strip()
    if not _PSEUDONYM.fullmatch(reviewer):
        raise UsageError(
            f"the reviewer {reviewer!r} may be a name, and it travels with the labels; give a pseudonym of letters, "
            "digits, - and _, such as reader-1."
        )
    return reviewer
