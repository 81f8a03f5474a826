"""Layers that end as a fixed multiplication of each channel.

A layer takes part by one method, `channel_scale()`: an array over its last
axis (or its attribute `axis`) by which it multiplies at inference, 0 for a
closed channel. `shrink` puts the scale into neighbouring weights and drops the
layer:

1. into the layer that makes the channels (or a BatchNorm on the way), through
   layers that commute with it: linear ones always, ReLU-like ones and max
   pooling where no scale is negative;
2. else into the rows of every kernel that reads the channels;
3. else a plain `keras.layers.Rescaling` of the same name stays.

A layer that activates as well says by what in `channel_activation()`: ReLU or
the identity, which commute with scales that are not negative. A plain ReLU
takes its place.
"""

from __future__ import annotations

import collections
import dataclasses
from typing import Any

import keras
import numpy as np
from keras import layers
from numpy.typing import NDArray

from keras_sparse.structured.signals import Call, Signal
from keras_sparse.structured.tracing import Axis, Trace
from keras_sparse.structured.values import Values

_KERNELS = (
    layers.Dense,
    layers.Conv1D,
    layers.Conv2D,
    layers.Conv3D,
    layers.Conv1DTranspose,
    layers.Conv2DTranspose,
    layers.Conv3DTranspose,
    layers.SeparableConv1D,
    layers.SeparableConv2D,
)
_ANY_SCALE = (
    layers.Identity,
    layers.Dropout,
    layers.SpatialDropout1D,
    layers.SpatialDropout2D,
    layers.SpatialDropout3D,
    layers.AveragePooling1D,
    layers.AveragePooling2D,
    layers.AveragePooling3D,
    layers.GlobalAveragePooling1D,
    layers.GlobalAveragePooling2D,
    layers.GlobalAveragePooling3D,
    layers.ZeroPadding1D,
    layers.ZeroPadding2D,
    layers.ZeroPadding3D,
    layers.Cropping1D,
    layers.Cropping2D,
    layers.Cropping3D,
)
_NO_NEGATIVE_SCALE = (
    layers.MaxPooling1D,
    layers.MaxPooling2D,
    layers.MaxPooling3D,
    layers.GlobalMaxPooling1D,
    layers.GlobalMaxPooling2D,
    layers.GlobalMaxPooling3D,
    layers.LeakyReLU,
    layers.PReLU,
)
_Parts = list[tuple[Axis, NDArray]]


@dataclasses.dataclass
class Scales:
    """What became of the scale layers of a model.

    Args:
        folded: By id the layers whose scale is in other weights now.
        left: For each other scale layer itself, its scale and its channels.
    """

    folded: dict[int, keras.layers.Layer]
    left: list[tuple[keras.layers.Layer, NDArray, Signal]]

    def replacements(
        self, kept: NDArray
    ) -> dict[int, keras.layers.Layer | None]:
        """What takes the place of each scale layer in the new model."""
        found: dict[int, keras.layers.Layer | None] = {}
        for key, layer in self.folded.items():
            found[key] = _relu_of(layer)
        for layer, scale, signal in self.left:
            axis = scaled_axis(layer, signal)
            if signal.is_followed_on(axis):
                scale = scale[kept[signal.ids]]
            scale = scale.reshape(-1, *[1] * (len(signal.shape) - 1 - axis))
            found[id(layer)] = relu = _relu_of(layer)
            if (scale == 1).all():
                continue
            name = layer.name if relu is None else f"{layer.name}_scale"
            rescaling = layers.Rescaling(
                scale.tolist(), name=name, dtype=layer.dtype_policy
            )
            parts = [rescaling] if relu is None else [rescaling, relu]
            found[id(layer)] = _one(parts, layer.name)
        return found


def fold_scales(trace: Trace, values: Values) -> Scales:
    """Puts the scales of a model into neighbouring weights.

    Args:
        trace: What `follow` found out about the model.
        values: The weights to change.
    """
    graph = Neighbours(trace)
    found = Scales({}, [])
    for call in trace.calls:
        layer = call.operation
        if not callable(getattr(layer, "channel_scale", None)):
            continue
        if id(layer) in {id(each) for each, _, _ in found.left}:
            continue
        scale = np.asarray(layer.channel_scale(), "float64")
        signal = call.inputs[0]
        axis = scaled_axis(layer, signal)
        size = signal.shape[axis]
        if scale.shape != (size,):
            raise ValueError(
                f"Expected `channel_scale()` of {layer.name!r} to return "
                f"one number for each of its {size} channels. Received an "
                f"array of shape {scale.shape}."
            )
        parts = None
        if graph.calls[id(layer)] == 1 and signal.is_followed_on(axis):
            parts = graph.behind(signal, scale)
            if parts is None:
                parts = graph.ahead(call.outputs[0], scale)
        if parts is None:
            found.left.append((layer, scale, signal))
            continue
        for held, factors in parts:
            values.scale(held, factors)
        found.folded[id(layer)] = layer
    return found


def activation_of(layer: Any) -> Any:
    """What a layer with a channel scale activates by, if anything."""
    activation = getattr(layer, "channel_activation", None)
    return None if activation is None else activation()


def learned_away(layer: Any) -> bool:
    """Whether a layer could have been a ReLU, and is the identity."""
    return activation_of(layer) is keras.activations.linear


def _one(parts: list[keras.layers.Layer], name: str) -> keras.layers.Layer:
    return parts[0] if len(parts) == 1 else keras.Sequential(parts, name=name)


def _relu_of(layer: keras.layers.Layer) -> layers.ReLU | None:
    activation = activation_of(layer)
    if activation in (None, keras.activations.linear):
        return None
    return layers.ReLU(name=layer.name, dtype=layer.dtype_policy)


def scaled_axis(layer: Any, signal: Signal) -> int:
    """The axis of a signal that a layer's scale lies along, from the front."""
    return int(getattr(layer, "axis", -1)) % len(signal.shape)


class Neighbours:
    """Which calls make and read each signal.

    Args:
        trace: What `follow` found out about a model.
    """

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self.calls = collections.Counter(
            id(call.operation) for call in trace.calls
        )
        self.maker = {
            id(signal): call for call in trace.calls for signal in call.outputs
        }
        self.readers: dict[int, list[Call]] = collections.defaultdict(list)
        for call in trace.calls:
            for signal in call.inputs:
                self.readers[id(signal)].append(call)
        self.outputs = {id(signal) for signal in trace.ends}

    def is_read_once(self, signal: Signal) -> bool:
        """Whether one call reads a signal, and it is no output."""
        single = len(self.readers[id(signal)]) == 1
        return single and id(signal) not in self.outputs

    def behind(self, signal: Signal, scale: NDArray) -> _Parts | None:
        """The axes that make a signal, if nothing else reads it."""
        while True:
            call = self.maker.get(id(signal))
            if call is None or len(call.outputs) > 1:
                return None
            if not self.is_read_once(signal):
                return None
            layer = call.operation
            if self.calls[id(layer)] > 1 or call.gather is not None:
                return None
            if isinstance(layer, layers.BatchNormalization) and layer.scale:
                return self._axes(layer, ("scale", "bias"), scale)
            if isinstance(layer, _KERNELS):
                if not commutes(layer.activation, scale):
                    return None
                return self._axes(layer, ("out", "bias"), scale)
            if not passes(layer, scale):
                return None
            signal = call.inputs[0]

    def ahead(self, signal: Signal, scale: NDArray) -> _Parts | None:
        """The axes that read a signal, if all of them take the scale."""
        if id(signal) in self.outputs or not self.readers[id(signal)]:
            return None
        parts: _Parts = []
        for call in self.readers[id(signal)]:
            layer = call.operation
            if self.calls[id(layer)] > 1:
                return None
            if isinstance(layer, _KERNELS):
                found = self._axes(layer, ("in",), scale, signal)
            elif isinstance(layer, layers.Flatten) and call.gather is not None:
                found = self.ahead(call.outputs[0], scale[call.gather[:, 0]])
            elif passes(layer, scale):
                found = self.ahead(call.outputs[0], scale)
            else:
                return None
            if found is None:
                return None
            parts += found
        return parts

    def _axes(
        self,
        layer: keras.layers.Layer,
        roles: tuple[str, ...],
        scale: NDArray,
        signal: Signal | None = None,
    ) -> _Parts | None:
        found = [
            (axis, scale)
            for axis in self.trace.axes.values()
            if axis.layer is layer and axis.role in roles
        ]
        if signal is not None and signal.ids is not None:
            # A separable layer reads through its first kernel alone.
            found = found[:1]
            if any(not np.array_equal(a.ids, signal.ids) for a, _ in found):
                return None
        if not found or any(len(axis.ids) != len(scale) for axis, _ in found):
            return None
        return found


def passes(layer: keras.layers.Layer, scale: NDArray) -> bool:
    """Whether a layer without weights commutes with a scale of channels."""
    if isinstance(layer, _ANY_SCALE):
        return True
    if isinstance(layer, _NO_NEGATIVE_SCALE):
        return bool((scale >= 0).all())
    if isinstance(layer, layers.ReLU):
        plain = layer.max_value is None and not layer.threshold
        return bool(plain and (scale >= 0).all())
    if isinstance(layer, layers.Activation):
        return commutes(layer.activation, scale)
    return False


def commutes(activation: object, scale: NDArray) -> bool:
    """Whether an activation commutes with a scale of channels."""
    if activation is None or activation is keras.activations.linear:
        return True
    homogeneous = (keras.activations.relu, keras.activations.leaky_relu)
    return activation in homogeneous and bool((scale >= 0).all())
