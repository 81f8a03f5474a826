"""Values from one function, gradients from another, on every backend."""

from __future__ import annotations

from typing import Any

from keras import ops


def straight_through(value: Any, *paths: tuple[Any, Any]) -> Any:
    """`value` as it is, with gradients of its own choice.

    Args:
        value: Tensor; nothing flows back through it.
        *paths: Pairs of a source and its slope: the gradient of the source is
            that of the result times the slope, summed where the source is a
            scalar. A source is a tensor of the value's shape or a scalar; a
            slope is a number or a tensor that broadcasts with the value.

    Returns:
        A tensor equal to `value`.
    """
    sources = [source for source, _ in paths]
    slopes = [
        ops.stop_gradient(ops.cast(slope, value.dtype)) for _, slope in paths
    ]
    return _passed(ops.stop_gradient(value), *sources, *slopes)


@ops.custom_gradient
def _passed(value: Any, *tensors: Any) -> tuple[Any, Any]:
    half = len(tensors) // 2
    sources, slopes = tensors[:half], tensors[half:]

    def gradient(*args: Any, upstream: Any = None) -> tuple[Any, ...]:
        if upstream is None:
            (upstream,) = args
        gradients = [upstream * slope for slope in slopes]
        for number, source in enumerate(sources):
            if len(source.shape) == 0:
                gradients[number] = ops.sum(gradients[number])
        constants = [ops.zeros_like(each) for each in (value, *slopes)]
        return constants[0], *gradients, *constants[1:]

    return value, gradient
