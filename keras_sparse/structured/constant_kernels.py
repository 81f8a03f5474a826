"""How constants pass through layers that have kernels."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import layers
from numpy.typing import NDArray

from keras_sparse.structured.constants import (
    Constants,
    activated,
    constant_rule,
    constants_through,
    nothing_known,
    varying,
)
from keras_sparse.structured.rules_linear import is_unpadded
from keras_sparse.structured.rules_sequence import gates_of
from keras_sparse.structured.signals import Call, Signal


@constants_through(
    layers.Dense,
    layers.Conv1D,
    layers.Conv2D,
    layers.Conv3D,
    layers.Conv1DTranspose,
    layers.Conv2DTranspose,
    layers.Conv3DTranspose,
    layers.EinsumDense,
)
def _linear(found: Constants, call: Call) -> list[NDArray]:
    mixes = found.trace.mixes.get(id(call.operation))
    if not mixes:
        return nothing_known(found, call)
    sums = found.linear(mixes[0], found.at(call.inputs[0]))
    return [activated(call.operation.activation, sums)]


def _depthwise_sums(
    found: Constants, layer: Any, kernel: keras.Variable, value: NDArray
) -> NDArray:
    weights = found.values[kernel]
    weights = weights.reshape(-1, *weights.shape[-2:])
    if len(value) != weights.shape[1]:
        return np.full(weights.shape[1] * weights.shape[2], np.nan)
    if not is_unpadded(layer):
        value = np.where(value == 0, 0.0, np.nan)
    zero = ~weights.any(axis=0)
    sums = weights.sum(axis=0) * value[:, None]
    return np.where(zero, 0.0, sums).ravel()


@constants_through(layers.DepthwiseConv1D, layers.DepthwiseConv2D)
def _depthwise(found: Constants, call: Call) -> list[NDArray]:
    layer = call.operation
    value = found.at(call.inputs[0])
    sums = _depthwise_sums(found, layer, layer.kernel, value)
    if layer.bias is not None:
        sums = sums + found.values[layer.bias]
    return [activated(layer.activation, sums)]


@constants_through(layers.SeparableConv1D, layers.SeparableConv2D)
def _separable(found: Constants, call: Call) -> list[NDArray]:
    layer, value = call.operation, found.at(call.inputs[0])
    between = _depthwise_sums(found, layer, layer.depthwise_kernel, value)
    sums = found.linear(found.trace.mixes[id(layer)][0], between)
    return [activated(layer.activation, sums)]


@constants_through(layers.Embedding)
def _embedding(found: Constants, call: Call) -> list[NDArray]:
    table = found.values[call.operation.embeddings]
    even = (table == table[:1]).all(axis=0)
    return [np.where(even, table[0], np.nan)]


def _recurrent_units(
    found: Constants, layer: Any, signal: Signal, states: bool
) -> NDArray:
    """Units whose candidate is zero at every step stay at zero."""
    cell, gates = layer.cell, gates_of(layer)
    kernel, recurrent = found.trace.mixes[id(layer)]
    value = found.at(signal)
    found.reads(kernel, value)
    size = len(kernel.out_ids) // gates
    column = slice(0, size) if gates == 1 else slice(2 * size, 3 * size)
    rows = value != 0 if len(value) == len(kernel.in_ids) else slice(None)
    used = found.values[cell.kernel][..., rows, column]
    used = (used != 0).reshape(-1, size).any(axis=0)
    again = found.values[cell.recurrent_kernel][..., column]
    used |= (again != 0).reshape(-1, size).any(axis=0)
    if cell.bias is not None:
        bias = found.values[cell.bias][..., column]
        used |= (bias != 0).reshape(-1, size).any(axis=0)
    still = float(activated(cell.activation, np.zeros(1))[0]) == 0.0
    zero = ~used if still and not states else np.zeros(size, bool)
    units = np.where(zero, 0.0, np.nan)
    found.reads(recurrent, units)
    return units


@constants_through(
    layers.SimpleRNN,
    layers.GRU,
    layers.LSTM,
    layers.ConvLSTM1D,
    layers.ConvLSTM2D,
    layers.ConvLSTM3D,
)
def _recurrent(found: Constants, call: Call) -> list[NDArray]:
    units = _recurrent_units(
        found, call.operation, call.inputs[0], len(call.inputs) > 1
    )
    return [units] * len(call.outputs)


@constants_through(layers.Bidirectional)
def _bidirectional(found: Constants, call: Call) -> list[NDArray]:
    layer = call.operation
    halves = (layer.forward_layer, layer.backward_layer)
    if any(id(half) not in found.trace.mixes for half in halves):
        return nothing_known(found, call)
    values = [
        _recurrent_units(found, half, call.inputs[0], False) for half in halves
    ]
    if layer.merge_mode == "concat":
        merged = [np.concatenate(values)]
    elif layer.merge_mode is None:
        merged = values
    else:
        merged = [values[0] + values[1]]
    states = (len(call.outputs) - len(merged)) // 2
    return merged + [values[0]] * states + [values[1]] * states


@constants_through(layers.TimeDistributed)
def _time_distributed(found: Constants, call: Call) -> list[NDArray]:
    inner = call.operation.layer
    linear = constant_rule(inner) is _linear
    if linear and id(inner) in found.trace.mixes:
        mix = found.trace.mixes[id(inner)][0]
        sums = found.linear(mix, found.at(call.inputs[0]))
        return [activated(inner.activation, sums)]
    for mix in found.trace.mixes.get(id(inner), []):
        found.reads(mix, np.full(len(mix.in_ids), np.nan))
    return [varying(signal) for signal in call.outputs]


@constants_through(layers.MultiHeadAttention, layers.GroupQueryAttention)
def _attention(found: Constants, call: Call) -> list[NDArray]:
    mixes = found.trace.mixes.get(id(call.operation))
    if not mixes:
        return nothing_known(found, call)
    query, value = call.argument("query", 0), call.argument("value", 1)
    key = call.argument("key", 2)
    sources = [query, value if key is None else key, value, query]
    made = [
        found.linear(mix, found.at(signal))
        for mix, signal in zip(mixes[:-1], sources, strict=False)
    ]
    last = mixes[-1]
    own = found.values[mixes[2].kernel].shape[1]
    zero = (made[2].reshape(own, -1) == 0).all(axis=1)
    heads = np.repeat(zero, len(last.in_ids) // own)
    return [found.linear(last, np.where(heads, 0.0, np.nan))]
