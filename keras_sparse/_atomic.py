"""Write a file whole or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path


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
        probe = _temporary(folder)
        probe.open("xb").close()
        probe.unlink()
    except OSError as error:
        raise OSError(  # of the subclass that the number stands for
            error.errno,
            f"Cannot write {str(path)!r}: expected a folder that can be "
            f"written to, received {str(folder)!r} ({error.strerror}). "
            "Choose another path, or free the space, or change permissions",
        ) from error
    return target


@contextlib.contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Give a temporary path that becomes `target` when the block ends well.

    The bytes are on the disk before the name changes. After an exception
    the file that was at `target` is as before, and the temporary one gone.

    Args:
        target: the path to write, in an existing folder.

    Yields:
        The path to write to, in the folder of `target`.

    Example:

    >>> import pathlib, tempfile
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> with atomic_path(folder / "a.txt") as path:
    ...     _ = path.write_text("whole")
    >>> [file.name for file in folder.iterdir()]
    ['a.txt']
    """
    temporary = _temporary(target.parent)
    try:
        yield temporary
        _sync(temporary)
        if target.exists():
            shutil.copymode(target, temporary)
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    with contextlib.suppress(OSError):  # not every system opens folders
        _sync(target.parent)


def _temporary(folder: Path) -> Path:
    return folder / f".keras_sparse-{secrets.token_hex(6)}.tmp"


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
