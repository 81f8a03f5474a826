"""Rebuild a MobileNet-like model so that XNNPACK can compute it sparse."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import layers

from keras_sparse.export._checks import check_model
from keras_sparse.export.xnnpack.dense_head import HeadKept, as_dense, head_of
from keras_sparse.export.xnnpack.turning import Pads, reaches

_TURNED_AS_THEY_ARE = (
    layers.BatchNormalization,
    layers.ReLU,
    layers.LeakyReLU,
    layers.ELU,
    layers.Activation,
    layers.Dropout,
    layers.SpatialDropout2D,
    layers.GaussianNoise,
    layers.Add,
    layers.Multiply,
    layers.Rescaling,
    layers.Normalization,
    layers.GlobalAveragePooling2D,
    layers.GlobalMaxPooling2D,
)
_UNPADDED: Pads = ((0, 0), (0, 0))
_TOLERANCE = 1e-4


def sparse_ready(model: keras.Model) -> keras.Model:
    """Rebuild a model for XNNPACK's sparse inference, outputs unchanged.

    A convolution with a stride is padded alike on all sides, by a layer of
    its own. Where it looked past the bottom and right alone, as `"same"`
    does on even sizes, the image is turned once by 180 degrees, and with
    it every kernel. A head of 1x1 convolutions on pooled features becomes
    Dense layers. Everything else stays as it is; `xnnpack_report` names
    what is left in the way.

    Args:
        model: a plain Functional or Sequential model, not nested, with one
            image input of fixed size, channels last.

    Returns:
        A new model with the same weights, turned where they have to be.

    Raises:
        TypeError: `model` is no Functional or Sequential model.
        ValueError: a layer cannot be turned with the image.
        RuntimeError: the outputs differ; nothing is returned.

    Example:

    >>> from keras_sparse.export.xnnpack.rules import xnnpack_report
    >>> model = keras.Sequential(
    ...     [
    ...         keras.Input((8, 8, 3)),
    ...         layers.Conv2D(4, 3, strides=2, padding="same"),
    ...         layers.GlobalAveragePooling2D(),
    ...     ]
    ... )
    >>> xnnpack_report(model).fits
    False
    >>> xnnpack_report(sparse_ready(model)).fits
    True
    """
    check_model(model)
    if isinstance(model, keras.Sequential):
        model = keras.Model(model.inputs[0], model.outputs[0], name=model.name)
    _refuse_other_forms(model)
    turned = _looks_one_way(model)
    rebuilt = _rebuild(model, turned, dense_head=True)
    if rebuilt is None:
        rebuilt = _rebuild(model, turned, dense_head=False)
    gap = _largest_difference(model, rebuilt)
    if not gap <= _TOLERANCE:
        raise RuntimeError(
            f"Expected the outputs of {model.name!r} from the rebuilt model, "
            f"received a relative difference of {gap:.3g}. An "
            "operation between its layers depends on where things are in "
            "the image: write it as a layer behind the pooling."
        )
    return rebuilt


def _refuse_other_forms(model: keras.Model) -> None:
    inputs = getattr(model, "inputs", None) or []
    nested = [x.name for x in model.layers if isinstance(x, keras.Model)]
    if len(inputs) != 1 or nested:
        raise TypeError(
            "sparse_ready expected a Functional or Sequential model with "
            f"one input and no model within, received {model.name!r} with "
            f"{len(inputs)} known inputs"
            + (f" and {', '.join(nested)} within" if nested else "")
            + ". Write it as one Functional model."
        )
    shape = inputs[0].shape
    if len(shape) != 4 or None in shape[1:]:
        raise ValueError(
            "sparse_ready expected images of fixed size, (None, height, "
            f"width, channels), received {shape}. Rebuild the model with "
            "keras.Input of fixed height and width."
        )


def _is_strided(layer: Any) -> bool:
    known = isinstance(layer, (layers.Conv2D, layers.DepthwiseConv2D))
    return (
        known
        and not isinstance(layer, layers.Conv2DTranspose)
        and max(layer.strides) > 1
        and max(layer.dilation_rate) == 1
    )


class _Padded:
    """Remembers what a ZeroPadding2D was given, to pad otherwise."""

    def __init__(self) -> None:
        self._held: dict[int, tuple[Any, Pads, Any]] = {}

    def add(self, padded: Any, source: Any, pads: Pads) -> None:
        self._held[id(padded)] = source, pads, padded

    def source(self, tensor: Any) -> tuple[Any, Pads]:
        return self._held.get(id(tensor), (tensor, _UNPADDED, None))[:2]


def _looks_one_way(model: keras.Model) -> bool:
    """Tell whether a strided convolution pads the end more than the start."""
    padded, found = _Padded(), []

    def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
        result = layer(*args, **kwargs)
        if isinstance(layer, layers.ZeroPadding2D):
            padded.add(result, args[0], layer.padding)
        elif _is_strided(layer):
            source, pads = padded.source(args[0])
            for reach in reaches(layer, source.shape, pads):
                half = reach.kernel // 2
                found.append(reach.before < half <= reach.after)
        return result

    keras.models.clone_model(model, call_function=call)
    return any(found)


def _rebuild(
    model: keras.Model, turned: bool, dense_head: bool
) -> keras.Model | None:
    """Return the new model, `None` if its head cannot be dense."""
    old = {layer.name: layer for layer in model.layers}
    head = head_of(model) if dense_head else set()
    first = {layer.name for layer in model.layers if _reads(layer, model)}
    padded = _Padded()

    def make(layer: Any) -> Any:
        if layer.name in head:
            return as_dense(layer)
        config = layer.get_config()
        if _is_strided(layer):
            config["padding"] = "valid"
        return type(layer).from_config(config)

    def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
        before = old.get(layer.name)
        if turned and layer.name in first:
            lines = keras.ops.flip(args[0], axis=1)
            # One after the other: Keras 3.13 turns one axis at a time.
            args = (keras.ops.flip(lines, axis=2), *args[1:])
        if layer.name in head and isinstance(
            before, (layers.Flatten, layers.Reshape)
        ):
            return args[0]
        if before is None or not _sees_image(args):
            return layer(*args, **kwargs)
        if isinstance(before, layers.ZeroPadding2D):
            (top, bottom), (left, right) = pads = before.padding
            if turned:
                pads = (bottom, top), (right, left)
            result = layers.ZeroPadding2D(pads)(args[0])
            padded.add(result, args[0], before.padding)
            return result
        if _is_strided(before):
            source, pads = padded.source(args[0])
            return layer(_pad(before, source, pads, turned))
        if turned:
            _refuse_unturnable(before)
        return layer(*args, **kwargs)

    try:
        rebuilt = keras.models.clone_model(
            model, clone_function=make, call_function=call
        )
    except HeadKept:
        return None
    for layer in rebuilt.layers:
        if layer.name in old and layer.weights:
            layer.set_weights(_weights(old[layer.name], layer, turned))
    return rebuilt


def _pad(layer: Any, source: Any, pads: Pads, turned: bool) -> Any:
    amounts = []
    for reach in reaches(layer, source.shape, pads):
        try:
            amounts.append((reach.turned() if turned else reach).padding())
        except ValueError as reason:
            raise ValueError(
                f"sparse_ready cannot turn {layer.name!r} with the image: "
                f"{reason}. Pad or crop its input so that every stride is "
                "used up."
            ) from None
    if amounts == [(0, 0), (0, 0)]:
        return source
    return layers.ZeroPadding2D(tuple(amounts))(source)


def _reads(layer: Any, model: keras.Model) -> bool:
    """Tell whether a layer is the one that is given the image."""
    try:
        return layer.input is model.inputs[0] and not isinstance(
            layer, layers.InputLayer
        )
    except AttributeError:  # called more than once
        return False


def _sees_image(args: Any) -> bool:
    shapes = [tuple(x.shape) for x in keras.tree.flatten(args)]
    return any(len(s) == 4 and s[1:3] != (1, 1) for s in shapes)


def _refuse_unturnable(layer: Any) -> None:
    even = isinstance(layer, (layers.Conv2D, layers.DepthwiseConv2D)) and (
        layer.padding == "valid" or all(k % 2 for k in layer.kernel_size)
    )
    if isinstance(layer, layers.Conv2DTranspose):
        even = False
    joins = isinstance(layer, layers.Concatenate) and layer.axis in (-1, 3)
    if even or joins or isinstance(layer, _TURNED_AS_THEY_ARE):
        return
    raise ValueError(
        "sparse_ready expected layers that can be turned with the image, "
        f"received {layer.name!r}, a {type(layer).__name__}. Replace it or "
        "move it behind the pooling; XNNPACK would not compute sparse "
        "around it either."
    )


def _weights(old: Any, new: Any, turned: bool) -> list[np.ndarray]:
    weights = old.get_weights()
    if isinstance(new, layers.Dense) and not isinstance(old, layers.Dense):
        weights[0] = weights[0][0, 0]
    elif turned and isinstance(old, (layers.Conv2D, layers.DepthwiseConv2D)):
        weights[0] = weights[0][::-1, ::-1]
    return weights


def _largest_difference(one: keras.Model, other: keras.Model) -> float:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((4, *one.inputs[0].shape[1:])).astype("float32")
    worst = 0.0
    both = [
        keras.tree.flatten(
            model(keras.tree.pack_sequence_as(model.input, [x]), training=False)
        )
        for model in (one, other)
    ]
    for a, b in zip(*both, strict=True):
        a, b = map(keras.ops.convert_to_numpy, (a, b))
        if a.shape != b.shape:
            return float("inf")
        scale = max(float(np.abs(a).max()), 1e-7)
        worst = max(worst, float(np.abs(a - b).max()) / scale)
    return worst
