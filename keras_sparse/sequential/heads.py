"""A way out of the model after a group of blocks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras

from keras_sparse import _surgery
from keras_sparse.sequential.blocks import Block

Head = Callable[[Any], Any]


def with_head(
    model: keras.Model, group: Block, head: Head | str | None
) -> tuple[keras.Model, Sequence[keras.layers.Layer]]:
    """The model up to a group, and the layers to train in it.

    Args:
        model: A Functional model.
        group: One of its groups.
        head: From the group's output to the model's, or `"auxiliary"`;
            without one, and for the last group, the model stays whole.
    """
    if head is None or group.output is None:
        return model, group.layers
    outputs = _auxiliary(model) if head == "auxiliary" else head
    if not callable(outputs):
        raise ValueError(
            "Expected `head` to be 'auxiliary' or a callable from a tensor to "
            f"the model's output. Received: {head!r}."
        )
    prefix = keras.Model(model.inputs, outputs(group.output))
    known = {id(layer) for layer in _surgery.all_layers(model)}
    added = [x for x in _surgery.all_layers(prefix) if id(x) not in known]
    return prefix, [*group.layers, *added[1:]]  # the prefix itself comes first


def _auxiliary(model: keras.Model) -> Head:
    units = model.output_shape[-1]

    def outputs(x: Any) -> Any:
        x = keras.layers.BatchNormalization()(x)
        x = keras.layers.ReLU()(x)
        if len(x.shape) > 2:
            axes = tuple(range(1, len(x.shape) - 1))
            x = keras.ops.mean(x, axis=axes)
        return keras.layers.Dense(units)(x)

    return outputs
