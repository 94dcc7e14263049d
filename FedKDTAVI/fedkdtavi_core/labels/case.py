"""A folder of files that appears complete or not at all.

Everything is written into a sibling of the target (``.<name>.<random>.partial``), synced to disk, and then takes the
target's place in one rename. An output that exists is refused; with ``force`` the two change places (one atomic
exchange where the system has it) and the old one is removed only then. Killed at any moment, the target is the old
folder or the new one; what a killed run left beside it is cleared by the next run for the same target.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import UsageError
from .exchange import exchange, folder_lock, sync

_PARTIAL, _OLD = ".partial", ".old"


def recover(target: Path) -> None:
    """Put back what a killed run had only just moved away from ``target`` (systems without exchange), if it did.

    Raises:
        UsageError: another living run writes it.
    """
    target = Path(target)
    if target.exists() or not _siblings(target, _OLD):
        return
    with folder_lock(target) as alone:
        if alone:
            _clear_remains(target)


def moved_away(folder: Path) -> list[str]:
    """Names in ``folder`` of what killed runs had moved away and not put back."""
    old = re.compile(r"\.(.+)\.[0-9a-f]{8}" + re.escape(_OLD))
    names = [match[1] for path in sorted(folder.iterdir()) if (match := old.fullmatch(path.name))]
    return [name for name in dict.fromkeys(names) if not (folder / name).exists()]


def check_output(target: Path, *, force: bool = False, marker: str = "provenance.json") -> None:
    """Refuse a target that must not be written, before any work is done for it.

    Args:
        target: the folder that is to appear.
        force: an existing one may be replaced.
        marker: file that tells a folder of ours; no other folder is ever replaced.

    Raises:
        UsageError: it exists (without ``force``), is no folder of ours, or its place cannot be written.
    """
    target = Path(target)
    try:
        _check(target, force, marker)
    except OSError as error:
        raise _in_words(target, error) from error


@contextmanager
def output_folder(target: Path, *, force: bool = False, marker: str = "provenance.json") -> Iterator[Path]:
    """Fill a folder that takes the place of ``target`` only when the block ends without an exception.

    >>> with output_folder(Path("out/case1")) as folder:
    ...     (folder / "provenance.json").write_text("{}")

    Args:
        target: the folder that is to appear; missing parents are made, and removed again when the block fails.
        force: an existing folder with ``marker`` in it is replaced.
        marker: file that tells a folder of ours.

    Yields:
        The folder to write into; write nothing elsewhere.

    Raises:
        UsageError: see :func:`check_output`; also when the disk is full or not writable.
    """
    target = Path(target)
    check_output(target, force=force, marker=marker)
    made: list[Path] = []
    partial: Path | None = None
    done = False
    try:
        # The block's own errors pass through: only the system's are put into words here.
        try:
            _make_parents(target.parent, made)
            with folder_lock(target) as alone:
                if alone:
                    _clear_remains(target)
                check_output(target, force=force, marker=marker)  # again, now that nobody else is at it
                partial = _sibling(target, _PARTIAL)
                try:  # before the folder is made: a request to stop may come right after
                    partial.mkdir()
                    yield partial
                    _sync(partial)
                    _swap(partial, target)
                    done = True
                finally:  # after an exchange it is the old folder that bears this name
                    shutil.rmtree(partial, ignore_errors=True)
        except OSError as error:
            raise _in_words(target, error) from error
    finally:
        if not done:
            for folder in reversed(made):
                with contextlib.suppress(OSError):  # not empty: somebody else has come to use it
                    folder.rmdir()


def _check(target: Path, force: bool, marker: str) -> None:
    if target.is_symlink() or (target.exists() and not target.is_dir()):
        raise UsageError(f"{target}: is there already and is no folder; choose another place for the output.")
    if target.is_dir() and any(target.iterdir()):
        if not force:
            raise UsageError(f"{target}: is there already; add --force to replace it or choose another place.")
        if not (target / marker).is_file():
            raise UsageError(
                f"{target}: holds no {marker}, so it was not made here and is not replaced; choose another place."
            )
    place = target.parent
    while not place.exists() and place != place.parent:
        place = place.parent
    if not place.is_dir():
        raise UsageError(f"{place}: is a file where a folder is needed; choose another place for the output.")
    if not os.access(place, os.W_OK | os.X_OK):
        raise UsageError(f"{place}: cannot be written; choose another place or change its permissions.")


def _make_parents(folder: Path, made: list[Path]) -> None:
    missing = []
    while not folder.exists():
        missing.append(folder)
        folder = folder.parent
    for folder in reversed(missing):
        made.append(folder)  # before it is made: a request to stop may come right after
        try:
            folder.mkdir()
        except FileExistsError:  # another run was faster
            made.remove(folder)


def _sibling(target: Path, suffix: str) -> Path:
    return target.with_name(f".{target.name}.{secrets.token_hex(4)}{suffix}")


def _siblings(target: Path, suffix: str) -> list[Path]:
    start = f".{target.name}."
    try:
        entries = sorted(target.parent.iterdir())
    except OSError:
        return []
    length = len(start) + 8 + len(suffix)
    return [e for e in entries if e.name.startswith(start) and e.name.endswith(suffix) and len(e.name) == length]


def _clear_remains(target: Path) -> None:
    """Clear what killed runs left; on systems without exchange also put back what they had only just moved away."""
    old = _siblings(target, _OLD)
    if old and not target.exists():
        old.pop().rename(target)
    for folder in [*old, *_siblings(target, _PARTIAL)]:
        shutil.rmtree(folder, ignore_errors=True)


def _swap(partial: Path, target: Path) -> None:
    if not target.exists():
        partial.rename(target)
    elif not any(target.iterdir()) and os.name == "posix":
        partial.rename(target)  # POSIX renames over an empty folder
    elif not exchange(partial, target):
        old = _sibling(target, _OLD)
        target.rename(old)
        try:
            partial.rename(target)
        except BaseException:
            old.rename(target)
            raise
        shutil.rmtree(old, ignore_errors=True)
    sync(target.parent)


def _sync(folder: Path) -> None:
    """All of it on the disk, the folders' entries included, before anyone can see it under its name."""
    for root, _, names in os.walk(folder):
        for name in names:
            sync(Path(root, name))
        sync(Path(root))


def _in_words(target: Path, error: OSError) -> UsageError:
    cause = error
    while cause.errno is None and isinstance(cause.__cause__, OSError):
        cause = cause.__cause__
    if cause.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return UsageError(f"{target}: the disk is full; nothing was written, free some space and run again.")
    if cause.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return UsageError(f"{target}: cannot be written; choose another place or change its permissions.")
    if cause.errno == errno.ENAMETOOLONG:
        return UsageError(f"{target}: the name is too long; choose a shorter one for the output.")
    reason = cause.strerror or str(cause)
    return UsageError(f"{target}: nothing was written ({reason}); check the disk and run again.")
