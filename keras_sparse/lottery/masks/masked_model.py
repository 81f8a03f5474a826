"""A model under masks, as lists of arrays that go in and come out."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping, Sequence

import keras
import numpy as np
from numpy.typing import NDArray

from keras_sparse import _surgery, adapters
from keras_sparse._compiling import Compiler
from keras_sparse._mechanism.sparse_layer import attached
from keras_sparse._traversal import (
    Filter,
    choose,
    layers_with_weights,
    names,
    walk,
)
from keras_sparse.adapters import Slot
from keras_sparse.lottery.masks.output_layers import output_layers
from keras_sparse.lottery.masks.paths import unique
from keras_sparse.parametrizations.mask import Mask
from keras_sparse.sparsify import parametrized, sparsify, strip


@dataclasses.dataclass(frozen=True)
class Masked:
    """A weight under a mask: where in the model it is, and the mask.

    Args:
        path: Of the layer, then the name of the weight in it; a second one of
            the same path gets a number.
        layer: The layer.
        slot: Which of its weights.
        mask: The mask.
    """

    path: str
    layer: keras.layers.Layer
    slot: Slot
    mask: Mask


@dataclasses.dataclass(frozen=True)
class MaskedModel:
    """All weights of a model by position, and which of them have a mask.

    Args:
        model: The model, sparsified.
        variables: What `model.weights` was before.
        masked: The masked weights by their position in `variables`.
    """

    model: keras.Model
    variables: tuple[keras.Variable, ...]
    masked: Mapping[int, Masked]

    def outputs(self) -> list[int]:
        """Positions of the masked weights of the model's output layers.

        Of a layer with several, the last.
        """
        layers = {id(each) for each in output_layers(self.model)}
        last = {id(each.layer): i for i, each in self.masked.items()}
        return [i for layer, i in last.items() if layer in layers]

    def read(self) -> list[NDArray]:
        """The weights, at least float32."""
        return [as_array(variable) for variable in self.variables]

    def assign(self, weights: Sequence[NDArray]) -> None:
        """Sets every weight; the masks stay."""
        for variable, value in zip(self.variables, weights, strict=True):
            variable.assign(value)

    def write(
        self, weights: Sequence[NDArray], masks: Mapping[int, NDArray]
    ) -> None:
        """Sets every weight, zero where its mask is, and the masks."""
        for index, each in self.masked.items():
            each.mask.set_mask(masks[index])
        self.assign(under_masks(weights, masks))


def under_masks(
    weights: Sequence[NDArray], masks: Mapping[int, NDArray]
) -> list[NDArray]:
    """The weights, zero (never minus zero) where a mask is."""
    return [
        np.where(masks[index], value, value.dtype.type(0))
        if index in masks
        else value
        for index, value in enumerate(weights)
    ]


def as_array(variable: keras.Variable) -> NDArray:
    """A copy of the value, floats below 32 bits as float32."""
    if keras.backend.is_float_dtype(variable.dtype):
        return np.array(_surgery.to_numpy(_surgery.read(variable)))
    return np.array(_surgery.to_numpy(variable.value))


@contextlib.contextmanager
def masked_model(
    model: keras.Model,
    where: Filter | None,
    exclude: Filter | None,
    compile_model: Compiler,
) -> Iterator[MaskedModel]:
    """Puts masks of ones on the chosen trainable weights, for a while.

    An exception puts the weights back as they were. The model is compiled
    afresh in both cases, for a training leaves an optimizer behind whose
    learning rate may be a round's.
    """
    check_plain(model)
    variables = tuple(model.weights)
    before = [as_array(variable) for variable in variables]
    _check_trainable(model, where, exclude)
    sparsify(
        model, _mask_trainable, where=where, exclude=exclude, verbose=False
    )
    try:
        yield MaskedModel(model, variables, find_masked(model, variables))
    except BaseException:
        strip(model)
        for variable, value in zip(variables, before, strict=True):
            variable.assign(value)
        compile_model(model)
        raise
    strip(model)
    compile_model(model)


def _mask_trainable(layer: keras.layers.Layer, name: str) -> Mask | None:
    trainable = {slot.name for slot in _trainable_slots(layer)}
    return Mask() if name in trainable else None


def _trainable_slots(layer: keras.layers.Layer) -> list[Slot]:
    return [
        slot
        for slot in adapters.slots_of(layer)
        if getattr(slot.weight(layer), "trainable", True)
    ]


def _check_trainable(
    model: keras.Model, where: Filter | None, exclude: Filter | None
) -> None:
    """Raises if the chosen layers are all frozen."""
    layers, _ = layers_with_weights(model)
    chosen = choose(layers, where, exclude)
    if chosen and not any(map(_trainable_slots, chosen)):
        raise ValueError(
            "Expected a trainable weight to prune. Received layers that are "
            f"all frozen: {names(chosen)}. Set `trainable` of those to prune, "
            "then compile."
        )


def check_plain(model: keras.Model) -> None:
    """Raises if a model is sparsified already."""
    if any(True for _ in parametrized(model)):
        raise ValueError(
            "Expected a plain model. Received one that is sparsified already. "
            "Call `keras_sparse.strip` first."
        )


def find_masked(
    model: keras.Model, variables: Sequence[keras.Variable]
) -> dict[int, Masked]:
    """The weights under a `Mask` by their position, layer by layer."""
    positions = {id(variable): i for i, variable in enumerate(variables)}
    found = {}
    for layer in walk(model):
        for name, each in attached(layer).items():
            mask = each.parametrization(layer)
            if isinstance(mask, Mask):
                path = f"{layer.path or layer.name}/{name}"
                found[positions[id(each.raw)]] = Masked(
                    path, layer, each.slot, mask
                )
    paths = unique(each.path for each in found.values())
    return {
        index: dataclasses.replace(each, path=path)
        for (index, each), path in zip(found.items(), paths, strict=True)
    }


def find_weights(
    model: keras.Model, variables: Sequence[keras.Variable]
) -> dict[int, tuple[keras.layers.Layer, Slot]]:
    """Every known weight of a plain model by its position."""
    positions = {id(variable): i for i, variable in enumerate(variables)}
    return {
        positions[id(slot.weight(layer))]: (layer, slot)
        for layer in walk(model)
        if layer.built
        for slot in adapters.slots_of(layer)
        if id(slot.weight(layer)) in positions
    }
