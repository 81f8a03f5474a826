"""Compiling the same model again and again, each time from the start."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import keras

from keras_sparse import _surgery

Compiler = Callable[[keras.Model], None]


def compiler(
    model: keras.Model, given: Mapping[str, Any] | Compiler | None
) -> Compiler:
    """What compiles a model with an optimizer that remembers nothing.

    Args:
        model: The model, whose own compile arguments are the default.
        given: Arguments of `model.compile`, or a callable that compiles the
            model it is given.

    Raises:
        ValueError: If nothing is given and the model is not compiled, or the
            optimizer, a loss or a metric cannot be made from its config.
    """
    if callable(given):
        return given
    if given is not None:
        arguments = dict(given)
        optimizer = keras.optimizers.get(arguments.pop("optimizer", "rmsprop"))
        with _named_remedy():
            _check_exemptions(optimizer)
            config = keras.optimizers.serialize(optimizer)
        return lambda each: each.compile(
            optimizer=keras.optimizers.deserialize(copy.deepcopy(config)),
            **arguments,
        )
    if not model.compiled:
        raise ValueError(
            "Expected a compiled model, or `compile`. Received neither. Pass "
            "compile={'optimizer': 'adam', 'loss': ...}."
        )
    # Some optimizers take entries out of the config they are made from.
    with _named_remedy():
        _check_exemptions(model.optimizer)
        config = model.get_compile_config()

    def again(each: keras.Model) -> None:
        with _named_remedy():
            each.compile_from_config(copy.deepcopy(config))

    return again


def _check_exemptions(optimizer: Any) -> None:
    if _surgery.exempts_weights(optimizer):
        raise ValueError(
            "no config holds what `exclude_from_weight_decay` was told."
        )


@contextlib.contextmanager
def _named_remedy() -> Iterator[None]:
    try:
        yield
    except (NotImplementedError, TypeError, ValueError) as error:
        raise ValueError(
            "Expected an optimizer, a loss and metrics that can be made anew "
            f"from their configs. Received one that cannot: {error} Pass "
            "compile=a callable, `lambda model: model.compile(...)`, which "
            "makes a new optimizer each time."
        ) from error


def without_names(config: Any) -> Any:
    """A config as JSON returns it, without the names that Keras numbers."""
    if isinstance(config, dict):
        kept = {k: v for k, v in config.items() if k != "name"}
        return {k: without_names(v) for k, v in kept.items()}
    if isinstance(config, (list, tuple)):
        return [without_names(each) for each in config]
    return config
