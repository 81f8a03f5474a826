"""A way out of the model after a group of blocks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras

from keras_sparse import _surgery
from keras_sparse.sequential.blocks import Block

Head = Callable[[Any], Any]
_REMEDY = (
    "Pass head=a callable from a group's output to the model's outputs, as "
    "the loss expects them."
)


def find_head(model: keras.Model, head: Head | str | None) -> Head | None:
    """What makes the model's output from a group's.

    Args:
        model: A Functional model.
        head: A callable from tensor to tensor, `None`, or `"auxiliary"`:
            BatchNorm, ReLU, global average and a Dense layer with the
            activation of the model's own output layer.

    Raises:
        ValueError: If `head` is none of these, or `"auxiliary"` for a model
            whose output is not one vector by a layer with an activation.
    """
    if head is None or callable(head):
        return head
    if head != "auxiliary":
        raise ValueError(
            "Expected `head` to be 'auxiliary' or a callable from a tensor to "
            f"the model's output. Received: {head!r}."
        )
    shapes = [tuple(output.shape) for output in model.outputs]
    if len(shapes) != 1 or len(shapes[0]) != 2:
        raise ValueError(
            "Expected a model with one output, a vector for each example, "
            f"where `head` is 'auxiliary'. Received {model.name!r} with "
            f"outputs of the shapes {shapes}. {_REMEDY}"
        )
    layer = _output_layer(model)
    activation: Any = getattr(layer, "activation", None)
    if isinstance(layer, keras.layers.Softmax) and layer.axis in (-1, 1):
        activation = keras.activations.softmax
    elif not isinstance(layer, (keras.layers.Dense, keras.layers.Activation)):
        raise ValueError(
            "Expected a model whose output is made by a Dense, Activation or "
            "Softmax layer, where `head` is 'auxiliary'. Received "
            f"{model.name!r}, where a {type(layer).__name__} makes it. "
            f"{_REMEDY}"
        )
    units = shapes[0][-1]

    def outputs(x: Any) -> Any:
        x = keras.layers.BatchNormalization()(x)
        x = keras.layers.ReLU()(x)
        if len(x.shape) > 2:
            axes = tuple(range(1, len(x.shape) - 1))
            x = keras.ops.mean(x, axis=axes)
        return keras.layers.Dense(
            units, activation=activation, dtype=layer.dtype_policy
        )(x)

    return outputs


def with_head(
    model: keras.Model, group: Block, head: Head | None
) -> tuple[keras.Model, Sequence[keras.layers.Layer]]:
    """The model up to a group, and the layers to train in it.

    Args:
        model: A Functional model.
        group: One of its groups.
        head: From the group's output to the model's; without one, and for
            the last group, the model stays whole.
    """
    if head is None or group.output is None:
        return model, group.layers
    prefix = keras.Model(model.inputs, head(group.output))
    known = {id(layer) for layer in _surgery.all_layers(model)}
    added = [x for x in _surgery.all_layers(prefix) if id(x) not in known]
    return prefix, [*group.layers, *added[1:]]  # the prefix itself comes first


def _output_layer(model: keras.Model) -> Any:
    """What makes a model's output, in the models it ends with as well."""
    graph = _surgery.graph_of(model)
    if graph is None:
        return model
    [end] = [
        node
        for node in _surgery.graph_nodes(graph)
        if any(output is graph.outputs[0] for output in node.outputs)
    ]
    if isinstance(end.operation, keras.Model):
        return _output_layer(end.operation)
    return end.operation
