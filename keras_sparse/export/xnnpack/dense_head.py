"""A head of 1x1 convolutions on pooled features, as Dense layers."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers


class HeadKept(Exception):
    """The layers behind the last pooling are not those of a head."""


def head_of(model: keras.Model) -> set[str]:
    """Return the layers from the last global average on, if it keeps axes."""
    pools = [
        index
        for index, layer in enumerate(model.layers)
        if isinstance(layer, layers.GlobalAveragePooling2D)
    ]
    if not pools or not model.layers[pools[-1]].keepdims:
        return set()
    return {layer.name for layer in model.layers[pools[-1] :]}


def as_dense(layer: Any) -> Any:
    """Return the layer that does on vectors what `layer` does on 1 x 1."""
    config = layer.get_config()
    if isinstance(layer, layers.GlobalAveragePooling2D):
        return type(layer).from_config({**config, "keepdims": False})
    if isinstance(layer, layers.SpatialDropout2D):
        return layers.Dropout(layer.rate, name=layer.name)
    if type(layer) is layers.Conv2D and layer.groups == 1:
        if layer.kernel_size != (1, 1):
            raise HeadKept
        return layers.Dense(
            layer.filters,
            activation=config["activation"],
            use_bias=layer.use_bias,
            name=layer.name,
            trainable=layer.trainable,
        )
    flat = isinstance(layer, layers.Flatten) or (
        isinstance(layer, layers.Reshape) and len(layer.target_shape) == 1
    )
    kept = (
        layers.Activation,
        layers.BatchNormalization,
        layers.Dense,
        layers.Dropout,
        layers.ReLU,
        layers.Softmax,
    )
    if flat or isinstance(layer, kept):
        return type(layer).from_config(config)
    raise HeadKept
