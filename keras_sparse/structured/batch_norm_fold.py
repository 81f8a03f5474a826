"""A BatchNormalization as part of the kernels before or behind it."""

from __future__ import annotations

import dataclasses

import keras
import numpy as np
from keras import layers
from numpy.typing import NDArray

from keras_sparse.structured.constants import weighted
from keras_sparse.structured.cut import add_to_bias
from keras_sparse.structured.scales import Neighbours
from keras_sparse.structured.signals import Call, Mix, Signal
from keras_sparse.structured.values import Values

_KERNELS = (layers.Dense, layers.Conv1D, layers.Conv2D, layers.Conv3D)
# Layers that do nothing at inference.
PASSED = (
    layers.Identity,
    layers.Dropout,
    layers.SpatialDropout1D,
    layers.SpatialDropout2D,
    layers.SpatialDropout3D,
)


@dataclasses.dataclass(frozen=True)
class BatchNormFold:
    """Where a BatchNormalization can go.

    Args:
        layer: The BatchNormalization.
        before: The kernel that makes its inputs, if it goes there.
        behind: The kernels that read its outputs, if it goes there.
    """

    layer: layers.BatchNormalization
    before: Mix | None
    behind: tuple[Mix, ...] = ()

    def apply(self, values: Values) -> None:
        """Puts the layer, as it works at inference, into the kernels."""
        gain, shift = _affine(self.layer, values)
        if self.before is not None:
            mix = self.before
            _scale(mix.kernel, mix.out_axes[0], gain, values)
            if mix.bias is not None:
                _scale(mix.bias, 0, gain, values)
            elif id(mix.layer) in values.biases:
                values.biases[id(mix.layer)] *= gain.astype("float32")
            add_to_bias(mix, shift, values)
        for mix in self.behind:
            kernel = mix.matrix(values[mix.kernel])
            add_to_bias(mix, weighted(mix, kernel, shift), values)
            _scale(mix.kernel, mix.in_axis, gain, values)


def batch_norm_fold(graph: Neighbours, call: Call) -> BatchNormFold | None:
    """How to fold the BatchNormalization of a call, if that is exact.

    Args:
        graph: The neighbours in the graph of a model.
        call: A call of a BatchNormalization.
    """
    layer, signal = call.operation, call.inputs[0]
    if (
        graph.calls[id(layer)] > 1
        or call.node.arguments.kwargs.get("training")
        or not signal.is_followed_on(layer.axis % len(signal.shape))
    ):
        return None
    before = _maker(graph, signal)
    if before is not None:
        return BatchNormFold(layer, before)
    behind = _readers(graph, call.outputs[0])
    return None if behind is None else BatchNormFold(layer, None, behind)


def is_linear(layer: keras.layers.Layer) -> bool:
    """Whether a layer with a kernel has no activation."""
    return layer.activation in (None, keras.activations.linear)


def _maker(graph: Neighbours, signal: Signal) -> Mix | None:
    while True:
        call = graph.maker.get(id(signal))
        if call is None or not graph.is_read_once(signal):
            return None
        if isinstance(call.operation, _KERNELS):
            return _mix(graph, call) if is_linear(call.operation) else None
        if not isinstance(call.operation, PASSED):
            return None
        signal = call.inputs[0]


def _readers(graph: Neighbours, signal: Signal) -> tuple[Mix, ...] | None:
    if id(signal) in graph.outputs:
        return None
    found: list[Mix] = []
    for call in graph.readers[id(signal)]:
        if isinstance(call.operation, PASSED):
            further = _readers(graph, call.outputs[0])
            if further is None:
                return None
            found += further
            continue
        if not isinstance(call.operation, _KERNELS):
            return None
        mix = _mix(graph, call)
        if (
            mix is None
            or signal.ids is None
            or mix.blocks > 1
            or not mix.takes_constants
            or not np.array_equal(mix.in_ids, signal.ids)
        ):
            return None
        found.append(mix)
    return tuple(found) or None


def _mix(graph: Neighbours, call: Call) -> Mix | None:
    mixes = graph.trace.mixes.get(id(call.operation), [])
    if graph.calls[id(call.operation)] > 1 or len(mixes) != 1:
        return None
    return mixes[0]


def _affine(
    layer: layers.BatchNormalization, values: Values
) -> tuple[NDArray, NDArray]:
    """What the layer multiplies by and adds at inference."""
    variance = values[layer.moving_variance].astype("float64")
    gain = 1 / np.sqrt(variance + layer.epsilon)
    if layer.scale:
        gain = gain * values[layer.gamma]
    shift = -values[layer.moving_mean] * gain
    if layer.center:
        shift = shift + values[layer.beta]
    return gain, shift


def _scale(
    variable: keras.Variable, axis: int, gain: NDArray, values: Values
) -> None:
    value = values[variable]
    along = [1] * value.ndim
    along[axis] = -1
    values[variable] = (value * gain.reshape(along)).astype(value.dtype)
