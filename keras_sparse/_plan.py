"""What `sparsify` is about to do, checked before anything changes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import keras

from keras_sparse import _surgery, adapters
from keras_sparse._sparse_layer import SparseLayer, build_parametrization
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


def plan(layers: list[keras.layers.Layer], choice: Choice) -> list[Planned]:
    """Builds a parametrization for every chosen weight of the layers."""
    planned: list[Planned] = []
    holders: dict[int, str] = {}
    for layer in layers:
        for slot in adapters.slots_of(layer):
            if isinstance(choice, Parametrization):
                parametrization: Parametrization | None = choice.copy()
            else:
                parametrization = choice(layer, slot.name)
            if parametrization is None:
                continue
            _check_layer(layer)
            owner, attribute = slot.locate(layer)
            raw = getattr(owner, attribute)
            _check_weight(layer, slot, raw, parametrization, holders)
            with _surgery.name_scope(layer.path or layer.name):
                build_parametrization(parametrization, slot, raw)
            _check_shape(layer, slot, raw, parametrization)
            planned.append(Planned(layer, slot, raw, parametrization))
    return planned


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
    holders: dict[int, str],
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
    if id(raw) in holders:
        raise ValueError(
            f"Expected each weight to belong to one layer. Received {where!r}, "
            f"the same variable as {holders[id(raw)]!r}. Leave one of the two "
            "out with `exclude`."
        )
    holders[id(raw)] = where


def _check_shape(
    layer: keras.layers.Layer,
    slot: Slot,
    raw: keras.Variable,
    parametrization: Parametrization,
) -> None:
    value = _surgery.read(raw)
    parametrization.adapt(value)
    shape = tuple(parametrization(value).shape)
    if shape != tuple(raw.shape):
        raise ValueError(
            f"Expected {type(parametrization).__name__} to keep the shape "
            f"{tuple(raw.shape)} of {layer.path}/{slot.name}. Received: "
            f"{shape}. Mend its `call`, or choose another for this weight."
        )
