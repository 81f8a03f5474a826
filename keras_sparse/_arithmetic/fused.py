"""One pass over a large tensor, where its operations one by one take several.

TensorFlow writes what each operation returns to memory of its own; XLA
computes a chain of them entry by entry, and a variable in its place.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import keras

# Below so many entries starting XLA costs more than the passes.
_WORTH_IT = 2**17


def fused(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, compiled where that pays.

    That is on TensorFlow without accelerators, which do the same by
    themselves, or lack the tools that XLA needs there.

    Args:
        function: From tensors to what is computed of each entry alone. The
            first tensor tells the size.
    """

    @functools.wraps(function)
    def call(first: Any, *others: Any) -> Any:
        if not _pays(first.shape):
            return function(first, *others)
        return _compiled(function, tuple(first.shape))(first, *others)

    return call


def update(
    variable: keras.Variable, function: Callable[..., Any], *others: Any
) -> None:
    """`variable.assign(function(variable, *others))`, in place where it pays.

    Args:
        variable: A variable that holds a value already.
        function: As for `fused`.
        *others: Further tensors.
    """
    if _pays(variable.shape):
        import tensorflow as tf

        if not isinstance(variable.value, tf.distribute.DistributedValues):
            update_in_place = _compiled_update(function, tuple(variable.shape))
            update_in_place(variable.value, *others)
            return
    value = keras.ops.convert_to_tensor(variable)
    variable.assign(function(value, *others))


@functools.cache
def _compiled(
    function: Callable[..., Any], shape: tuple[int, ...]
) -> Callable[..., Any]:
    """One for each shape: TensorFlow warns of one function with many."""
    import tensorflow as tf

    return tf.function(function, autograph=False, jit_compile=True)


@functools.cache
def _compiled_update(
    function: Callable[..., Any], shape: tuple[int, ...]
) -> Callable[..., None]:
    def assign(variable: Any, *others: Any) -> None:
        variable.assign(function(variable, *others))

    return _compiled(assign, shape)


def _pays(shape: Any) -> bool:
    if keras.backend.backend() != "tensorflow":
        return False
    import tensorflow as tf

    size = tf.TensorShape(shape).num_elements()
    kinds = {each.device_type for each in tf.config.list_logical_devices()}
    large = size is not None and size >= _WORTH_IT
    return large and kinds == {"CPU"} and _has_xla()


@functools.cache
def _has_xla() -> bool:
    """Whether this build of TensorFlow compiles."""
    import tensorflow as tf

    identity = tf.function(lambda x: x, autograph=False, jit_compile=True)
    try:
        with tf.init_scope():
            identity(tf.zeros(()))
    except (tf.errors.OpError, ValueError):
        return False
    return True
