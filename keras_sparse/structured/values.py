"""The weights of a model as arrays that can be changed without changing it."""

from __future__ import annotations

import keras
import numpy as np
from numpy.typing import NDArray

from keras_sparse import _surgery
from keras_sparse.structured.tracing import Axis, Trace


class Values:
    """Weights by variable; what is set here stays here.

    `biases` holds the biases of layers that had none, by the layer's id.
    """

    def __init__(self) -> None:
        self._changed: dict[int, NDArray] = {}
        self.biases: dict[int, NDArray] = {}

    def __getitem__(self, variable: keras.Variable) -> NDArray:
        changed = self._changed.get(id(variable))
        return _read(variable) if changed is None else changed

    def __setitem__(self, variable: keras.Variable, value: NDArray) -> None:
        self._changed[id(variable)] = value

    def copy(self) -> Values:
        """Values that can be changed apart from these."""
        other = Values()
        other._changed.update(self._changed)
        other.biases.update(self.biases)
        return other

    def scale(self, axis: Axis, factors: NDArray) -> None:
        """Multiplies what lies along an axis, index by index."""
        value = self[axis.variable]
        along = [1] * value.ndim
        along[axis.axis] = -1
        self[axis.variable] = value * factors.reshape(along).astype(value.dtype)


def _read(variable: keras.Variable) -> NDArray:
    return _surgery.to_numpy(variable.value)


def sliced(
    trace: Trace, variable: keras.Variable, value: NDArray, kept: NDArray
) -> NDArray:
    """What is left of a weight when only the kept channels stay."""
    for axis in range(value.ndim):
        held = trace.axes.get((id(variable), axis))
        if held is not None and not kept[held.ids].all():
            value = np.compress(kept[held.ids], value, axis=axis)
    return value
