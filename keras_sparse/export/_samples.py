"""Arrays, dicts and streams of batches, as one list of checked arrays."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from keras_sparse.export._signature import Signature

Arrays = list[np.ndarray]


def as_samples(
    data: Any, signature: Signature, argument: str, limit: int | None = None
) -> Arrays:
    """Turn what a user passed into one array for each input of a model.

    Args:
        data: an array; a list or tuple with one array for each input; a
            dict by input name; or an iterable of batches of any of these
            (also as `(x, y)`), or a function that returns one.
        signature: the model's inputs.
        argument: the name that errors give to `data`.
        limit: take at most this many samples: evenly spaced ones of
            arrays, the first ones of an iterable.

    Returns:
        Arrays with equal first axes, in the order of the signature.

    Raises:
        ValueError: a name, count, shape, dtype or value does not fit.

    Example:

    >>> from keras_sparse.export._signature import model_signature
    >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    >>> batches = (np.ones((8, 4)) for _ in range(3))
    >>> as_samples(batches, model_signature(model), "inputs")[0].shape
    (24, 4)
    """
    if callable(data) and not _is_array(data):
        data = data()
    whole = _one_batch(data, signature, argument, top=True)
    if whole is not None:
        arrays = _checked(whole, signature, argument)
        if limit is not None and len(arrays[0]) > limit:
            chosen = np.linspace(0, len(arrays[0]) - 1, limit).astype(int)
            arrays = [array[chosen] for array in arrays]
        return arrays
    if not isinstance(data, Iterable) or isinstance(data, (str, bytes)):
        raise ValueError(
            f"{argument}: expected an array, a list of arrays, a dict or an "
            f"iterable of batches, received {type(data).__name__}."
        )
    batches, count = [], 0
    for batch in data:
        flat = _one_batch(batch, signature, argument)
        if flat is None:
            raise ValueError(
                f"{argument}: expected batches of {len(signature.names)} "
                f"array(s), received a {_describe(batch)}. Yield an array, "
                "a tuple of arrays or a dict by input name."
            )
        batches.append(_checked(flat, signature, argument))
        count += len(batches[-1][0])
        if limit is not None and count >= limit:
            break
    if not batches:
        raise ValueError(
            f"{argument}: expected at least one batch, received none. An "
            "iterator that was read once is empty: make a new one."
        )
    joined = [np.concatenate(parts) for parts in zip(*batches, strict=True)]
    return [array[:limit] for array in joined]


def random_samples(
    model: keras.Model, signature: Signature, count: int, seed: int = 0
) -> Arrays:
    """Draw seeded inputs: normal floats, and integers every table holds."""
    sizes = [
        layer.input_dim
        for layer in model._flatten_layers()
        if isinstance(layer, keras.layers.Embedding)
    ]
    top = min(sizes, default=2)
    rng = np.random.default_rng(seed)
    arrays = []
    for shape, dtype in zip(signature.shapes, signature.dtypes, strict=True):
        size = (count, *(length or 1 for length in shape))
        if "float" in dtype:
            arrays.append(rng.standard_normal(size).astype(dtype))
        else:
            arrays.append(rng.integers(0, top, size).astype(dtype))
    return arrays


def batches(arrays: Arrays, size: int) -> Iterator[tuple[Arrays, int]]:
    """Cut arrays into batches of one size, the last filled up.

    Yields:
        The batch, and how many of its rows are samples.
    """
    total = len(arrays[0])
    for start in range(0, total, size):
        count = min(size, total - start)
        rows = np.minimum(np.arange(start, start + size), total - 1)
        yield [array[rows] for array in arrays], count


def _one_batch(
    data: Any, signature: Signature, argument: str, top: bool = False
) -> list[Any] | None:
    """Return one array for each input, or None if `data` is no batch."""
    inputs = len(signature.names)
    if _is_array(data):
        if inputs != 1:
            raise ValueError(
                f"{argument}: expected {inputs} arrays, for the inputs "
                f"{list(signature.keys)}, received one. Pass a list or a "
                "dict by input name."
            )
        return [data]
    if isinstance(data, Mapping):
        return _by_name(data, signature, argument)
    if not isinstance(data, (list, tuple)):
        return None
    if len(data) == inputs and all(map(_is_array, data)):
        return list(data)
    if not top and len(data) in (2, 3):  # (x, y) or (x, y, sample_weight)
        return _one_batch(data[0], signature, argument)
    if top and isinstance(data, tuple) and len(data) == 1:
        return _one_batch(data[0], signature, argument, top)
    return None


def _by_name(
    data: Mapping[str, Any], signature: Signature, argument: str
) -> list[Any]:
    for names in (signature.keys, signature.names):
        if set(names) == set(data):
            return [data[name] for name in names]
    raise ValueError(
        f"{argument}: expected the input names {list(signature.keys)}, "
        f"received {list(data)}."
    )


def _checked(
    values: Sequence[Any], signature: Signature, argument: str
) -> Arrays:
    arrays = []
    for value, key, shape, dtype in zip(
        values,
        signature.keys,
        signature.shapes,
        signature.dtypes,
        strict=True,
    ):
        where = f"{argument}, input {key!r}"
        array = np.asarray(value)
        wanted = ("n", *("any" if size is None else size for size in shape))
        if array.ndim != len(wanted) or any(
            size not in (None, got)
            for size, got in zip(shape, array.shape[1:], strict=True)
        ):
            raise ValueError(
                f"{where}: expected shape {_show(wanted)}, received "
                f"{_show(array.shape)}. The first axis counts samples."
            )
        if array.dtype.kind not in "fiub":
            raise ValueError(
                f"{where}: expected numbers, received {array.dtype}."
            )
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise ValueError(
                f"{where}: expected finite numbers, received NaN or "
                "infinity. Clean the data first."
            )
        if dtype == "?":
            dtype = "float32" if array.dtype.kind == "f" else str(array.dtype)
        arrays.append(np.ascontiguousarray(array, dtype))
    counts = {len(array) for array in arrays}
    if len(counts) > 1 or 0 in counts:
        raise ValueError(
            f"{argument}: expected the same number of samples, at least "
            f"one, for every input, received "
            f"{[len(array) for array in arrays]}."
        )
    return arrays


def _is_array(value: Any) -> bool:
    return hasattr(value, "shape") and hasattr(value, "__array__")


def _describe(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return f"{type(value).__name__} of {len(value)}"
    return type(value).__name__


def _show(shape: Sequence[Any]) -> str:
    return f"({', '.join(map(str, shape))}{',' * (len(shape) == 1)})"
