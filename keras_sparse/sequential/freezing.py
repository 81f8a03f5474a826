"""One part of a model in training mode, the rest as in evaluation."""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import keras

from keras_sparse import _surgery, adapters
from keras_sparse._traversal import walk


@contextlib.contextmanager
def only_trainable(
    model: keras.Model, layers: Iterable[keras.layers.Layer]
) -> Iterator[None]:
    """Freezes all other layers and calls them with `training=False`.

    Dropout, noise layers, dropout in recurrent cells, stochastic depth and
    BatchNorm of the others do as in evaluation. A layer of one's own that
    holds some of `layers` is called as in training; what it holds besides
    is not.

    Args:
        model: The model. A `compile` that comes before would not know.
        layers: What stays trainable, if it was.
    """
    kept = {id(layer) for layer in layers}
    flags = [(x, x.trainable) for x in _surgery.all_layers(model)]
    was_trainable = {id(layer): trainable for layer, trainable in flags}
    with contextlib.ExitStack() as stack:
        for layer in _without(model, kept):
            call = _in_evaluation(layer)
            stack.enter_context(_surgery.exchanged(layer, call=call))
        try:
            for layer in walk(model):  # from the outside inwards
                if id(layer) in kept:
                    layer.trainable = was_trainable[id(layer)]
                elif _holds_variables(layer):
                    layer.trainable = False
            yield
        finally:
            for layer, trainable in flags:  # from the outside inwards
                layer.trainable = trainable


def _without(model: keras.Model, kept: set[int]) -> list[keras.layers.Layer]:
    """The layers that hold no kept one, with all below them, each once."""
    found: dict[int, keras.layers.Layer] = {}
    for layer in walk(model):
        below = _surgery.all_layers(layer)
        if all(id(each) not in kept for each in below):
            found.update({id(each): each for each in below})
    return list(found.values())


def _in_evaluation(layer: keras.layers.Layer) -> Callable[..., Any]:
    """The layer's `call` with `training=False`, where it takes that."""
    plain: Callable[..., Any] = layer.call
    if "training" not in inspect.signature(plain).parameters:
        return plain

    @functools.wraps(plain)
    def call(*args: Any, **kwargs: Any) -> Any:
        return plain(*args, **{**kwargs, "training": False})

    return call


def _holds_variables(layer: keras.layers.Layer) -> bool:
    return layer.built and bool(
        _surgery.own_variables(layer) or adapters.slots_of(layer)
    )
