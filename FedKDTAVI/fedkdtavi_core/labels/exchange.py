"""What the system must do for an atomic folder: exchange two names at once, and know whether a run is alive."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import UsageError

# What flock(2) and Windows' _locking say when somebody else holds the lock.
_BUSY = (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES, errno.EDEADLK)


def exchange(one: Path, other: Path) -> bool:
    """Let two folders change names in one atomic step; False where the system or the drive cannot (nothing changed)."""
    import ctypes

    try:
        library = ctypes.CDLL(None, use_errno=True)
        first, second = os.fsencode(one), os.fsencode(other)
        if sys.platform == "linux":  # renameat2(2), flag RENAME_EXCHANGE; -100 is AT_FDCWD
            return library.renameat2(-100, first, -100, second, 2) == 0
        if sys.platform == "darwin":  # renamex_np(2), flag RENAME_SWAP
            return library.renamex_np(first, second, 2) == 0
    except (OSError, AttributeError, TypeError):  # an old C library, or Windows
        pass
    return False


@contextmanager
def folder_lock(target: Path) -> Iterator[bool]:
    """Be the only run that writes ``target``, by a lock file beside it that the system frees when the run ends.

    Yields:
        True when the lock is held; False on a drive that knows no locks, where the caller must disturb nobody.

    Raises:
        UsageError: another living run writes this folder.
    """
    path = target.with_name(f".{target.name}.lock")
    handle, held = _acquire(path, target)
    try:
        yield held
    finally:
        if os.name == "nt":  # an open file cannot be removed there
            os.close(handle)
            with contextlib.suppress(OSError):  # others may look at it; left behind, it is nobody's
                path.unlink(missing_ok=True)
        else:  # removed while it is held, so that nobody locks a file that is gone
            path.unlink(missing_ok=True)
            os.close(handle)


def is_being_written(target: Path) -> bool:
    """Does a living run hold the lock of ``target``? A lock file that a killed run left is nobody's."""
    try:
        handle = os.open(target.with_name(f".{target.name}.lock"), os.O_RDWR)
    except FileNotFoundError:
        return False
    except OSError:  # not ours to open: whoever made it may well be alive
        return True
    try:
        _lock(handle)
    except OSError as error:
        return error.errno in _BUSY
    finally:
        os.close(handle)  # and with it the lock, if it was free
    return False


def sync(path: Path) -> None:
    """A file or folder on the disk, not only in the system's memory."""
    if os.name == "nt" and path.is_dir():
        return  # Windows opens no folders
    handle = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network drives cannot
            raise
    finally:
        os.close(handle)


def _acquire(path: Path, target: Path) -> tuple[int, bool]:
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            _lock(handle)
        except OSError as error:
            if error.errno in _BUSY:
                os.close(handle)
                raise UsageError(f"{target}: another run is writing it; wait for it to end and run again.") from None
            return handle, False
        # Between opening and locking its last holder may have removed it: then this lock guards nothing.
        with contextlib.suppress(OSError):
            if os.name == "nt" or os.path.samestat(os.fstat(handle), path.stat()):
                return handle, True
        os.close(handle)


def _lock(handle: int) -> None:
    if os.name == "nt":
        import msvcrt

        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
