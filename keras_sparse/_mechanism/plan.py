"""What `sparsify` is about to do, checked before anything changes."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable
from typing import Any

import keras

from keras_sparse import _surgery, adapters
from keras_sparse._mechanism.sparse_layer import (
    SparseLayer,
    build_parametrization,
    check_shape,
)
from keras_sparse._traversal import walk
from keras_sparse.adapters import Slot
from keras_sparse.parametrizations.parametrization import Parametrization

Choice = (
    Parametrization
    | Callable[[keras.layers.Layer, str], Parametrization | None]
)


@dataclasses.dataclass(frozen=True)
class Planned:
    """A weight and the built parametrization it will get."""

    layer: keras.layers.Layer
    slot: Slot
    raw: keras.Variable
    parametrization: Parametrization


def plan(
    model: keras.layers.Layer, layers: list[keras.layers.Layer], choice: Choice
) -> list[Planned]:
    """Builds a parametrization for every chosen weight of the layers."""
    planned: list[Planned] = []
    holders = _holders(model)
    for layer in layers:
        for slot in adapters.slots_of(layer):
            if isinstance(choice, Parametrization):
                parametrization: Parametrization | None = choice.copy()
            else:
                parametrization = choice(layer, slot.name)
            if parametrization is None:
                continue
            _check_layer(layer)
            raw: Any = slot.weight(layer)
            _check_weight(layer, slot, raw, parametrization)
            _check_holders(layer, slot, holders[id(raw)])
            with _surgery.creation_scope(layer.path or layer.name, raw):
                build_parametrization(layer, parametrization, slot, raw)
            value = _surgery.read(raw)
            parametrization.adapt(value)
            check_shape(parametrization(value), parametrization, raw)
            planned.append(Planned(layer, slot, raw, parametrization))
    return planned


def check_unbuilt(layer: keras.layers.Layer, choice: Choice) -> Parametrization:
    """The parametrization for a layer that has no weights yet, checked."""
    if isinstance(layer, SparseLayer):
        raise ValueError(
            "Expected a layer that is not sparse yet. Received "
            f"{layer.name!r}, which is a {type(layer).__name__} already. Make "
            "it anew from the plain class."
        )
    if adapters.find_adapter(layer) is None:
        raise ValueError(
            "Expected a layer that holds a known weight. Received "
            f"{type(layer).__name__}. Tell `keras_sparse.register_adapter` "
            "about it."
        )
    if not isinstance(choice, Parametrization):
        raise ValueError(
            "Expected a Parametrization for a layer that is not built yet, "
            "since its weights are not known. Received a callable. Build the "
            "layer first."
        )
    return choice


def _holders(
    model: keras.layers.Layer,
) -> dict[int, list[keras.layers.Layer]]:
    """The layers that hold each variable, by the variable's id.

    A layer whose adapter finds a variable twice is named twice.
    `SpectralNormalization` does not use the weight of the layer in it: it
    changes its value only.
    """
    holders = collections.defaultdict(list)
    for layer in walk(model):
        slots = adapters.slots_of(layer) if layer.built else []
        found = [id(slot.weight(layer)) for slot in slots]
        own = {id(v) for v in _surgery.own_variables(layer)}
        if isinstance(layer, keras.layers.SpectralNormalization):
            own = set()
        for identity in [*found, *own.difference(found)]:
            holders[identity].append(layer)
    return holders


def _check_layer(layer: keras.layers.Layer) -> None:
    if isinstance(layer, SparseLayer):
        raise ValueError(
            "Expected layers that are not sparse yet. Received "
            f"{layer.path!r}, which is a {type(layer).__name__} already. Call "
            "`keras_sparse.strip(model)` first, or name the layers to take "
            "with `where` and `exclude`."
        )
    if layer.quantization_mode is not None:
        raise ValueError(
            "Expected layers with floating-point weights. Received "
            f"{layer.path!r}, quantized to {layer.quantization_mode}. Sparsify "
            "before you quantize, or leave it out with `exclude`."
        )


def _check_weight(
    layer: keras.layers.Layer,
    slot: Slot,
    raw: Any,
    parametrization: Any,
) -> None:
    where = f"{layer.path}/{slot.name}"
    if not isinstance(raw, keras.Variable):
        raise ValueError(
            f"Expected a variable at {slot.path!r} of {layer.path!r}. "
            f"Received: {type(raw).__name__}. Mend the slots given to "
            "`keras_sparse.register_adapter`."
        )
    if not isinstance(parametrization, Parametrization):
        raise TypeError(
            f"Expected a Parametrization or None for {where!r}. "
            f"Received: {parametrization!r}."
        )
    if parametrization.built:
        raise ValueError(
            "Expected a parametrization of its own for each weight. Received "
            f"one for {where!r} that was built for another. Make a new one in "
            "the callable at each call."
        )


def _check_holders(
    layer: keras.layers.Layer, slot: Slot, holders: list[keras.layers.Layer]
) -> None:
    if len(holders) > 1:
        raise ValueError(
            "Expected each weight to belong to one layer, since one layer "
            "would see it sparse and another as it is. Received "
            f"{layer.path}/{slot.name}, a variable that "
            f"{' and '.join(repr(each.path) for each in holders)} hold. Leave "
            "these layers out with `exclude`, or call one layer twice instead."
        )
