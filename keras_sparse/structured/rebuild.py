"""A new model from a graph, with other sizes and the weights that stay."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
from numpy.typing import NDArray

from keras_sparse import _surgery
from keras_sparse.structured.tracing import Trace, count
from keras_sparse.structured.values import Values, sliced


def rebuild(
    model: keras.Model,
    trace: Trace,
    kept: NDArray,
    values: Values,
    replaced: Mapping[int, keras.layers.Layer | None],
) -> keras.Model:
    """Builds the model again with the channels that are kept.

    Args:
        model: The model; it is not changed.
        trace: What `follow` found out about it.
        kept: For each channel whether it stays.
        values: Its weights, in their old shapes.
        replaced: By a layer's id what takes its place; `None` drops it.

    Returns:
        A new plain model, not compiled, with layers of the same names.
    """
    new = _Rebuilding(trace, kept, values, replaced)
    made = new.model(model, None)
    new.fill()
    return made


class _Rebuilding:
    def __init__(
        self,
        trace: Trace,
        kept: NDArray,
        values: Values,
        replaced: Mapping[int, keras.layers.Layer | None],
    ) -> None:
        self.trace, self.kept, self.values = trace, kept, values
        self.replaced = replaced
        self.made: dict[int, tuple[Any, Any]] = {}
        self.followed: set[int] = set()

    def model(self, model: keras.Model, entered: Any) -> keras.Model:
        graph = _surgery.graph_of(model)
        starts = {
            id(node.outputs[0]): node.operation
            for node in _surgery.graph_nodes(graph)
            if node.is_input
        }
        inputs = []
        for number, tensor in enumerate(graph.inputs):
            shape = list(tensor.shape)
            if entered is not None and entered[number].ids is not None:
                signal = entered[number]
                shape[signal.axis] = count(self.kept, signal.ids)
            new = _from_config(starts[id(tensor)], {"batch_shape": shape})
            inputs.append(new.output)
        if isinstance(model, keras.Sequential):
            layers = [
                new
                for new in (self.copy(layer) for layer in model.layers)
                if new is not None
            ]
            made = keras.Sequential([inputs[0], *layers], name=model.name)
        else:
            made = self.functional(graph, inputs, model.name)
        self.made[id(model)] = (model, made)
        self.followed.add(id(model))
        return made

    def functional(
        self, graph: Any, inputs: list[Any], name: str
    ) -> keras.Model:
        tensors = {
            id(tensor): new
            for tensor, new in zip(graph.inputs, inputs, strict=True)
        }
        for node in _surgery.graph_nodes(graph):
            if node.is_input or not all(
                id(tensor) in tensors for tensor in node.input_tensors
            ):
                continue
            new = self.copy(node.operation)
            args, kwargs = node.arguments.fill_in(tensors)
            result = args[0] if new is None else new(*args, **kwargs)
            for tensor, each in zip(
                node.outputs, keras.tree.flatten(result), strict=True
            ):
                tensors[id(tensor)] = each
        structure = _surgery.graph_structure(graph)
        ends = [tensors[id(tensor)] for tensor in graph.outputs]
        return keras.Model(
            keras.tree.pack_sequence_as(structure[0], inputs),
            keras.tree.pack_sequence_as(structure[1], ends),
            name=name,
        )

    def copy(self, operation: Any) -> Any:
        """A new layer for an old one; the same for the same."""
        key = id(operation)
        if key in self.made:
            return self.made[key][1]
        if key in self.replaced:
            new = self.replaced[key]
        elif isinstance(operation, keras.layers.Lambda):
            new = _surgery.copy_of_lambda(operation)
        elif key in self.trace.entered:
            return self.model(operation, self.trace.entered[key])
        else:
            new = _from_config(operation, self.changes(operation))
        self.made[key] = (operation, new)
        return new

    def changes(self, operation: Any) -> dict[str, Any]:
        sizes = self.trace.sizes.get(id(operation))
        changes = sizes(self.kept) if sizes else {}
        if id(operation) in self.values.biases:
            changes["use_bias"] = True
        return changes

    def fill(self) -> None:
        """Copies the weights, and what `trainable` was set to."""
        pairs = [
            (old, new)
            for key, (old, new) in self.made.items()
            if isinstance(old, keras.layers.Layer) and key not in self.replaced
        ]
        for old, new in pairs:
            if id(old) not in self.followed:
                self.fill_layer(old, new)
        for old, new in reversed(pairs):
            if new.trainable != old.trainable:
                new.trainable = old.trainable

    def fill_layer(self, old: Any, new: Any) -> None:
        targets = list(new.weights)
        bias = self.values.biases.get(id(old))
        if bias is not None:
            targets = [each for each in targets if each is not new.bias]
            made = self.trace.mixes[id(old)][0].out_ids
            new.bias.assign(bias[self.kept[made]])
        for variable, target in zip(old.weights, targets, strict=True):
            value = self.values[variable]
            target.assign(sliced(self.trace, variable, value, self.kept))
        if hasattr(new, "finalize_state"):
            new.finalize_state()


_WITH_TABLES = (
    keras.layers.Discretization,
    keras.layers.IntegerLookup,
    keras.layers.StringLookup,
    keras.layers.TextVectorization,
)


def _from_config(operation: Any, changes: dict[str, Any]) -> Any:
    try:
        config = operation.get_config()
    except NotImplementedError as error:
        raise ValueError(
            f"Expected every layer to have a config. {operation.name!r} "
            f"({type(operation).__name__}) has none that Keras can read; add "
            "a `get_config` to its class."
        ) from error
    unknown = set(changes) - set(config)
    if unknown:
        raise ValueError(
            f"Expected the config of {operation.name!r} "
            f"({type(operation).__name__}) to hold {sorted(unknown)}, as that "
            "of the layer it derives from. Received one without. Add them to "
            "its `get_config` and `__init__`, or pass the layer in `ignored`."
        )
    if isinstance(operation, _WITH_TABLES):
        raise ValueError(
            "Expected layers whose state is their weights. Received "
            f"{operation.name!r}, a {type(operation).__name__} with a table "
            "that a new model would not have. Shrink the model behind it, and "
            "put it in front again."
        )
    config = {**config, **changes}
    for name, value in config.items():
        if name.endswith("_initializer") and _is_table(value):
            config[name] = "zeros"
    return type(operation).from_config(config)


def _is_table(initializer: Any) -> bool:
    """Whether an initializer holds an array, which fits one size only."""
    inner = initializer.get("config") if isinstance(initializer, dict) else 0
    value = inner.get("value", 0) if isinstance(inner, dict) else 0
    return not isinstance(value, (int, float))
