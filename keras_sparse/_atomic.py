"""Write a file whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_PREFIX, _SUFFIX = ".keras_sparse-", ".tmp"
_DAY = 24 * 60 * 60  # no write takes as long
_NO_ROOM = {
    errno.ENOSPC: "a full disk",
    getattr(errno, "EDQUOT", errno.ENOSPC): "a quota that is used up",
    errno.EFBIG: "a limit on the size of files, see `ulimit -f`",
}


def check_writable(path: str | os.PathLike) -> Path:
    """Return `path` as a `Path`, once a file can be written there.

    Args:
        path: where a file is to be written. A link is followed.

    Raises:
        FileNotFoundError: the folder does not exist.
        IsADirectoryError: `path` is a folder.
        OSError: the folder cannot be written to, or the disk is full.
    """
    target = Path(os.path.realpath(path))
    folder = target.parent
    if not folder.is_dir():
        raise FileNotFoundError(
            f"Cannot write {str(path)!r}: expected an existing folder, "
            f"received {str(folder)!r}, which is none. Create it first: "
            f"os.makedirs({str(folder)!r})."
        )
    if target.is_dir():
        raise IsADirectoryError(
            f"Cannot write {str(path)!r}: expected the path of a file, "
            "received a folder. Add a file name, such as 'model.tflite'."
        )
    try:
        with _working_folder(folder):
            pass
    except OSError as error:
        raise OSError(  # of the subclass that the number stands for
            error.errno,
            f"Cannot write {str(path)!r}: expected a folder that can be "
            f"written to, received {str(folder)!r} ({error.strerror}). "
            "Choose another path, or free the space, or change permissions. "
            "What is there stays as it is",
        ) from error
    return target


@contextlib.contextmanager
def atomic_path(target: Path, needed: int | None = None) -> Iterator[Path]:
    """Give a temporary path that becomes `target` when the block ends well.

    The bytes are on the disk before the name changes. After an exception
    the file that was at `target` is as before, and the temporary one gone.
    Where the process was killed, the temporary one goes when something is
    next written to the folder; on Windows, after a day.

    Args:
        target: the path to write, in an existing folder.
        needed: bytes that are to be written, to name where they do not fit.

    Yields:
        The path to write to: the name of `target` in a folder beside it.

    Raises:
        OSError: there is no room for the file.

    Example:

    >>> import pathlib, tempfile
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> with atomic_path(folder / "a.txt") as path:
    ...     _ = path.write_text("whole")
    >>> [file.name for file in folder.iterdir()]
    ['a.txt']
    """
    handled = sys.exc_info()[1]  # what led here is not what goes wrong here
    try:
        with _working_folder(target.parent) as folder:
            temporary = folder / target.name
            yield temporary
            _sync(temporary, os.O_RDWR)
            if target.exists():
                shutil.copymode(target, temporary)
            os.replace(temporary, target)
    except Exception as error:
        reason = _no_room(error, handled)
        if reason is None:
            raise
        raise OSError(reason, _message(target, needed, reason)) from error
    with contextlib.suppress(OSError):  # not every system opens folders
        _sync(target.parent, os.O_RDONLY)


def _no_room(
    error: BaseException | None, handled: BaseException | None
) -> int | None:
    """The number of the error, if it or what led to it is want of room.

    h5py raises RuntimeError when it closes a file that could not be written.
    """
    while error is not None and error is not handled:
        if isinstance(error, OSError) and error.errno in _NO_ROOM:
            return error.errno
        error = error.__context__
    return None


def _message(target: Path, needed: int | None, reason: int) -> str:
    wanted = "room" if needed is None else f"room for {needed:,} bytes"
    received = _NO_ROOM[reason]
    if reason == errno.ENOSPC:
        with contextlib.suppress(OSError):
            free = shutil.disk_usage(target.parent).free
            received += f" with {free:,} bytes free"
    there = "What was there is as before" if target.exists() else "None is made"
    return (
        f"Cannot write {str(target)!r}: expected {wanted}, received "
        f"{received} ({os.strerror(reason)}). {there}. Make room, or choose "
        "a path on another disk"
    )


@contextlib.contextmanager
def _working_folder(parent: Path) -> Iterator[Path]:
    """Make a folder in `parent`, and remove it with what is left in it.

    It is locked until then, or until the process ends; those that are not,
    of processes that were killed, are removed, and so are those of a day ago.
    """
    for left in parent.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError), _opened(left) as descriptor:
            old = time.time() - left.stat().st_mtime > _DAY
            if old or (left.suffix == _SUFFIX and _lock(descriptor)):
                shutil.rmtree(left)
    folder = _temporary(parent)
    new = folder.with_suffix(".new")  # not taken for a left one
    new.mkdir()
    try:
        with _opened(new) as descriptor:
            _lock(descriptor)
            new.rename(folder)
            yield folder
    finally:
        shutil.rmtree(new if new.exists() else folder, ignore_errors=True)


@contextlib.contextmanager
def _opened(folder: Path) -> Iterator[int | None]:
    if fcntl is None:
        yield None
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _lock(descriptor: int | None) -> bool:
    """Whether a lock was to be had: not all systems have any."""
    if descriptor is None:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _temporary(folder: Path) -> Path:
    return folder / f"{_PREFIX}{secrets.token_hex(6)}{_SUFFIX}"


def _sync(path: Path, mode: int) -> None:
    descriptor = os.open(path, mode)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
