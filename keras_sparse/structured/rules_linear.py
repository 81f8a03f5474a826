"""Layers with a kernel: dense, convolutions, embeddings."""

from __future__ import annotations

from typing import Any

import numpy as np
from keras import layers
from numpy.typing import NDArray

from keras_sparse.structured.activations import mixes_channels, named
from keras_sparse.structured.rules import channel_axis, follows, halt
from keras_sparse.structured.signals import Call, Mix, Signal
from keras_sparse.structured.tracing import Trace, all_fixed, count

_TRANSPOSED = (
    layers.Conv1DTranspose,
    layers.Conv2DTranspose,
    layers.Conv3DTranspose,
)


def fix_if_mixed(trace: Trace, layer: Any, ids: NDArray) -> None:
    """An activation across the channels fixes those that a layer makes."""
    if mixes_channels(layer.activation):
        trace.fix(ids, f"{layer.name}: {named(layer.activation)} of them")


@follows(layers.Dense)
def dense(trace: Trace, call: Call) -> list[Signal]:
    """Kernel (inputs, units) on the last axis."""
    layer, signal, shape = call.operation, call.inputs[0], call.shapes()[0]
    last = len(signal.shape) - 1
    if (
        signal.ids is not None
        and signal.axis != last
        and not all_fixed(trace, signal.ids)
    ):
        # The channels of another axis pass; this layer keeps its sizes.
        return [signal.moved(shape)]
    read = trace.enter(layer, signal, last)
    made = trace.leave(layer, layer.units)
    trace.hold(layer, layer.kernel, 0, read, "in")
    trace.hold(layer, layer.kernel, 1, made, "out")
    trace.hold(layer, layer.bias, 0, made, "bias")
    fix_if_mixed(trace, layer, made)
    trace.mix(Mix(layer, layer.kernel, 0, (1,), read, made, layer.bias, True))
    trace.size(layer, lambda kept: {"units": count(kept, made)})
    return [Signal(shape, last, made)]


@follows(
    layers.Conv1D,
    layers.Conv2D,
    layers.Conv3D,
    *_TRANSPOSED,
)
def convolution(trace: Trace, call: Call) -> list[Signal]:
    """Kernel (window, inputs, filters), or transposed (.., filters, inputs)."""
    layer, signal, shape = call.operation, call.inputs[0], call.shapes()[0]
    axis = channel_axis(layer, len(signal.shape))
    transposed = isinstance(layer, _TRANSPOSED)
    blocks = 1 if transposed else layer.groups
    if signal.axis not in (None, axis):
        trace.fix(
            signal.ids, f"{layer.name} reads them as positions, not channels"
        )
    read = trace.enter(layer, signal, axis)
    kernel, rank = layer.kernel, len(layer.kernel.shape)
    into, out = (rank - 1, rank - 2) if transposed else (rank - 2, rank - 1)
    each = len(read) // blocks
    if blocks == 1 or each > 1:
        made = trace.leave(layer, layer.filters)
        _tie_blocks(trace, read, blocks)
        _tie_blocks(trace, made, blocks)
        trace.hold(layer, kernel, into, read[:each], "in")
        trace.size(layer, lambda kept: {"filters": count(kept, made)})
    else:
        made = trace.port(
            layer, "out", np.repeat(read, layer.filters // blocks)
        )
        trace.size(
            layer,
            lambda kept: {
                "filters": count(kept, made),
                "groups": count(kept, read),
            },
        )
    trace.hold(layer, kernel, out, made, "out")
    trace.hold(layer, layer.bias, 0, made, "bias")
    fix_if_mixed(trace, layer, made)
    trace.mix(
        Mix(
            *(layer, kernel, into, (out,), read, made, layer.bias, True),
            takes_constants=is_unpadded(layer, transposed),
            blocks=blocks,
        )
    )
    return [Signal(shape, axis, made)]


def is_unpadded(layer: Any, transposed: bool = False) -> bool:
    """Whether every output position sees the whole window in the input."""
    single = all(size == 1 for size in layer.kernel_size)
    if transposed:
        return single and all(step == 1 for step in layer.strides)
    return single or layer.padding == "valid"


def _tie_blocks(trace: Trace, ids: NDArray, blocks: int) -> None:
    """Channels at the same place of each block, so blocks stay equal."""
    by_block = ids.reshape(blocks, -1)
    for block in by_block[1:]:
        trace.tie(by_block[0], block)


@follows(layers.DepthwiseConv1D, layers.DepthwiseConv2D)
def depthwise(trace: Trace, call: Call) -> list[Signal]:
    """Each channel makes `depth_multiplier` channels of its own."""
    layer, signal, shape = call.operation, call.inputs[0], call.shapes()[0]
    axis = channel_axis(layer, len(signal.shape))
    if signal.axis not in (None, axis):
        return halt(trace, call, "it reads positions as channels")
    read = trace.enter(layer, signal, axis)
    made = trace.port(layer, "out", np.repeat(read, layer.depth_multiplier))
    trace.hold(layer, layer.kernel, -2, read, "out")
    trace.hold(layer, layer.bias, 0, made, "bias")
    fix_if_mixed(trace, layer, made)
    return [Signal(shape, axis, made)]


@follows(layers.SeparableConv1D, layers.SeparableConv2D)
def separable(trace: Trace, call: Call) -> list[Signal]:
    """A depthwise and a pointwise kernel in one layer."""
    layer, signal, shape = call.operation, call.inputs[0], call.shapes()[0]
    axis = channel_axis(layer, len(signal.shape))
    if signal.axis not in (None, axis):
        return halt(trace, call, "it reads positions as channels")
    read = trace.enter(layer, signal, axis)
    between = trace.port(
        layer, "between", np.repeat(read, layer.depth_multiplier)
    )
    made = trace.leave(layer, layer.filters)
    trace.hold(layer, layer.depthwise_kernel, -2, read, "in")
    trace.hold(layer, layer.pointwise_kernel, -2, between, "in")
    trace.hold(layer, layer.pointwise_kernel, -1, made, "out")
    trace.hold(layer, layer.bias, 0, made, "bias")
    fix_if_mixed(trace, layer, made)
    rank = len(layer.pointwise_kernel.shape)
    trace.mix(
        Mix(
            *(layer, layer.pointwise_kernel, rank - 2, (rank - 1,)),
            *(between, made, layer.bias, True),
        )
    )
    trace.size(layer, lambda kept: {"filters": count(kept, made)})
    return [Signal(shape, axis, made)]


@follows(layers.Embedding)
def embedding(trace: Trace, call: Call) -> list[Signal]:
    """A row of channels for each token."""
    layer, shape = call.operation, call.shapes()[0]
    if getattr(layer, "tie_weights", None) is not None:
        return halt(trace, call, "its weights are read in both directions")
    made = trace.leave(layer, layer.output_dim)
    trace.hold(layer, layer.embeddings, 1, made, "out")
    trace.size(layer, lambda kept: {"output_dim": count(kept, made)})
    return [Signal(shape, len(shape) - 1, made)]


@follows(layers.EinsumDense)
def einsum_dense(trace: Trace, call: Call) -> list[Signal]:
    """An equation that sums over the channels and makes one axis of them."""
    layer, signal, shape = call.operation, call.inputs[0], call.shapes()[0]
    read_by, kernel_axes, made_by = _labels(layer.equation, len(signal.shape))
    outputs = [label for label in kernel_axes if label not in read_by]
    summed = [label for label in kernel_axes if label not in made_by]
    if signal.axis is not None and read_by[signal.axis] not in summed:
        return halt(trace, call, "the equation keeps the channels apart")
    if len(outputs) != 1:
        return halt(trace, call, "the equation makes several axes at once")
    label = outputs[0]
    into = made_by.index(label)
    made = trace.leave(layer, shape[into])  # type: ignore[arg-type]
    out = kernel_axes.index(label)
    trace.hold(layer, layer.kernel, out, made, "out")
    bias_at = None
    if layer.bias is not None:
        # The bias has the axes from the first of `bias_axes` on, with ones.
        bias_at = len(layer.bias.shape) - (len(made_by) - into)
        if bias_at < 0 or layer.bias.shape[bias_at] != len(made):
            return halt(trace, call, "the bias lies along other axes")
        trace.hold(layer, layer.bias, bias_at, made, "bias")
    if into != len(shape) - 1 or len(summed) > 1:
        trace.fix(made, f"{layer.name}: several axes in its equation")
    if signal.axis is not None and len(summed) == 1:
        read = trace.enter(layer, signal, signal.axis)
        at = kernel_axes.index(summed[0])
        trace.hold(layer, layer.kernel, at, read, "in")
        if len(kernel_axes) == 2:
            plain = layer.bias is None or len(layer.bias.shape) == 1
            trace.mix(
                Mix(
                    *(layer, layer.kernel, at, (out,), read, made),
                    layer.bias if plain else None,
                    takes_constants=layer.bias is not None and plain,
                )
            )
        else:
            trace.normalize(signal)
    elif signal.ids is not None:
        trace.fix(signal.ids, f"{layer.name}: several axes in its equation")
    fix_if_mixed(trace, layer, made)

    def sizes(kept: NDArray) -> dict:
        target = list(layer.get_config()["output_shape"])
        target[into - len(shape)] = count(kept, made)
        return {"output_shape": target}

    trace.size(layer, sizes)
    return [Signal(shape, into, made)]


def _labels(equation: str, rank: int) -> tuple[str, str, str]:
    operands, made = equation.replace(" ", "").split("->")
    read, kernel = operands.split(",")
    free = "".join(label for label in "ABCDEFGHIJ" if label not in equation)[
        : rank - len(read.replace("...", ""))
    ]
    return read.replace("...", free), kernel, made.replace("...", free)
