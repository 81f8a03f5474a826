"""What tells one sequential run from another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from keras_sparse import _surgery
from keras_sparse._compiling import Compiler, without_names
from keras_sparse.lottery.trainings.compile_config import describe_compiling
from keras_sparse.parametrizations.parametrization import Parametrization
from keras_sparse.sequential.blocks import Block

_SCALARS = (bool, int, float, str, np.generic)


def describe_groups(groups: Sequence[Block], taken: set[int]) -> list[Any]:
    """The layers of each group without names, which Keras counts up.

    Args:
        groups: In the order of the run.
        taken: Ids of the layers that become sparse.
    """
    return [
        [
            {"weights": shapes_of(layer), "sparse": id(layer) in taken}
            for layer in group.layers
        ]
        for group in groups
    ]


def shapes_of(layer: keras.layers.Layer) -> list[list[int]]:
    return [list(variable.shape) for variable in layer.weights]


def describe_choice(choice: Any) -> Any:
    """A parametrization or a callable, by its config or its name."""
    if not isinstance(choice, Parametrization):
        return getattr(choice, "__qualname__", type(choice).__name__)
    return [type(choice).__name__, without_names(choice.get_config())]


def describe_fit(fit: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of `fit` that are one number or word."""
    return {
        name: value
        for name, value in sorted(fit.items())
        if isinstance(value, _SCALARS) and name != "verbose"
    }


def describe_compile(
    model: keras.Model,
    given: Mapping[str, Any] | Compiler | None,
    compile_model: Compiler,
) -> Any:
    """What each group is compiled with; the model itself is not compiled.

    Args:
        model: The model.
        given: `None` for the model's own arguments. A callable is tried on a
            model that shares the layers; where the model is no graph of
            layers, it is known by its name alone.
        compile_model: What compiles a model with it.
    """
    if given is None:
        return without_names(describe_compiling(model))
    if not callable(given):
        probe = keras.Sequential()
    elif _surgery.is_functional(model):
        probe = keras.Model(model.inputs, model.outputs)
    else:
        return describe_choice(given)
    compile_model(probe)
    return without_names(describe_compiling(probe))
