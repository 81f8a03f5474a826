"""The only file that touches private names of Keras.

Everything here is a small operation on a live Keras object that the public
API has no word for: reading a variable before autocasting, exchanging an
attribute while `call` runs, adding and removing a sublayer.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
from keras.src.backend.common.symbolic_scope import in_symbolic_scope
from keras.src.backend.common.variables import AutocastScope
from keras.src.models import Functional
from keras.src.utils import io_utils

_MISSING = object()
_FLOATS_BELOW_32_BITS = ("float16", "bfloat16")


def attribute_name(owner: Any, name: str) -> str:
    """The attribute that stores `name`: Keras keeps some behind a `_`."""
    private = f"_{name}"
    return private if private in owner.__dict__ else name


def read(variable: keras.Variable) -> Any:
    """The variable as a tensor of at least float32, before any autocast."""
    with AutocastScope(None):
        value = variable.value
    if keras.backend.backend() == "tensorflow":
        # To Keras a tf.Variable is a tensor already, of which each use would
        # be another reading.
        import tensorflow as tf

        value = tf.convert_to_tensor(value)
    if keras.backend.standardize_dtype(value.dtype) in _FLOATS_BELOW_32_BITS:
        value = keras.ops.cast(value, "float32")
    return value


def to_numpy(value: Any) -> np.ndarray:
    """A tensor as an array to read from, without a copy where that works.

    Where processes of JAX hold parts of it, each gets all: all have to ask.
    """
    if keras.backend.backend() == "tensorflow":
        return np.asarray(value)
    if not (
        getattr(value, "is_fully_addressable", True)
        or value.is_fully_replicated
    ):
        from jax.experimental import multihost_utils

        return multihost_utils.process_allgather(value, tiled=True)
    return keras.ops.convert_to_numpy(value)


def compute_dtype(owner: keras.layers.Layer, variable: keras.Variable) -> str:
    """The dtype in which `owner` sees `variable` while it is called."""
    return owner.compute_dtype if variable._autocast else variable.dtype


def exchange(owner: Any, name: str, value: Any) -> Any:
    """Sets `owner.name` around Keras' tracking; returns what undoes it."""
    before = owner.__dict__.get(name, _MISSING)
    owner.__dict__[name] = value
    return before


def restore(owner: Any, name: str, before: Any) -> None:
    """Undoes `exchange`."""
    if before is _MISSING:
        owner.__dict__.pop(name, None)
    else:
        owner.__dict__[name] = before


@contextlib.contextmanager
def exchanged(owner: Any, **values: Any) -> Iterator[None]:
    """While entered, attributes of `owner` have other values."""
    before = {
        name: exchange(owner, name, value) for name, value in values.items()
    }
    try:
        yield
    finally:
        for name, value in before.items():
            restore(owner, name, value)


def add_sublayer(
    layer: keras.layers.Layer, name: str, sublayer: keras.layers.Layer
) -> None:
    """Sets `layer.name = sublayer` on a layer that is already built."""
    locked = layer._tracker.locked
    layer._tracker.unlock()
    try:
        setattr(layer, name, sublayer)
    finally:
        if locked:
            layer._tracker.lock()


def remove_sublayer(layer: keras.layers.Layer, name: str) -> None:
    """Deletes `layer.name`, which `del` alone would leave tracked."""
    layer._tracker.untrack(getattr(layer, name))
    delattr(layer, name)


def sublayers(layer: keras.layers.Layer) -> list[keras.layers.Layer]:
    """The layers that `layer` tracks directly."""
    return list(layer._layers)


def all_layers(layer: keras.layers.Layer) -> list[keras.layers.Layer]:
    """The layer and all below it, parametrizations too, each once."""
    return list(layer._flatten_layers())


def copy_of_lambda(layer: keras.layers.Lambda) -> keras.layers.Lambda:
    """A layer with the very functions of another, not read from its config."""
    return type(layer)(
        layer.function,
        output_shape=layer._output_shape,
        mask=layer.mask,
        arguments=layer.arguments,
        name=layer.name,
        dtype=layer.dtype_policy,
    )


def own_variables(layer: keras.layers.Layer) -> list[keras.Variable]:
    """The variables that `layer` holds itself, without its sublayers'."""
    return layer._trainable_variables + layer._non_trainable_variables


def variables_to_train(layer: keras.layers.Layer) -> list[keras.Variable]:
    """Those that it holds itself and trains where it is not frozen."""
    return list(layer._trainable_variables)


@contextlib.contextmanager
def creation_scope(path: str, beside: keras.Variable) -> Iterator[None]:
    """Where to create variables of the layer at `path`, such as `beside`.

    Opens the name scope part by part, and the scope of the distribution
    strategy that `beside` was created in, if any.
    """
    strategy = getattr(beside.value, "distribute_strategy", None)
    with contextlib.ExitStack() as stack:
        if strategy is not None:
            stack.enter_context(strategy.scope())
        for part in path.split("/"):
            stack.enter_context(keras.name_scope(part))
        yield


def layout_of(variable: keras.Variable) -> Any:
    """How a `keras.distribution` lays the variable out, if there is one."""
    return getattr(variable, "_layout", None)  # on JAX alone before Keras 3.15


def is_training(layer: keras.layers.Layer) -> bool:
    """Whether the layer is being called for training; only within `call`."""
    return bool(layer._get_call_context().get_value("training"))


def is_symbolic() -> bool:
    """Whether layers are called only to learn their outputs' shapes."""
    return in_symbolic_scope()


def forget_traces(model: keras.Model) -> None:
    """Makes `fit`, `evaluate` and `predict` trace the model again."""
    model.train_function = None
    model.test_function = None
    model.predict_function = None


@contextlib.contextmanager
def own_predict_function(model: keras.Model) -> Iterator[None]:
    """While entered, `predict` uses a function traced anew."""
    before, model.predict_function = model.predict_function, None
    try:
        yield
    finally:
        model.predict_function = before


def require_compile(model: keras.Model) -> bool:
    """Marks a compiled model as not compiled; says whether it was."""
    was_compiled = model.compiled
    model.compiled = False
    return was_compiled


def require_compile_of_all(model: keras.Model) -> None:
    """Marks a model and those in it as not compiled."""
    for layer in all_layers(model):
        if isinstance(layer, keras.Model):
            require_compile(layer)


def is_functional(model: keras.Model) -> bool:
    """Whether the model's config is the graph of its layers."""
    return isinstance(model, (Functional, keras.Sequential))


def sync_state(model: keras.Model) -> None:
    """Brings variables up to date in the middle of `fit` (JAX keeps a copy)."""
    if hasattr(model, "jax_state_sync"):
        model.jax_state_sync()


def learning_rate(optimizer: keras.optimizers.Optimizer) -> Any:
    """The optimizer's rate: a variable, or the schedule itself."""
    return optimizer._learning_rate


def exempts_weights(optimizer: Any) -> bool:
    """Whether its weight decay leaves some out, which no config tells."""
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)
    lists = ("_exclude_from_weight_decay", "_exclude_from_weight_decay_pattern")
    exempt = any(getattr(optimizer, name, None) for name in lists)
    return exempt and bool(getattr(optimizer, "weight_decay", None))


def optimizer_slots(
    optimizer: keras.optimizers.Optimizer, variable: keras.Variable
) -> list[keras.Variable]:
    """The optimizer's variables that belong to `variable`, entry by entry.

    Momentum, second moments, accumulated gradients and moving averages alike:
    whatever the optimizer keeps in a list parallel to its trainable variables.
    """
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)
    if not optimizer.built:
        return []
    trainable = optimizer._trainable_variables
    positions = [i for i, v in enumerate(trainable) if v is variable]
    if not positions:
        return []
    slots = [
        each[positions[0]]
        for each in vars(optimizer).values()
        if isinstance(each, list) and each is not trainable
        if len(each) == len(trainable)
    ]
    variables = [each for each in slots if isinstance(each, keras.Variable)]
    return [each for each in variables if each.shape == variable.shape]


def start_of_slot(
    optimizer: keras.optimizers.Optimizer, slot: keras.Variable
) -> float:
    """What the optimizer fills one of `optimizer_slots` with at first."""
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)
    # Of `Adagrad` and `Ftrl`, which divide by it.
    if any(each is slot for each in getattr(optimizer, "_accumulators", ())):
        return getattr(optimizer, "initial_accumulator_value", 0.0)
    return 0.0


def seed_generators(
    layer: keras.layers.Layer,
) -> list[keras.random.SeedGenerator]:
    """Every seed generator in the layer and below it, each once."""
    found = [g for each in all_layers(layer) for g in each._seed_generators]
    return list({id(generator): generator for generator in found}.values())


def examples_seen(model: keras.Model) -> float:
    """How many examples the loss of this epoch was averaged over so far."""
    tracker = model._loss_tracker
    return float(keras.ops.convert_to_numpy(tracker.count)) if tracker else 0.0


def say(message: str) -> None:
    """Prints a line where Keras prints its own progress."""
    io_utils.print_msg(message)


def micro_steps(optimizer: keras.optimizers.Optimizer) -> int:
    """Batches that the optimizer has seen, accumulated ones included."""
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)
    return int(keras.ops.convert_to_numpy(optimizer._iterations))


def accumulation(optimizer: keras.optimizers.Optimizer) -> int:
    """Batches whose gradients make one step."""
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)
    return optimizer.gradient_accumulation_steps or 1


def graph_of(model: keras.Model) -> Any:
    """The graph that a model runs, or `None` where its `call` is its own."""
    if type(model).call not in (Functional.call, keras.Sequential.call):
        return None
    if isinstance(model, keras.Sequential):
        model = model._functional
    return model if isinstance(model, Functional) else None


def graph_nodes(graph: Any) -> list[Any]:
    """Every call of a layer or operation in a graph, inputs first."""
    depths = sorted(graph._nodes_by_depth, reverse=True)
    return [node for depth in depths for node in graph._nodes_by_depth[depth]]


def graph_structure(graph: Any) -> tuple[Any, Any]:
    """The inputs and outputs of a graph, nested as they were given."""
    return graph._inputs_struct, graph._outputs_struct
