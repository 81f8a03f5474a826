"""How constants pass through each kind of layer."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from keras import layers
from numpy.typing import NDArray

from keras_sparse.structured import constant_kernels
from keras_sparse.structured.constants import (
    ConstantRule,
    Constants,
    activated,
    constant_rule,
    constants_through,
    evaluated,
    nothing_known,
    varying,
)
from keras_sparse.structured.rules import rule_of
from keras_sparse.structured.rules_operations import arithmetic
from keras_sparse.structured.rules_pointwise import elementwise, shape_at
from keras_sparse.structured.scales import activation_of, scaled_axis
from keras_sparse.structured.signals import Call
from keras_sparse.structured.tracing import Trace
from keras_sparse.structured.values import Values

# Imported for the rules that it registers.
RULES = (constant_kernels,)


def constants_of(
    trace: Trace, values: Values, folded: Collection[int] = ()
) -> Constants:
    """Follows constants through all calls of a model."""
    found = Constants(trace, values, folded)
    for call in trace.calls:
        for signal, value in zip(
            call.outputs, _rule(call)(found, call), strict=False
        ):
            if signal.ids is not None and len(value) == len(signal.ids):
                found.put(signal, value)
    return found


def _rule(call: Call) -> ConstantRule:
    if call.operation is None:
        return _same
    if call.node.arguments.kwargs.get("training"):
        return nothing_known
    if callable(getattr(call.operation, "channel_scale", None)):
        return _scaled
    rule = constant_rule(call.operation)
    if rule is not None:
        return rule
    if type(call.operation).__name__ == "Concatenate":
        return _concatenated
    if call.gather is not None:
        return _gathered
    if rule_of(call.operation) in (elementwise, arithmetic):
        return _elementwise
    return nothing_known


@constants_through(
    layers.MaxPooling1D,
    layers.MaxPooling2D,
    layers.MaxPooling3D,
    layers.GlobalAveragePooling1D,
    layers.GlobalAveragePooling2D,
    layers.GlobalAveragePooling3D,
    layers.GlobalMaxPooling1D,
    layers.GlobalMaxPooling2D,
    layers.GlobalMaxPooling3D,
    layers.Cropping1D,
    layers.Cropping2D,
    layers.Cropping3D,
    layers.UpSampling1D,
    layers.UpSampling2D,
    layers.UpSampling3D,
    layers.RepeatVector,
    layers.Permute,
)
def _same(found: Constants, call: Call) -> list[NDArray]:
    return [found.at(call.inputs[0])]


@constants_through(
    layers.ZeroPadding1D,
    layers.ZeroPadding2D,
    layers.ZeroPadding3D,
    layers.AveragePooling1D,
    layers.AveragePooling2D,
    layers.AveragePooling3D,
    layers.Masking,
)
def _if_zero(found: Constants, call: Call) -> list[NDArray]:
    value = found.at(call.inputs[0])
    if getattr(call.operation, "padding", None) == "valid":
        return [value]
    return [np.where(value == 0, 0.0, np.nan)]


@constants_through(layers.Multiply)
def _product(found: Constants, call: Call) -> list[NDArray]:
    values = [found.at(signal) for signal in call.inputs]
    return [evaluated(call, values, zero_wins=True)]


def _elementwise(found: Constants, call: Call) -> list[NDArray]:
    product = type(call.operation).__name__ == "Multiply"
    values = [found.at(signal) for signal in call.inputs]
    return [evaluated(call, values, zero_wins=product)]


@constants_through(layers.Activation)
def _activation(found: Constants, call: Call) -> list[NDArray]:
    return [activated(call.operation.activation, found.at(call.inputs[0]))]


@constants_through(layers.Softmax)
def _softmax(found: Constants, call: Call) -> list[NDArray]:
    return nothing_known(found, call)


@constants_through(layers.Rescaling)
def _rescaled(found: Constants, call: Call) -> list[NDArray]:
    layer, value = call.operation, found.at(call.inputs[0])
    if call.outputs[0].ids is None:
        return nothing_known(found, call)
    return [value * np.asarray(layer.scale) + np.asarray(layer.offset)]


def _scaled(found: Constants, call: Call) -> list[NDArray]:
    value = found.at(call.inputs[0])
    value = activated(activation_of(call.operation), value)
    if id(call.operation) in found.folded:
        return [value]
    scale = np.asarray(call.operation.channel_scale(), "float64")
    signal = call.inputs[0]
    if not signal.is_followed_on(scaled_axis(call.operation, signal)):
        return [varying(call.outputs[0])]
    return [np.where(scale == 0, 0.0, value * scale)]


@constants_through(layers.PReLU)
def _prelu(found: Constants, call: Call) -> list[NDArray]:
    signal, value = call.inputs[0], found.at(call.inputs[0])
    if signal.axis is None:
        return [value]
    slopes = np.moveaxis(
        found.values[call.operation.alpha], signal.axis - 1, -1
    ).reshape(-1, call.operation.alpha.shape[signal.axis - 1])
    one = (slopes == slopes[:1]).all(axis=0)
    below = np.where(one, slopes[0] * value, np.nan)
    return [np.where(value >= 0, value, below)]


@constants_through(layers.BatchNormalization)
def _batch_normalized(found: Constants, call: Call) -> list[NDArray]:
    layer, value = call.operation, found.at(call.inputs[0])
    mean = found.values[layer.moving_mean].astype("float64")
    signal = call.inputs[0]
    if not signal.is_followed_on(layer.axis % len(signal.shape)):
        return [varying(call.outputs[0])]
    deviation = np.sqrt(found.values[layer.moving_variance] + layer.epsilon)
    gamma = found.values[layer.gamma] if layer.scale else np.ones_like(mean)
    beta = found.values[layer.beta] if layer.center else 0.0
    normal = np.where(gamma == 0, 0.0, (value - mean) / deviation)
    return [normal * gamma + beta]


@constants_through(layers.LayerNormalization, layers.GroupNormalization)
def _normalized(found: Constants, call: Call) -> list[NDArray]:
    layer, value = call.operation, found.at(call.inputs[0])
    result = np.full(len(value), np.nan)
    if isinstance(layer, layers.GroupNormalization) and len(value):
        by_group = value.reshape(layer.groups, -1)
        even = (by_group == by_group[:, :1]).all(axis=1)
        result[np.repeat(even, by_group.shape[1])] = 0.0
    gamma, beta = getattr(layer, "gamma", None), getattr(layer, "beta", None)
    if gamma is not None and gamma.shape == value.shape:
        result = np.where(found.values[gamma] == 0, 0.0, result)
        result = result * found.values[gamma]
    if beta is not None and beta.shape == value.shape:
        result = result + found.values[beta]
    return [result]


def _concatenated(found: Constants, call: Call) -> list[NDArray]:
    output = call.outputs[0]
    if output.axis is None or output.axis != call.operation.axis % len(
        output.shape
    ):
        return [varying(output)]
    values = [
        found.at(signal)
        if signal.ids is not None
        else np.full(shape_at(signal, output.axis), np.nan)
        for signal in call.inputs
    ]
    return [np.concatenate(values)]


def _gathered(found: Constants, call: Call) -> list[NDArray]:
    values = found.at(call.inputs[0])[call.gather]
    even = (values == values[:, :1]).all(axis=1)
    return [np.where(even, values[:, 0], np.nan)]
