"""Batches of whatever data a user holds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras


def pairs_of(data: Any, batch_size: int) -> Iterator[tuple[Any, Any]]:
    """Batches of inputs and targets.

    Args:
        data: (x, y); or batches of such pairs: a list of tuples, a
            `tf.data.Dataset`, or anything else to go through.
        batch_size: Of (x, y); batches stay as they are.

    Raises:
        ValueError: If there are no pairs.
    """
    for batch in _batches(data, batch_size):
        if not isinstance(batch, (tuple, list)) or len(batch) < 2:
            raise ValueError(
                "Expected data=(x, y), or batches of such pairs. Received: "
                f"{type(data).__name__} of {type(batch).__name__}."
            )
        yield batch[0], batch[1]


def inputs_of(data: Any, batch_size: int) -> Iterator[Any]:
    """Batches of inputs; targets beside them are left out.

    Args:
        data: An array; arrays in the structure of the model's inputs; or a
            `tf.data.Dataset` or another iterator of what `fit` takes.
        batch_size: Of arrays; batches stay as they are.
    """
    if _are_arrays(data):
        yield from _cut(data, batch_size)
    else:
        for batch in _through(data):
            yield keras.utils.unpack_x_y_sample_weight(batch)[0]


def _batches(data: Any, batch_size: int) -> Iterator[Any]:
    pairs = isinstance(data, list) and all(isinstance(x, tuple) for x in data)
    if _are_arrays(data) and not pairs:
        return _cut(data, batch_size)
    return _through(data)


def _through(data: Any) -> Iterator[Any]:
    if not hasattr(data, "__iter__"):
        raise ValueError(
            "Expected data as arrays, or as batches of them. Received: "
            f"{type(data).__name__}."
        )
    return iter(data)


def _are_arrays(data: Any) -> bool:
    return isinstance(data, (tuple, list, dict)) or hasattr(data, "shape")


def _cut(arrays: Any, batch_size: int) -> Iterator[Any]:
    size = len(keras.tree.flatten(arrays)[0])
    for start in range(0, size, batch_size):
        part = slice(start, start + batch_size)
        yield keras.tree.map_structure(lambda a, p=part: a[p], arrays)
