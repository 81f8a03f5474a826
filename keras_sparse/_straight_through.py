"""Values from one function, gradients from another, on every backend."""

from __future__ import annotations

from typing import Any

from keras import ops


def straight_through(value: Any, source: Any, slope: Any = 1.0) -> Any:
    """`value` as it is, with the gradient `slope` to `source`.

    Args:
        value: Tensor; nothing flows back through it.
        source: Tensor of its shape, or a scalar.
        slope: Constant factor of the gradient, a number or a tensor that
            broadcasts with `source`.

    Returns:
        A tensor of the shape of `value`, equal to it to the last bit as long
        as `source` is finite.
    """
    # A difference of exactly zero.
    path = ops.stop_gradient(slope) * (source - ops.stop_gradient(source))
    return ops.stop_gradient(value) + path
