"""Variables that lie on devices as the weight they belong to."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import keras

from keras_sparse import _surgery


class LayoutLike:
    """What Keras asks a `keras.distribution` while it creates variables.

    New variables of the shape of one that is there are sharded as it is, all
    others are replicated, so that no map from paths to layouts need know of
    either.

    Args:
        variable: The variable to follow, which has a layout.
    """

    def __init__(self, variable: keras.Variable) -> None:
        self.variable = variable

    def get_variable_layout(self, variable: keras.Variable) -> Any:
        if variable.shape == self.variable.shape:
            return _surgery.layout_of(self.variable)
        from jax import sharding

        layout = _surgery.layout_of(self.variable)
        layout = getattr(layout, "backend_layout", layout)
        return sharding.NamedSharding(layout.mesh, sharding.PartitionSpec())

    def get_tensor_layout(self, path: str) -> None:
        """No output of a layer is moved."""


def laid_out_like(
    variable: keras.Variable,
) -> contextlib.AbstractContextManager[None]:
    """While entered, new variables are on the devices of this one."""
    on_devices = _surgery.layout_of(variable) is not None
    return distributed(LayoutLike(variable) if on_devices else None)


@contextlib.contextmanager
def distributed(distribution: Any) -> Iterator[None]:
    """While entered, this is the distribution, or there is none."""
    before = keras.distribution.distribution()
    keras.distribution.set_distribution(distribution)
    try:
        yield
    finally:
        keras.distribution.set_distribution(before)
