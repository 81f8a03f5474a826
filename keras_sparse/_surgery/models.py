"""Models: what `compile` and `fit` keep, and the graph that is run."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import keras
from keras.src.models import Functional
from keras.src.utils import io_utils

from keras_sparse._surgery.layers import all_layers


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


def sync_state(model: keras.Model) -> None:
    """Brings variables up to date in the middle of `fit` (JAX keeps a copy)."""
    if hasattr(model, "jax_state_sync"):
        model.jax_state_sync()


def examples_seen(model: keras.Model) -> float:
    """How many examples the loss of this epoch was averaged over so far."""
    tracker = model._loss_tracker
    return float(keras.ops.convert_to_numpy(tracker.count)) if tracker else 0.0


def say(message: str) -> None:
    """Prints a line where Keras prints its own progress."""
    io_utils.print_msg(message)


def is_functional(model: keras.Model) -> bool:
    """Whether the model's config is the graph of its layers."""
    return isinstance(model, (Functional, keras.Sequential))


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
