"""Arrays and what is known of them in one file, with nothing executable."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from keras_sparse._atomic import atomic_path, check_writable

T = TypeVar("T")

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
    text = json.dumps(header, default=_number)
    needed = sum(each.nbytes for each in arrays.values())
    with atomic_path(path, needed) as temporary, open(temporary, "wb") as file:
        np.savez(file, header=np.array(text), **arrays)


def read_archive(
    path: str | os.PathLike,
    kind: str,
    make: Callable[[Any, dict[str, list[NDArray]]], T],
) -> T:
    """Reads what `write_archive` wrote.

    Args:
        path: Of the file.
        kind: What it should be.
        make: From the JSON value and the groups to what is returned; raises
            where they do not belong together.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no such file, or of another kind.
    """
    try:
        # Opened here, for NumPy leaves a damaged file open.
        with (
            open(path, "rb") as opened,
            np.load(opened, allow_pickle=False) as file,
        ):
            header = json.loads(str(file["header"]))
            if header["format"] != _FORMAT:
                raise ValueError(f"its format is {header['format']!r}")
            if header["kind"] != kind:
                raise ValueError(f"it is a {header['kind']}")
            groups = {
                group: [
                    _unpacked(file[f"{group}.{index}"], shape)
                    for index, shape in enumerate(shapes)
                ]
                for group, shapes in header["groups"].items()
            }
            return make(header["state"], groups)
    except FileNotFoundError:
        raise
    except Exception as error:  # zipfile and NumPy raise many kinds
        raise ValueError(
            f"Expected a {kind} of keras_sparse at {str(path)!r}. Received a "
            f"file that cannot be read as one: {error!r}. Find it again, or "
            "delete the file to start over."
        ) from error


def _number(value: Any) -> Any:
    """A number or array of NumPy as JSON can hold it."""
    if isinstance(value, (np.generic, np.ndarray)):
        return value.tolist()
    raise ValueError(
        "Expected numbers, text, and lists and dicts of them. Received: "
        f"{value!r}. Write it as text."
    )


def _unpacked(stored: NDArray, shape: list[int] | None) -> NDArray:
    if shape is None:
        return stored
    size = int(np.prod(shape))
    if stored.size != -(-size // 8):
        raise ValueError("a mask has not the size of its shape")
    return np.unpackbits(stored, count=size).astype(bool).reshape(shape)
