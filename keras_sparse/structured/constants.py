"""Which channels have the same value everywhere, whatever the input is.

A channel whose kernel is zero is its bias; behind BatchNorm and an activation
it is another constant. Values are followed through the calls that `follow`
found; NaN stands for a channel that varies.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from keras_sparse import _surgery
from keras_sparse.structured.activations import mixes_channels
from keras_sparse.structured.signals import Call, Mix, Signal
from keras_sparse.structured.tracing import Trace
from keras_sparse.structured.values import Values


class Constants:
    """The constant channels of every signal, and what every kernel reads.

    Args:
        trace: What `follow` found out.
        values: The weights.
        folded: Ids of scale layers whose scale is in the weights already.
    """

    def __init__(
        self, trace: Trace, values: Values, folded: Collection[int] = ()
    ) -> None:
        self.trace, self.values, self.folded = trace, values, folded
        self._of: dict[int, NDArray] = {}
        self._read: dict[int, NDArray] = {}

    def at(self, signal: Signal) -> NDArray:
        """The value of each channel of a signal, NaN where it varies."""
        known = self._of.get(id(signal))
        if known is not None:
            return known
        return varying(signal)

    def put(self, signal: Signal, value: NDArray) -> None:
        """Sets the value of each channel of a signal."""
        self._of[id(signal)] = value

    def read(self, mix: Mix) -> NDArray:
        """The value of each channel that a kernel reads, in all its calls."""
        known = self._read.get(id(mix))
        return np.full(len(mix.in_ids), np.nan) if known is None else known

    def reads(self, mix: Mix, value: NDArray) -> None:
        """Notes what a kernel reads in one of its calls."""
        if len(value) != len(mix.in_ids):
            value = np.full(len(mix.in_ids), np.nan)
        before = self._read.get(id(mix))
        if before is not None:
            value = np.where(before == value, value, np.nan)
        self._read[id(mix)] = value

    def linear(self, mix: Mix, value: NDArray) -> NDArray:
        """The sums of a kernel and its bias, where they do not vary."""
        self.reads(mix, value)
        if len(value) != len(mix.in_ids):
            return np.full(len(mix.out_ids), np.nan)
        known = np.isfinite(value)
        if not mix.takes_constants:
            known &= value == 0
        kernel = mix.matrix(self.values[mix.kernel])
        used = mix.spread((kernel != 0).any(axis=1))
        fixed = ~used[~known].any(axis=0)
        total = np.full(len(mix.out_ids), np.nan)
        if not fixed.any():
            return total
        bias = np.zeros(1)
        if mix.bias is not None:
            bias = self.values[mix.bias].ravel()[: len(mix.out_ids)]
        sums = weighted(mix, kernel, np.where(known, value, 0))
        return np.where(fixed, sums + bias, np.nan)


def weighted(mix: Mix, kernel: NDArray, inputs: NDArray) -> NDArray:
    """What constant inputs add to each output of a kernel."""
    used = np.flatnonzero(inputs)
    if mix.blocks == 1:
        return inputs[used] @ kernel[used].sum(axis=1, dtype="float64")
    return inputs @ mix.spread(kernel.sum(axis=1, dtype="float64"))


def varying(signal: Signal) -> NDArray:
    """Nothing is known of a signal's channels."""
    size = 0 if signal.ids is None else len(signal.ids)
    return np.full(size, np.nan)


def activated(activation: Any, value: NDArray) -> NDArray:
    """An activation of constants."""
    known = np.isfinite(value)
    if not known.any() or activation is None:
        return value
    if mixes_channels(activation):
        return np.full_like(value, np.nan)
    inputs = keras.ops.convert_to_tensor(
        np.where(known, value, 0).astype("float32")
    )
    outputs = np.asarray(_surgery.to_numpy(activation(inputs)), dtype="float64")
    return np.where(known, outputs, np.nan)


def evaluated(
    call: Call, values: Sequence[NDArray], zero_wins: bool = False
) -> NDArray:
    """Calls a layer that works entry by entry on the constants themselves."""
    output = call.outputs[0]
    if output.ids is None:
        return varying(output)
    tensors, unknown, zero = {}, np.zeros(1, bool), np.zeros(1, bool)
    for tensor, signal, value in zip(
        call.node.input_tensors, call.inputs, values, strict=True
    ):
        if signal.axis != output.axis:
            value = np.full(1, np.nan)
        shape = [1] * len(signal.shape)
        if output.axis is not None and signal.axis == output.axis:
            shape[output.axis] = len(value)
        unknown = unknown | np.isnan(value)
        zero = zero | (value == 0)
        tensors[id(tensor)] = keras.ops.convert_to_tensor(
            np.nan_to_num(value).reshape(shape).astype("float32")
        )
    if zero_wins:
        unknown = unknown & ~zero
    if unknown.all():
        return varying(output)
    args, kwargs = call.node.arguments.fill_in(tensors)
    result = _surgery.to_numpy(call.operation(*args, **kwargs)).ravel()
    if result.size != len(output.ids):
        return varying(output)
    return np.where(unknown, np.nan, result.astype("float64"))


# From a call, with what is known of its inputs, to what is known of its
# outputs; the rules are in `constant_rules.py` and `constant_kernels.py`.
ConstantRule = Callable[[Constants, Call], list[NDArray]]

_RULES: dict[type, ConstantRule] = {}


def constants_through(
    *classes: type,
) -> Callable[[ConstantRule], ConstantRule]:
    """Makes a function the rule of layer classes and their subclasses."""

    def register(rule: ConstantRule) -> ConstantRule:
        for each in classes:
            _RULES[each] = rule
        return rule

    return register


def constant_rule(operation: Any) -> ConstantRule | None:
    """The rule of the nearest class in the ancestry, if any."""
    for ancestor in type(operation).__mro__:
        if ancestor in _RULES:
            return _RULES[ancestor]
    return None


def nothing_known(found: Constants, call: Call) -> list[NDArray]:
    """Whatever comes out varies, and what kernels read varies."""
    for mix in found.trace.mixes.get(id(call.operation), []):
        found.reads(mix, np.full(len(mix.in_ids), np.nan))
    return [varying(signal) for signal in call.outputs]
