"""A table of what a model or a .tflite file holds, and how sparse it is."""

from __future__ import annotations

import math
import os
from typing import Any

import keras
import numpy as np

from keras_sparse import _surgery, adapters
from keras_sparse._mechanism.sparse_layer import attached, final
from keras_sparse._traversal import walk
from keras_sparse.macs import uses
from keras_sparse.parametrizations import Feather, Mask
from keras_sparse.weight_table import Summary, WeightRow

_SET_BY: dict[type, str] = {
    Mask: "Prune(schedule)",
    Feather: "Threshold(schedule)",
}


def summary(model: keras.layers.Layer | str | os.PathLike) -> Summary:
    """Sparsity, parameters, multiply-accumulates and bytes, weight by weight.

    Parametrized weights are counted as they are used, not as they are stored.

    Args:
        model: A built model, or the path of a `.keras` or `.tflite` file.

    Returns:
        A `Summary`; print it for the table.

    Raises:
        ValueError: If the model is not built, or the file is neither kind or
            damaged.
        FileNotFoundError: If there is no such file.

    Example:

    >>> import keras, keras_sparse as ks
    >>> model = keras.Sequential([keras.Input((10,)), keras.layers.Dense(10)])
    >>> ks.summary(ks.prune(model, 0.5)).total.nonzeros
    50
    """
    if isinstance(model, (str, os.PathLike)):
        return _summary_of_file(os.fspath(model))
    if not model.built:
        raise ValueError(
            f"Expected a built model. Received {model.name!r}, which has no "
            "weights yet. Call it once, or `model.build(input_shape)`."
        )
    rows = []
    for layer in walk(model):
        rows += _rows_of(layer)
    notes = filter(None, (_still_dense(model, rows), _without_macs(model)))
    return Summary(model.name, tuple(rows), " ".join(notes) or None)


def model_macs(model: keras.layers.Layer) -> int | None:
    """Multiply-accumulates per example of all weights.

    Args:
        model: A built model.

    Returns:
        The sum, `None` where the use of a weight is not known.
    """
    macs = _macs(model)
    known = [each for each in macs if each is not None]
    return sum(known) if known and len(known) == len(macs) else None


def _macs(model: keras.layers.Layer) -> list[int | None]:
    """Multiply-accumulates of each weight that multiplies."""
    return [
        _times(uses(layer, slot), slot.weight(layer))
        for layer in walk(model)
        if layer.built
        for slot in adapters.slots_of(layer)
    ]


def _times(count: int | None, raw: keras.Variable) -> int | None:
    return None if count is None else count * math.prod(raw.shape)


def _without_macs(model: keras.layers.Layer) -> str | None:
    """How many weights the sum of multiply-accumulates leaves out."""
    unknown = _macs(model).count(None)
    if not unknown:
        return None
    return (
        f"MACs without {unknown} of the weights, whose layers do not say how "
        "large their inputs are."
    )


def _rows_of(layer: keras.layers.Layer) -> list[WeightRow]:
    rows, counted = [], set()
    for slot in adapters.slots_of(layer) if layer.built else ():
        raw: Any = slot.weight(layer)
        each = attached(layer).get(slot.name)
        value = final(each, each.parametrization(layer)) if each else raw
        rows.append(
            _row(
                f"{_path(layer)}/{slot.name}",
                layer,
                raw,
                value,
                uses(layer, slot),
            )
        )
        counted.add(id(raw))
    below = layer.weights if rows else _surgery.own_variables(layer)
    others = [
        v
        for v in below
        if id(v) not in counted
        and "float" in v.dtype
        and not _is_state(layer, v)
    ]
    return rows + [
        _row(f"{_path(layer)}/{v.name}", layer, v, v, None) for v in others
    ]


def _still_dense(
    model: keras.layers.Layer, rows: list[WeightRow]
) -> str | None:
    """What sets the zeros of weights that wait for them, if all do."""
    dense = {row.name for row in rows if row.nonzeros == row.parameters}
    waiting: set[type] = set()
    for layer in walk(model):
        for name, each in attached(layer).items():
            kind = type(each.parametrization(layer))
            if kind not in _SET_BY or f"{_path(layer)}/{name}" not in dense:
                return None
            waiting.add(kind)
    named = [kind for kind in _SET_BY if kind in waiting]
    return (
        " ".join(
            f"{kind.__name__} has set no zero yet: in `fit` "
            f"callbacks.{_SET_BY[kind]} does."
            for kind in named
        )
        or None
    )


def _is_state(layer: keras.layers.Layer, variable: keras.Variable) -> bool:
    """Whether the variable belongs to a parametrization of the layer."""
    return any(
        variable is own
        for each in attached(layer).values()
        for own in each.parametrization(layer).variables
    )


def _row(
    name: str, layer: Any, raw: keras.Variable, value: Any, macs: int | None
) -> WeightRow:
    parameters = math.prod(raw.shape)
    array = keras.ops.convert_to_numpy(value)
    return WeightRow(
        name=name,
        kind=type(layer).__name__,
        shape=tuple(raw.shape),
        parameters=parameters,
        nonzeros=int(np.count_nonzero(array)),
        macs=_times(macs, raw),
        size=parameters * array.dtype.itemsize,
    )


def _path(layer: keras.layers.Layer) -> str:
    return layer.path or layer.name


def _summary_of_file(path: str) -> Summary:
    if not os.path.exists(path):
        raise FileNotFoundError(f"Expected a model file. There is no {path!r}.")
    if path.endswith(".keras"):
        return summary(keras.saving.load_model(path, compile=False))
    if path.endswith(".tflite"):
        from keras_sparse.export.flatbuffer.tflite_file import read_tflite

        return read_tflite(path).summary()
    raise ValueError(f"Expected a .keras or .tflite file. Received: {path!r}.")
