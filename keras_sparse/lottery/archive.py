"""Arrays and what is known of them in one file, with nothing executable."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keras_sparse._atomic import atomic_path, check_writable

_FORMAT = "keras_sparse.lottery/1"


def check_archive_path(path: str | os.PathLike) -> Path:
    """The path to write to, if it ends in `.npz` and its folder takes files."""
    if not str(path).endswith(".npz"):
        raise ValueError(
            f"Expected a path that ends in '.npz'. Received: {str(path)!r}. "
            "Add the ending."
        )
    return check_writable(path)


def write_archive(
    path: Path, kind: str, state: Any, groups: dict[str, Sequence[NDArray]]
) -> None:
    """Writes groups of arrays and a JSON value, whole or not at all.

    Args:
        path: From `check_archive_path`.
        kind: What it is, `"ticket"` or `"search"`.
        state: What JSON can hold.
        groups: Lists of arrays by name. Booleans take a bit each.
    """
    header: dict[str, Any] = {
        "format": _FORMAT,
        "kind": kind,
        "state": state,
        "groups": {},
    }
    arrays: dict[str, Any] = {}
    for group, members in groups.items():
        shapes = []
        for index, array in enumerate(members):
            packed = array.dtype == bool
            shapes.append(list(array.shape) if packed else None)
            stored = np.packbits(array) if packed else array
            arrays[f"{group}.{index}"] = stored
        header["groups"][group] = shapes
    needed = sum(each.nbytes for each in arrays.values())
    with atomic_path(path, needed) as temporary, open(temporary, "wb") as file:
        np.savez(file, header=np.array(json.dumps(header)), **arrays)


def read_archive(
    path: str | os.PathLike, kind: str
) -> tuple[Any, dict[str, list[NDArray]]]:
    """Reads what `write_archive` wrote.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no such file, or of another kind.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            header = json.loads(str(file["header"]))
            if header["format"] != _FORMAT:
                raise ValueError(f"its format is {header['format']!r}")
            groups = {
                group: [
                    _unpacked(file[f"{group}.{index}"], shape)
                    for index, shape in enumerate(shapes)
                ]
                for group, shapes in header["groups"].items()
            }
    except FileNotFoundError:
        raise
    except (
        OSError,
        EOFError,
        KeyError,
        TypeError,
        ValueError,
        AttributeError,
        zipfile.BadZipFile,
    ) as error:
        raise ValueError(
            f"Expected a {kind} of keras_sparse at {str(path)!r}. Received a "
            f"file that cannot be read as one: {error}. Find it again, or "
            "delete the file to start over."
        ) from error
    if header["kind"] != kind:
        raise ValueError(
            f"Expected a {kind} of keras_sparse at {str(path)!r}. Received a "
            f"{header['kind']}. Name another path."
        )
    return header["state"], groups


def _unpacked(stored: NDArray, shape: list[int] | None) -> NDArray:
    if shape is None:
        return stored
    size = int(np.prod(shape))
    if stored.size != -(-size // 8):
        raise ValueError("a mask has not the size of its shape")
    return np.unpackbits(stored, count=size).astype(bool).reshape(shape)
