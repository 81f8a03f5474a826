"""Saving a sparse model, with a check that it will load as it is."""

from __future__ import annotations

import collections
import contextlib
import math
import os
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from keras_sparse._atomic import atomic_path, check_writable
from keras_sparse._mechanism.layout import distributed
from keras_sparse._mechanism.sparse_layer import attached
from keras_sparse._traversal import walk


def save(model: keras.Model, path: str | os.PathLike) -> None:
    """Saves a model as `.keras`, or refuses where it would reload wrong.

    A model whose own `get_config` rebuilds its layers (every subclassed model,
    every KerasHub backbone) does not tell its config that they are sparse;
    saved as it is, it reloads without a word and without its masks.

    Args:
        model: A model, sparse or plain.
        path: Where to write; ends in `.keras`. A file that is there is
            replaced only once the new one is complete.

    Raises:
        TypeError: If `model` is no model.
        ValueError: If the path has another ending, or the model would lose
            its parametrizations.
        OSError: If the path cannot be written to. What was there stays.

    Example:

    >>> import keras, keras_sparse as ks, tempfile
    >>> model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(4)])
    >>> model = ks.sparsify(model, ks.Mask(), verbose=False)
    >>> ks.save(model, tempfile.mkdtemp() + "/sparse.keras")
    """
    if not isinstance(model, keras.Model):
        raise TypeError(f"Expected a keras.Model. Received: {model!r}.")
    if not str(path).endswith(".keras"):
        raise ValueError(
            f"Expected a path that ends in '.keras'. Received: {str(path)!r}. "
            "Add the ending."
        )
    lost = lost_on_reload(model)
    if lost:
        raise ValueError(remedy_for_reload(model, lost))
    with atomic_path(check_writable(path), _bytes(model)) as temporary:
        # Of a link it has the other name, and Keras takes but one ending.
        named = temporary.with_name("model.keras")
        # What Keras makes while it saves is not spread over processes, so
        # that one of them can save without the others.
        with distributed(None):
            model.save(named)
        os.replace(named, temporary)


def _bytes(model: keras.Model) -> int:
    """What the variables take, the optimizer's too."""
    optimizer = getattr(model, "optimizer", None)
    variables = [*model.variables, *(optimizer.variables if optimizer else [])]
    total = 0
    for each in variables:
        with contextlib.suppress(TypeError):  # NumPy has no such type
            total += math.prod(each.shape) * np.dtype(each.dtype).itemsize
    return total


def lost_on_reload(model: keras.Model) -> list[str]:
    """Paths of sparse layers that the model's config does not mention."""
    sparse = [layer for layer in walk(model) if attached(layer)]
    if not sparse:
        return []
    try:
        config = keras.saving.serialize_keras_object(model)
    except NotImplementedError:  # Keras cannot save it either
        return [layer.path for layer in sparse]
    mentioned = collections.Counter(_sparse_names(config))
    lost = []
    for layer in sparse:
        # A config of the user's own may leave the name out.
        name = layer.name if mentioned[layer.name] else None
        if mentioned[name]:
            mentioned[name] -= 1
        else:
            lost.append(layer.path)
    return lost


def remedy_for_reload(model: keras.Model, lost: list[str]) -> str:
    """What to tell the user about layers that would be lost."""
    return (
        f"Expected the config of {model.name!r} to hold its sparse layers. "
        f"Received one without {', '.join(lost)}: the model rebuilds them "
        "itself, so a saved file would load without their parametrizations. "
        "Call `keras_sparse.strip(model)` before saving; or save with "
        "`model.save_weights(...)`, and later build the model, `sparsify` it "
        "in the same way and call `model.load_weights(...)`."
    )


def _sparse_names(config: Any) -> Iterator[str | None]:
    if isinstance(config, dict):
        inner = config.get("config")
        if isinstance(inner, dict) and "parametrizations" in inner:
            yield inner.get("name")
        for value in config.values():
            yield from _sparse_names(value)
    elif isinstance(config, (list, tuple)):
        for value in config:
            yield from _sparse_names(value)
