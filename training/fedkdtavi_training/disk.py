"""What a training keeps on disk is replaced whole or not at all, and a full disk is told in a sentence."""

from __future__ import annotations

from pathlib import Path

from fedkdtavi_core.atomic import replace_file
from fedkdtavi_core.errors import FedKDTAVIError


class TrainingError(FedKDTAVIError):
    """The run cannot go on: the loss is no number any more, or the disk is full."""

    code = "training"


def write_bytes(path: Path, content: bytes) -> None:
    """Replace ``path`` atomically.

    Raises:
        TrainingError: it cannot be written; the older file is untouched.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, content)
    except OSError as error:
        raise TrainingError(
            f"{path} cannot be written ({error.strerror}); the older one stays: make room and start again."
        ) from error
