"""The residual blocks of a model, front to back."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import keras

from keras_sparse import _surgery, adapters
from keras_sparse._traversal import Filter, matching, walk


@dataclasses.dataclass(frozen=True)
class Block:
    """Layers that are sparsified together.

    Args:
        name: Where it ends, or the rule that named it.
        layers: Its layers.
        output: The tensor that leaves it, a KerasTensor, where it was found
            in the model's graph.
    """

    name: str
    layers: tuple[keras.layers.Layer, ...]
    output: Any = None

    def __repr__(self) -> str:
        return f"Block({self.name!r}, {len(self.layers)} layers)"


def find_blocks(
    model: keras.Model, blocks: int | Sequence[Filter] = 1
) -> list[Block]:
    """Cuts a model into groups of blocks, front to back.

    Args:
        model: A built model. For a number of blocks it must be Functional or
            Sequential with residual additions.
        blocks: How many residual blocks make a group. A block ends at an
            `Add`; what comes before the first belongs to the first group, and
            what comes after the last is a group of its own. Or a list with a
            rule for each group, as `where` in `keras_sparse.sparsify`.

    Returns:
        Groups that hold a weight, none in common.

    Raises:
        ValueError: If the model has no residual additions, a rule matches
            nothing, or a layer belongs to two groups.

    Example:

    >>> import keras, keras_sparse as ks
    >>> x = inputs = keras.Input((4,))
    >>> for i in range(2):
    ...     x = keras.layers.Add(name=f"add{i}")([x, keras.layers.Dense(4)(x)])
    >>> model = keras.Model(inputs, keras.layers.Dense(1, name="out")(x))
    >>> ks.sequential.find_blocks(model)
    [Block('add0', 2 layers), Block('add1', 2 layers), Block('head', 1 layers)]
    """
    if isinstance(blocks, int):
        return _at_additions(model, blocks)
    return _by_rules(model, blocks)


def _by_rules(model: keras.Model, rules: Sequence[Filter]) -> list[Block]:
    layers = [x for x in walk(model) if not isinstance(x, keras.Model)]
    found: list[Block] = []
    taken: dict[int, Filter] = {}
    for rule in rules:
        members = matching(layers, rule, "blocks")
        for layer in members:
            if id(layer) in taken:
                raise ValueError(
                    "Expected rules that have no layer in common. Received "
                    f"{taken[id(layer)]!r} and {rule!r}, which both match "
                    f"{layer.path!r}."
                )
            taken[id(layer)] = rule
        found.append(Block(str(rule), tuple(members)))
    return found


def _at_additions(model: keras.Model, size: int) -> list[Block]:
    if size < 1:
        raise ValueError(
            f"Expected groups of at least one block. Received: {size}."
        )
    graph = _surgery.graph_of(model)
    nodes = [] if graph is None else _surgery.graph_nodes(graph)
    ends = [node for node in nodes if _is_addition(node)]
    if not ends:
        raise ValueError(
            "Expected a Functional model with residual additions. Received "
            f"{model.name!r}, in which there are none to cut at. Name the "
            "layers of each group: blocks=['stem|block1', 'block2', ...]."
        )
    last_of_group = [*ends[size - 1 : -1 : size], ends[-1]]
    found: list[Block] = []
    seen: set[int] = set()
    for end in [*last_of_group, None]:
        before = nodes if end is None else _ancestors(end)
        members = []
        for node in nodes:  # in the order of the model
            if node in before:
                for layer in _layers_of(node):
                    if id(layer) not in seen:
                        members.append(layer)
                        seen.add(id(layer))
        name = "head" if end is None else end.operation.name
        output = None if end is None else end.outputs[0]
        if any(adapters.slots_of(layer) for layer in members):
            found.append(Block(name, tuple(members), output))
    return found


def _is_addition(node: Any) -> bool:
    operation = node.operation
    # `a + b` of two tensors of the model is an operation of Keras' own.
    return (
        isinstance(operation, keras.layers.Add)
        or type(operation).__name__ == "Add"
    ) and len(node.arguments.keras_tensors) > 1


def _ancestors(end: Any) -> set[Any]:
    found: set[Any] = set()
    waiting = [end]
    while waiting:
        node = waiting.pop()
        if node not in found:
            found.add(node)
            waiting.extend(node.parent_nodes)
    return found


def _layers_of(node: Any) -> list[keras.layers.Layer]:
    if not isinstance(node.operation, keras.layers.Layer) or isinstance(
        node.operation, keras.layers.InputLayer
    ):
        return []
    return list(walk(node.operation))
