"""Batches of whatever data a user holds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras


def pairs_of(data: Any, batch_size: int) -> Iterator[tuple[Any, Any]]:
    """Batches of inputs and targets.

    Args:
        data: (x, y); or batches of such pairs: a list of tuples or lists, a
            `tf.data.Dataset`, or anything else to go through once.
        batch_size: Of (x, y); batches stay as they are.

    Raises:
        ValueError: If there are no pairs.
    """
    cut = not _are_batches(data)
    batches = _cut(data, batch_size) if cut else _through(data)
    for batch in _one_at_least(batches):
        if not isinstance(batch, (tuple, list)) or len(batch) < 2:
            raise ValueError(
                "Expected data=(x, y), or batches of such pairs. Received: "
                f"{type(data).__name__} of {type(batch).__name__}."
            )
        yield batch[0], batch[1]


def inputs_of(data: Any, batch_size: int) -> Iterator[Any]:
    """Batches of inputs; targets beside them are left out.

    Args:
        data: An array; a list or dict of arrays, one for each input of the
            model; or a `tf.data.Dataset` or another iterator of what `fit`
            takes.
        batch_size: Of arrays; batches stay as they are.

    Raises:
        ValueError: If there is nothing in it.
    """
    if isinstance(data, _STRUCTURES) or hasattr(data, "shape"):
        yield from _one_at_least(_cut(data, batch_size))
        return
    for batch in _one_at_least(_through(data)):
        yield keras.utils.unpack_x_y_sample_weight(batch)[0]


_STRUCTURES = (tuple, list, dict)


def _are_batches(data: Any) -> bool:
    """Whether data is a list of pairs, or something to go through."""
    if isinstance(data, list):
        return all(isinstance(each, (tuple, list)) for each in data)
    return not (isinstance(data, _STRUCTURES) or hasattr(data, "shape"))


def _through(data: Any) -> Iterator[Any]:
    if not hasattr(data, "__iter__"):
        raise ValueError(
            "Expected data as arrays, or as batches of them. Received: "
            f"{type(data).__name__}."
        )
    return iter(data)


def _one_at_least(batches: Iterator[Any]) -> Iterator[Any]:
    """The batches; an error where there is none."""
    empty = True
    for batch in batches:
        empty = False
        yield batch
    if empty:
        raise ValueError(
            "Expected at least one batch. Received data without any. An "
            "iterator can be read only once: pass a list or an array."
        )


def _cut(arrays: Any, batch_size: int) -> Iterator[Any]:
    size = min(map(len, keras.tree.flatten(arrays)), default=0)
    for start in range(0, size, batch_size):
        part = slice(start, start + batch_size)
        yield keras.tree.map_structure(lambda a, p=part: a[p], arrays)
