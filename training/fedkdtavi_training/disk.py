"""What a training keeps on disk is replaced whole or not at all; a full disk or wrong folder is told in a sentence."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fedkdtavi_core.atomic import replace_file
from fedkdtavi_core.errors import FedKDTAVIError, UsageError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # the last one: more than one file may hold here


class TrainingError(FedKDTAVIError):
    """The run cannot go on: the loss is no number any more, or the disk is full."""

    code = "training"


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Put into words why ``path`` cannot be written.

    Raises:
        TrainingError: the disk is full.
        UsageError: nothing can be written there.
    """
    try:
        yield
    except OSError as error:
        why = f"{path} cannot be written ({error.strerror or error})"
        if error.errno in _FULL:
            raise TrainingError(f"{why}; the older one stays: make room and start again.") from error
        raise UsageError(f"{why}; choose a folder that can be written.") from error


def make_folder(path: Path) -> None:
    """Make a folder and those above it, where they are not there. Raises as :func:`writing`."""
    with writing(path):
        path.mkdir(parents=True, exist_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Replace ``path`` atomically; its folder is made.

    Raises:
        TrainingError, UsageError: as :func:`writing`; the older file is untouched.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, content)
