"""Operations of `keras.ops` in a graph, such as `x + y` and `x * 2`."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from keras_sparse.structured.rules import follows_named, halt
from keras_sparse.structured.rules_pointwise import elementwise
from keras_sparse.structured.signals import Call, Signal
from keras_sparse.structured.tracing import Trace


@follows_named(
    *("Add", "Subtract", "Multiply", "Divide", "TrueDivide", "Maximum"),
    *("Minimum", "Power", "Absolute", "Abs", "Negative", "Square", "Sqrt"),
    *("Rsqrt", "Exp", "Expm1", "Log", "Log1p", "Sin", "Cos", "Tanh", "Clip"),
    *("Relu", "Relu6", "Sigmoid", "Softplus", "Softsign", "Silu", "Elu"),
    *("Selu", "Gelu", "Celu", "LeakyRelu", "HardSigmoid", "HardSilu", "Erf"),
    *("LogSigmoid", "SoftShrink", "HardShrink", "HardTanh", "TanhShrink"),
    *("Threshold", "Squareplus", "Sign", "Floor", "Ceil", "Round", "Copy"),
    *("Reciprocal", "Cast"),
)
def arithmetic(trace: Trace, call: Call) -> list[Signal]:
    """Elementwise; an array among the arguments fixes the channels."""
    arguments = call.node.arguments
    for value in keras.tree.flatten((arguments.args, arguments.kwargs)):
        if not isinstance(value, keras.KerasTensor) and _is_array(value):
            return halt(trace, call, "a constant array is one of its inputs")
    return elementwise(trace, call)


def _is_array(value: Any) -> bool:
    if value is None or isinstance(value, (str, bool, int, float)):
        return False
    return np.size(value) > 1 or keras.ops.is_tensor(value)


@follows_named("Mean", "Max", "Min", "Sum", "Amax", "Amin")
def reduction(trace: Trace, call: Call) -> list[Signal]:
    """A reduction over other axes than the channels'."""
    signal, shape = call.inputs[0], call.shapes()[0]
    if signal.axis is None:
        return [Signal(shape)]
    axis = call.operation.axis
    rank = len(signal.shape)
    axes = range(rank) if axis is None else np.atleast_1d(axis) % rank
    if signal.axis in axes or 0 in axes:
        return halt(trace, call, "it reduces the channels")
    if call.operation.keepdims:
        return [signal.moved(shape)]
    before = sum(1 for a in axes if a < signal.axis)
    return [signal.moved(shape, signal.axis - before)]


@follows_named("GetItem")
def get_item(trace: Trace, call: Call) -> list[Signal]:
    """Indexing of other axes than the channels'."""
    signal, shape = call.inputs[0], call.shapes()[0]
    key = call.argument("key", 1)
    key = key if isinstance(key, tuple) else (key,)
    plain = all(isinstance(each, (int, slice)) for each in key)
    if signal.axis is None:
        return [Signal(shape)]
    touched = len(key) > signal.axis and key[signal.axis] != slice(None)
    if not plain or touched:
        return halt(trace, call, "it indexes the channels")
    dropped = sum(
        1 for each in key[: signal.axis] if not isinstance(each, slice)
    )
    return [signal.moved(shape, signal.axis - dropped)]


@follows_named("Transpose")
def transpose(trace: Trace, call: Call) -> list[Signal]:
    """The channels' axis moves."""
    signal, shape = call.inputs[0], call.shapes()[0]
    if signal.axis is None:
        return [Signal(shape)]
    axes = call.operation.axes or tuple(reversed(range(len(shape))))
    return [signal.moved(shape, list(axes).index(signal.axis))]
