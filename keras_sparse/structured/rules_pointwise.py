"""Layers that treat each channel by itself, and those that tie tensors."""

from __future__ import annotations

import keras
import numpy as np
from keras import layers

from keras_sparse.structured.activations import mixes_channels, named
from keras_sparse.structured.rules import follows, follows_named, halt
from keras_sparse.structured.signals import Call, Signal
from keras_sparse.structured.tracing import Trace, count


@follows(
    layers.ReLU,
    layers.LeakyReLU,
    layers.ELU,
    layers.Identity,
    layers.Dropout,
    layers.SpatialDropout1D,
    layers.SpatialDropout2D,
    layers.SpatialDropout3D,
    layers.GaussianDropout,
    layers.GaussianNoise,
    layers.AlphaDropout,
    layers.ActivityRegularization,
    layers.Add,
    layers.Subtract,
    layers.Multiply,
    layers.Average,
    layers.Maximum,
    layers.Minimum,
)
@follows_named(
    "channel_scale",
    "convnext.StochasticDepth",
    "inception_resnet_v2.CustomScaleLayer",
)
def elementwise(trace: Trace, call: Call) -> list[Signal]:
    """One or several inputs, broadcast to one output of their channels."""
    shape = call.shapes()[0]
    if any(len(each.shape) != len(shape) for each in call.inputs):
        return halt(trace, call, "its inputs differ in rank")
    followed = [each for each in call.inputs if each.ids is not None]
    wide = [s for s in followed if s.axis is not None and s.shape[s.axis] != 1]
    if not wide:
        for each in followed[1:]:
            trace.fix(each.ids, f"{call.operation.name} repeats it")
        return [followed[0].moved(shape) if followed else Signal(shape)]
    main = wide[0]
    axis, ids = main.axis or 0, main.ids
    for each in call.inputs:
        if each is main:
            continue
        if each.shape[axis] == 1:
            trace.fix(each.ids, f"{call.operation.name} repeats it")
            continue
        if each.axis == axis:
            trace.tie(ids, each.ids)  # type: ignore[arg-type]
            continue
        why = f"{call.operation.name} meets an axis that is not followed"
        trace.fix(ids, why)
        trace.fix(each.ids, why)
    return [Signal(shape, axis, ids)]


@follows(layers.Activation)
def activation(trace: Trace, call: Call) -> list[Signal]:
    """Fixes the channels before an activation across channels."""
    signal = call.inputs[0]
    if (
        mixes_channels(call.operation.activation)
        and signal.axis == len(signal.shape) - 1
    ):
        name = named(call.operation.activation)
        trace.fix(
            signal.ids, f"{call.operation.name}: {name} across the channels"
        )
    return elementwise(trace, call)


@follows(layers.Softmax)
def softmax(trace: Trace, call: Call) -> list[Signal]:
    """Softmax over the channels fixes them; over another axis it does not."""
    signal = call.inputs[0]
    axes = np.atleast_1d(call.operation.axis) % len(signal.shape)
    if signal.axis in axes:
        trace.fix(
            signal.ids, f"{call.operation.name}: softmax across the channels"
        )
    return elementwise(trace, call)


@follows(layers.PReLU)
def prelu(trace: Trace, call: Call) -> list[Signal]:
    """A slope for each channel (unless the slopes are shared)."""
    layer, signal = call.operation, call.inputs[0]
    if signal.ids is None or signal.axis is None:
        return [Signal(call.shapes()[0])]
    if layer.alpha.shape[signal.axis - 1] == 1:
        return elementwise(trace, call)
    ids = trace.port(layer, "in", signal.ids)
    trace.hold(layer, layer.alpha, signal.axis - 1, ids, "other")
    return elementwise(trace, call)


@follows(layers.BatchNormalization)
def batch_normalization(trace: Trace, call: Call) -> list[Signal]:
    """Statistics, scale and offset for each channel."""
    layer, signal = call.operation, call.inputs[0]
    if not signal.is_followed_on(layer.axis % len(signal.shape)):
        return [signal.moved(call.shapes()[0])]
    ids = trace.enter(layer, signal, layer.axis)
    for name, role in (
        ("gamma", "scale"),
        ("beta", "bias"),
        ("moving_mean", "other"),
        ("moving_variance", "other"),
    ):
        trace.hold(layer, getattr(layer, name), 0, ids, role)
    return [signal.moved(call.shapes()[0])]


@follows(layers.LayerNormalization, layers.RMSNormalization)
def layer_normalization(trace: Trace, call: Call) -> list[Signal]:
    """Statistics over the channels; scale and offset for each."""
    layer, signal = call.operation, call.inputs[0]
    axes = [int(a) % len(signal.shape) for a in np.atleast_1d(layer.axis)]
    if signal.axis not in axes or signal.ids is None:
        return [signal.moved(call.shapes()[0])]
    ids = trace.port(layer, "in", signal.ids)
    trace.normalize(signal)
    for name in ("gamma", "scale", "beta"):
        variable = getattr(layer, name, None)
        if isinstance(variable, keras.Variable):
            # RMSNormalization keeps the axes of the input, with ones.
            trace.hold(layer, variable, axes.index(signal.axis), ids, "other")
    return [signal.moved(call.shapes()[0])]


@follows(layers.UnitNormalization)
def unit_normalization(trace: Trace, call: Call) -> list[Signal]:
    """A channel that is zero can go; others count in the norm."""
    trace.normalize(call.inputs[0], zero_is_neutral=True)
    return elementwise(trace, call)


@follows(layers.GroupNormalization)
def group_normalization(trace: Trace, call: Call) -> list[Signal]:
    """Channels of one group go together, so the others' statistics stay."""
    layer, signal = call.operation, call.inputs[0]
    axis = layer.axis % len(signal.shape)
    if not signal.is_followed_on(axis):
        return halt(trace, call, "its axis is not the channels' axis")
    ids = trace.enter(layer, signal, axis)
    for name in ("gamma", "beta"):
        trace.hold(layer, getattr(layer, name), 0, ids, "other")
    groups = layer.groups
    if groups == 1:
        trace.normalize(signal)
        return [signal.moved(call.shapes()[0])]
    by_group = ids.reshape(groups, -1)
    trace.tie(np.broadcast_to(by_group[:, :1], by_group.shape), by_group)
    trace.size(layer, lambda kept: {"groups": count(kept, by_group[:, 0])})
    return [signal.moved(call.shapes()[0])]


@follows(layers.Rescaling)
def rescaling(trace: Trace, call: Call) -> list[Signal]:
    """A number, or one for each channel."""
    layer, signal = call.operation, call.inputs[0]
    lists = {
        name: np.asarray(getattr(layer, name))
        for name in ("scale", "offset")
        if np.size(getattr(layer, name)) > 1
    }
    if not lists or signal.ids is None:
        return elementwise(trace, call)
    last = len(signal.shape) - 1
    size = signal.shape[last]
    if not signal.is_followed_on(last) or any(
        values.shape != (size,) for values in lists.values()
    ):
        return halt(trace, call, "its scale does not lie along the channels")
    ids = trace.enter(layer, signal, last)
    trace.size(
        layer,
        lambda kept: {
            name: values[kept[ids]].tolist() for name, values in lists.items()
        },
    )
    return [signal.moved(call.shapes()[0])]


@follows(layers.Normalization)
def normalization(trace: Trace, call: Call) -> list[Signal]:
    """Statistics of the data: its channels stay."""
    signal = call.inputs[0]
    trace.fix(signal.ids, f"{call.operation.name} keeps statistics of the data")
    return [signal.moved(call.shapes()[0])]


@follows_named("convnext.LayerScale")
def layer_scale(trace: Trace, call: Call) -> list[Signal]:
    """ConvNeXt's scale for each channel."""
    layer, signal = call.operation, call.inputs[0]
    ids = trace.enter(layer, signal, -1)
    trace.hold(layer, layer.gamma, 0, ids, "scale")
    trace.size(layer, lambda kept: {"projection_dim": count(kept, ids)})
    return [signal.moved(call.shapes()[0])]


@follows(layers.Concatenate)
@follows_named("Concatenate")
def concatenate(trace: Trace, call: Call) -> list[Signal]:
    """Channels side by side; along another axis they are tied."""
    shape = call.shapes()[0]
    axis = call.operation.axis % len(shape)
    followed = [each for each in call.inputs if each.ids is not None]
    if any(each.axis != axis for each in followed):
        if len(followed) < len(call.inputs):
            return halt(trace, call, "one of its inputs is not followed")
        return elementwise(trace, call)
    parts = []
    for each in call.inputs:
        if each.ids is None:
            part = trace.new(shape_at(each, axis), "")
            trace.fix(part, f"{call.operation.name}: beside other channels")
        else:
            part = each.ids
        parts.append(part)
    return [Signal(shape, axis, np.concatenate(parts))]


def shape_at(signal: Signal, axis: int) -> int:
    """A size that has to be known."""
    size = signal.shape[axis]
    if size is None:
        raise ValueError(
            f"Expected a known size along axis {axis}. Received a tensor of "
            f"shape {signal.shape}. Give the model's inputs whole shapes."
        )
    return size
