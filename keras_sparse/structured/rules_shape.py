"""Layers that move, repeat or drop positions: pooling, padding, reshaping."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from keras import layers
from numpy.typing import NDArray

from keras_sparse.structured.rules import (
    channel_axis,
    follows,
    follows_named,
    halt,
)
from keras_sparse.structured.signals import Call, Signal
from keras_sparse.structured.tracing import Trace, count


@follows(
    layers.MaxPooling1D,
    layers.MaxPooling2D,
    layers.MaxPooling3D,
    layers.AveragePooling1D,
    layers.AveragePooling2D,
    layers.AveragePooling3D,
    layers.AdaptiveAveragePooling1D,
    layers.AdaptiveAveragePooling2D,
    layers.AdaptiveAveragePooling3D,
    layers.AdaptiveMaxPooling1D,
    layers.AdaptiveMaxPooling2D,
    layers.AdaptiveMaxPooling3D,
    layers.ZeroPadding1D,
    layers.ZeroPadding2D,
    layers.ZeroPadding3D,
    layers.Cropping1D,
    layers.Cropping2D,
    layers.Cropping3D,
    layers.UpSampling1D,
    layers.UpSampling2D,
    layers.UpSampling3D,
    layers.Resizing,
    layers.CenterCrop,
    layers.Masking,
)
def spatial(trace: Trace, call: Call) -> list[Signal]:
    """Positions come and go, channels stay."""
    signal, shape = call.inputs[0], call.shapes()[0]
    axis = channel_axis(call.operation, len(signal.shape))
    if signal.axis not in (None, axis):
        return halt(trace, call, "it works along the channels' axis")
    return [signal.moved(shape)]


@follows(
    layers.GlobalAveragePooling1D,
    layers.GlobalAveragePooling2D,
    layers.GlobalAveragePooling3D,
    layers.GlobalMaxPooling1D,
    layers.GlobalMaxPooling2D,
    layers.GlobalMaxPooling3D,
)
def global_pooling(trace: Trace, call: Call) -> list[Signal]:
    """One position is left of each channel."""
    signal, shape = call.inputs[0], call.shapes()[0]
    axis = channel_axis(call.operation, len(signal.shape))
    if signal.axis not in (None, axis):
        return halt(trace, call, "it pools along the channels' axis")
    if signal.axis is None:
        return [Signal(shape)]
    return [signal.moved(shape, 1 if axis == 1 else len(shape) - 1)]


@follows(layers.RepeatVector)
def repeat_vector(trace: Trace, call: Call) -> list[Signal]:
    """The same channels at every new step."""
    return [call.inputs[0].moved(call.shapes()[0], 2)]


@follows(layers.Permute)
def permute(trace: Trace, call: Call) -> list[Signal]:
    """The channels' axis moves."""
    signal, shape = call.inputs[0], call.shapes()[0]
    if signal.axis is None:
        return [Signal(shape)]
    return [signal.moved(shape, 1 + call.operation.dims.index(signal.axis))]


@follows(layers.Flatten)
def flatten(trace: Trace, call: Call) -> list[Signal]:
    """Every position of a channel becomes a feature of that channel."""
    signal, shape = call.inputs[0], call.shapes()[0]
    if signal.ids is None or signal.axis is None:
        return [Signal(shape)]
    if call.operation.data_format == "channels_first" and len(signal.shape) > 1:
        order = (0, *range(2, len(signal.shape)), 1)
        shape_before = tuple(signal.shape[a] for a in order)
        signal = signal.moved(shape_before, order.index(signal.axis))
    return reshaped(trace, call, signal, shape)


@follows(layers.Reshape)
def reshape(trace: Trace, call: Call) -> list[Signal]:
    """Channels that a reshape lays over each other are tied."""
    layer = call.operation
    outputs = reshaped(trace, call, call.inputs[0], call.shapes()[0])
    axis, ids = outputs[0].axis, outputs[0].ids
    if axis is None or ids is None or layer.target_shape[axis - 1] == -1:
        return outputs
    ids = trace.port(layer, "out", ids)

    def sizes(kept: NDArray) -> dict:
        target = list(layer.target_shape)
        target[axis - 1] = count(kept, ids)
        return {"target_shape": target}

    trace.size(layer, sizes)
    return outputs


def reshaped(
    trace: Trace,
    call: Call,
    signal: Signal,
    shape: Sequence[int | None],
) -> list[Signal]:
    """The channels of a tensor that is read in rows into another shape.

    The last axis along which the identity changes becomes the channels' axis.
    Identities that meet at one index of it are tied, so that a shape of fewer
    channels holds the kept entries in their order.
    """
    if signal.ids is None or signal.axis is None:
        return [Signal(tuple(shape))]
    before, after = tuple(signal.shape[1:]), tuple(shape[1:])
    if None in before or None in after:
        last = len(signal.shape) - 1
        if signal.axis == last and before[-1] == after[-1]:
            return [signal.moved(shape, len(shape) - 1)]
        return halt(trace, call, "it reshapes sizes that are not known")
    along = [1] * len(before)
    along[signal.axis - 1] = -1
    index = np.arange(len(signal.ids)).reshape(along)
    table = np.broadcast_to(index, before).reshape(after)  # type: ignore
    axes = [
        axis
        for axis in range(table.ndim)
        if (table != np.take(table, [0], axis)).any()
    ]
    axis = axes[-1] if axes else table.ndim - 1
    rows = np.moveaxis(table, axis, 0).reshape(table.shape[axis], -1)
    gather = _distinct(rows)
    ids = signal.ids[gather[:, 0]]
    for column in gather.T[1:]:
        trace.tie(ids, signal.ids[column])
    call.gather = gather
    return [Signal(tuple(shape), axis + 1, ids)]


def _distinct(rows: NDArray) -> NDArray:
    """Without columns that repeat; all channels behind each index."""
    return rows[:, np.sort(np.unique(rows, axis=1, return_index=True)[1])]


@follows_named("Reshape")
def reshape_operation(trace: Trace, call: Call) -> list[Signal]:
    """`keras.ops.reshape` that leaves the channels alone or flattens them."""
    outputs = reshaped(trace, call, call.inputs[0], call.shapes()[0])
    axis, ids = outputs[0].axis, outputs[0].ids
    target = call.operation.newshape
    if axis is None or ids is None or target[axis] == -1:
        return outputs

    def sizes(kept: NDArray) -> dict:
        changed = list(target)
        changed[axis] = count(kept, ids)
        return {"newshape": tuple(changed)}

    trace.size(call.operation, sizes)
    return outputs
