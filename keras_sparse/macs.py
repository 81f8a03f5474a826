"""Multiply-accumulates of a weight: how often each entry is used."""

from __future__ import annotations

import math
from collections.abc import Sequence

import keras
from keras import layers

from keras_sparse.adapters import Slot

_TRANSPOSED = (
    layers.Conv1DTranspose,
    layers.Conv2DTranspose,
    layers.Conv3DTranspose,
)
_CONVOLUTIONS = (
    layers.Conv1D,
    layers.Conv2D,
    layers.Conv3D,
    layers.DepthwiseConv1D,
    layers.DepthwiseConv2D,
    layers.SeparableConv1D,
    layers.SeparableConv2D,
)
_ATTENTION = (layers.MultiHeadAttention, layers.GroupQueryAttention)
_CONV_LSTM = (layers.ConvLSTM1D, layers.ConvLSTM2D, layers.ConvLSTM3D)
_RECURRENT = (layers.SimpleRNN, layers.LSTM, layers.GRU, layers.Bidirectional)


def uses(layer: keras.layers.Layer, slot: Slot) -> int | None:
    """How many multiplications each entry of a weight makes per example.

    A layer that is called several times counts once, with the shape it was
    built for.

    Args:
        layer: A built layer.
        slot: One of its weights.

    Returns:
        The count; 0 for a look-up; `None` where a size is not known.
    """
    shapes = _input_shapes(layer)
    if isinstance(layer, layers.Embedding):
        return 0
    if not shapes:
        return None
    first = next(iter(shapes.values()))
    if isinstance(layer, _ATTENTION):
        from_values = slot.name.startswith(("key", "value"))
        shape = shapes.get("value_shape", first) if from_values else first
        return _product(shape[1:-1])
    if isinstance(layer, _CONV_LSTM):
        spatial = _spatial(
            layer, layer.cell.compute_output_shape((first[0], *first[2:]))[0]
        )
        return _product((first[1], *spatial))
    if isinstance(layer, _RECURRENT):
        return _product(first[1:2])
    if isinstance(layer, _TRANSPOSED):
        return _product(_spatial(layer, first))
    if isinstance(layer, _CONVOLUTIONS):
        return _product(_spatial(layer, layer.compute_output_shape(first)))
    if isinstance(layer, layers.EinsumDense):
        return _einsum_uses(layer.equation, first)
    if isinstance(layer, layers.Dense):
        return _product(first[1:-1])
    return None


def _input_shapes(layer: keras.layers.Layer) -> dict[str, Sequence[int | None]]:
    config = layer.get_build_config() or {}
    if "input_shape" in config:
        return {"input_shape": config["input_shape"]}
    return dict(config.get("shapes_dict", {}))


def _spatial(
    layer: keras.layers.Layer, shape: Sequence[int | None]
) -> Sequence[int | None]:
    if layer.data_format == "channels_last":
        return shape[1:-1]
    return shape[2:]


def _einsum_uses(equation: str, shape: Sequence[int | None]) -> int | None:
    operands = equation.split("->")[0]
    inputs, kernel = operands.split(",")
    if "..." in inputs:
        named = len(inputs.replace(".", ""))
        inputs = "." * (len(shape) - named) + inputs.replace(".", "")
    return _product(
        [
            size
            for label, size in zip(inputs[1:], shape[1:], strict=True)
            if label not in kernel
        ]
    )


def _product(sizes: Sequence[int | None]) -> int | None:
    known = [size for size in sizes if size is not None]
    return math.prod(known) if len(known) == len(sizes) else None
