"""The layers that a model's outputs come from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras

from keras_sparse import _surgery, adapters
from keras_sparse._traversal import layers_with_weights


def output_layers(model: keras.Model) -> list[keras.layers.Layer]:
    """The layers with a known weight that no other one follows.

    Of a graph, those before each of its outputs. Of a model whose `call` is
    its own, the last in the order in which layers were set as attributes.
    """
    graph = _surgery.graph_of(model)
    if graph is None:
        layers, _ = layers_with_weights(model)
        return layers[-1:]
    return list({id(each): each for each in _before(graph)}.values())


def _before(graph: Any) -> Iterator[keras.layers.Layer]:
    """The layers before a graph's outputs, with repetitions."""
    nodes = {
        id(tensor): node
        for node in _surgery.graph_nodes(graph)
        for tensor in node.output_tensors
    }
    stack = keras.tree.flatten(_surgery.graph_structure(graph)[1])
    seen: set[int] = set()
    while stack:
        node = nodes.get(id(stack.pop()))
        if node is None or id(node) in seen:
            continue
        seen.add(id(node))
        found = _known(node.operation)
        yield from found
        if not found:
            stack.extend(node.input_tensors)


def _known(operation: Any) -> list[keras.layers.Layer]:
    if not isinstance(operation, keras.layers.Layer):
        return []
    if isinstance(operation, keras.Model):
        return output_layers(operation)
    if adapters.slots_of(operation):
        return [operation]
    return layers_with_weights(operation)[0][-1:]
