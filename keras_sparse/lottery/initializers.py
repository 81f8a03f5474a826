"""Fresh weights, by the names that papers use."""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Mapping, Sequence
from typing import Any, TypeAlias

import keras
import numpy as np
from numpy.typing import NDArray

from keras_sparse import _surgery
from keras_sparse.adapters import Slot
from keras_sparse.initializers import (
    SignedGlorotConstant,
    SignedKaimingConstant,
)
from keras_sparse.lottery.masks.masked_model import find_weights
from keras_sparse.lottery.rounds.seeds import derive_seed


def _scaled(scale: float, mode: str, law: str) -> Callable[[], Any]:
    return lambda: keras.initializers.VarianceScaling(scale, mode, law)


NAMED: dict[str, Callable[[], keras.initializers.Initializer]] = {
    "glorot_normal": _scaled(1.0, "fan_avg", "truncated_normal"),
    "glorot_uniform": _scaled(1.0, "fan_avg", "uniform"),
    "kaiming_normal": _scaled(2.0, "fan_in", "untruncated_normal"),
    "kaiming_uniform": _scaled(2.0, "fan_in", "uniform"),
    "signed_glorot_constant": SignedGlorotConstant,
    "signed_kaiming_constant": SignedKaimingConstant,
}

# Where Keras names an initializer otherwise than the weight.
_NAMED_AFTER = {
    "kernel": ("depthwise",),
    "recurrent_kernel": ("recurrent",),
    "depthwise_kernel": ("depthwise",),
    "pointwise_kernel": ("pointwise",),
    "reverse_embeddings": ("embeddings",),
}

Initializer: TypeAlias = "str | keras.initializers.Initializer"


def draw_weights(
    weights: Mapping[int, tuple[keras.layers.Layer, Slot]],
    initializer: Initializer | None,
    seed: int,
) -> dict[int, NDArray]:
    """Draws each trainable weight of a model anew.

    Args:
        weights: By position, from `find_weights`.
        initializer: One of `NAMED`, or a Keras initializer. Default: the
            layer's own for this weight.
        seed: Integer; every weight gets its own from it and its position.
            What takes no seed is called as it is.

    Returns:
        Arrays by position.
    """
    drawn = {}
    for index, (layer, slot) in weights.items():
        owner, _ = slot.locate(layer)
        raw: Any = slot.weight(layer)
        if not raw.trainable:
            continue
        law: Callable[..., Any] = (
            _own_initializer(owner, slot)
            if initializer is None
            else get_initializer(initializer)
        )
        if isinstance(law, keras.initializers.Initializer):
            config = dict(law.get_config())
            if "seed" in config:
                config["seed"] = derive_seed(seed, index)
                law = _made_from(config, type(law))
        shape = tuple(raw.shape)
        if _has_axes_of_its_own(law, slot, len(shape)) and (
            initializer is not None or _keras_tells_axes(owner, law)
        ):
            drawn[index] = _draw_as_matrix(law, slot, shape)
        else:
            value: Any = law(shape, dtype="float32")
            drawn[index] = _surgery.to_numpy(value).copy()
    return drawn


def _made_from(config: dict[str, Any], kind: Any) -> Callable[..., Any]:
    try:
        return kind.from_config(config)
    except TypeError as error:
        raise ValueError(
            "Expected initializers that their configs make anew. Received "
            f"{kind.__name__}: {error}. Give it a `get_config` that holds the "
            "arguments of its constructor, or pass `initializer`."
        ) from error


def draw_afresh(
    model: keras.Model,
    variables: Sequence[keras.Variable],
    chosen: Container[int],
    initializer: Initializer | None,
    seed: int,
) -> dict[int, NDArray]:
    """Draws the known weights of a model anew.

    Args:
        model: The model.
        variables: That positions are counted in.
        chosen: Positions of those that `initializer` is for. Others are drawn
            from their layer's own.
        initializer: As for `draw_weights`.
        seed: As for `draw_weights`.

    Returns:
        Arrays by position.
    """
    known = find_weights(model, variables)
    inside = {i: each for i, each in known.items() if i in chosen}
    outside = {i: each for i, each in known.items() if i not in chosen}
    return {
        **draw_weights(inside, initializer, seed),
        **draw_weights(outside, None, seed),
    }


def get_initializer(initializer: Initializer) -> keras.initializers.Initializer:
    """The initializer of a paper's name, or Keras' of its.

    Raises:
        ValueError: If there is none of that name.
    """
    if isinstance(initializer, keras.initializers.Initializer):
        return initializer
    if not isinstance(initializer, str) or initializer not in NAMED:
        raise ValueError(
            f"Expected `initializer` to be one of {sorted(NAMED)}, or a Keras "
            f"initializer, not its class. Received: {initializer!r}."
        )
    return NAMED[initializer]()


def _own_initializer(
    owner: keras.layers.Layer, slot: Slot
) -> Callable[..., Any]:
    weight = slot.path.split(".")[-1]
    for name in (weight, *_NAMED_AFTER.get(weight, ())):
        found = getattr(owner, f"{name}_initializer", None)
        if callable(found):
            return found
    return keras.initializers.GlorotUniform()


def _has_axes_of_its_own(law: Any, slot: Slot, rank: int) -> bool:
    """Whether fans would be taken from other axes than inputs and outputs.

    Keras takes the first axes of an einsum's kernel for a window.
    """
    return (
        isinstance(law, keras.initializers.VarianceScaling)
        and getattr(law, "input_axes", None) is None
        and rank > 2
        and len(slot.inputs) + len(slot.outputs) == rank
    )


def _keras_tells_axes(owner: keras.layers.Layer, law: Any) -> bool:
    """Whether the layer itself tells its initializer the axes of fans."""
    return isinstance(owner, keras.layers.EinsumDense) and hasattr(
        law,
        "input_axes",  # since Keras 3.15
    )


def _draw_as_matrix(
    law: Callable[..., Any], slot: Slot, shape: tuple[int, ...]
) -> NDArray:
    """Draws inputs by outputs, and gives the entries the weight's shape."""
    inputs, outputs = (
        [axis % len(shape) for axis in axes]
        for axes in (slot.inputs, slot.outputs)
    )
    fans = tuple(
        math.prod(shape[a] for a in each) for each in (inputs, outputs)
    )
    order = inputs + outputs
    matrix = _surgery.to_numpy(law(fans, dtype="float32"))
    arranged = matrix.reshape([shape[axis] for axis in order])
    return arranged.transpose(np.argsort(order)).copy()
