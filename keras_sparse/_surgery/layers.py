"""Live layers: attributes, sublayers, variables and the call they are in."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import keras
from keras.src.backend.common.symbolic_scope import in_symbolic_scope

_MISSING = object()


def attribute_name(owner: Any, name: str) -> str:
    """The attribute that stores `name`: Keras keeps some behind a `_`."""
    private = f"_{name}"
    return private if private in owner.__dict__ else name


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


def seed_generators(
    layer: keras.layers.Layer,
) -> list[keras.random.SeedGenerator]:
    """Every seed generator in the layer and below it, each once."""
    found = [g for each in all_layers(layer) for g in each._seed_generators]
    return list({id(generator): generator for generator in found}.values())


def is_training(layer: keras.layers.Layer) -> bool:
    """Whether the layer is being called for training; only within `call`."""
    return bool(layer._get_call_context().get_value("training"))


def is_symbolic() -> bool:
    """Whether layers are called only to learn their outputs' shapes."""
    return in_symbolic_scope()
