"""Variables: their values before autocasting, and where they live."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
from keras.src.backend.common.variables import AutocastScope

_FLOATS_BELOW_32_BITS = ("float16", "bfloat16")


def read(variable: keras.Variable) -> Any:
    """The variable as a tensor of at least float32, before any autocast."""
    with AutocastScope(None):
        value = variable.value
    if keras.backend.backend() == "tensorflow":
        # To Keras a tf.Variable is a tensor already, of which each use would
        # be another reading.
        import tensorflow as tf

        value = tf.convert_to_tensor(value)
    if keras.backend.standardize_dtype(value.dtype) in _FLOATS_BELOW_32_BITS:
        value = keras.ops.cast(value, "float32")
    return value


def to_numpy(value: Any) -> np.ndarray:
    """A tensor as an array to read from, without a copy where that works.

    Where processes of JAX hold parts of it, each gets all: all have to ask.
    """
    if keras.backend.backend() == "tensorflow":
        return np.asarray(value)
    if not (
        getattr(value, "is_fully_addressable", True)
        or value.is_fully_replicated
    ):
        from jax.experimental import multihost_utils

        return multihost_utils.process_allgather(value, tiled=True)
    return keras.ops.convert_to_numpy(value)


def compute_dtype(owner: keras.layers.Layer, variable: keras.Variable) -> str:
    """The dtype in which `owner` sees `variable` while it is called."""
    return owner.compute_dtype if variable._autocast else variable.dtype


@contextlib.contextmanager
def creation_scope(path: str, beside: keras.Variable) -> Iterator[None]:
    """Where to create variables of the layer at `path`, such as `beside`.

    Opens the name scope part by part, and the scope of the distribution
    strategy that `beside` was created in, if any.
    """
    strategy = getattr(beside.value, "distribute_strategy", None)
    with contextlib.ExitStack() as stack:
        if strategy is not None:
            stack.enter_context(strategy.scope())
        for part in path.split("/"):
            stack.enter_context(keras.name_scope(part))
        yield


def layout_of(variable: keras.Variable) -> Any:
    """How a `keras.distribution` lays the variable out, if there is one."""
    return getattr(variable, "_layout", None)  # on JAX alone before Keras 3.15
