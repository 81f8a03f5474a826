"""Fresh weights, by the names that papers use."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import keras
from numpy.typing import NDArray

from keras_sparse import _surgery
from keras_sparse.adapters import Slot
from keras_sparse.initializers import (
    SignedGlorotConstant,
    SignedKaimingConstant,
)
from keras_sparse.lottery.training import derive_seed


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

Initializer: TypeAlias = "str | keras.initializers.Initializer"


def draw_weights(
    weights: Mapping[int, tuple[keras.layers.Layer, Slot]],
    initializer: Initializer | None,
    seed: int,
) -> dict[int, NDArray]:
    """Draws each weight of a model anew.

    Args:
        weights: By position, from `find_weights`.
        initializer: One of `NAMED`, or a Keras initializer. Default: the
            layer's own for this weight.
        seed: Integer; every weight gets its own from it and its position.

    Returns:
        Arrays by position.
    """
    drawn = {}
    for index, (layer, slot) in weights.items():
        raw: Any = slot.weight(layer)
        law = (
            _own_initializer(layer, slot)
            if initializer is None
            else get_initializer(initializer)
        )
        seeded = _seeded(law, slot, raw, derive_seed(seed, index))
        value = seeded(tuple(raw.shape), dtype="float32")
        drawn[index] = _surgery.to_numpy(value).copy()
    return drawn


def get_initializer(initializer: Initializer) -> keras.initializers.Initializer:
    """The initializer of a paper's name, or Keras' of its.

    Raises:
        ValueError: If there is none of that name.
    """
    if isinstance(initializer, keras.initializers.Initializer):
        return initializer
    if initializer not in NAMED:
        raise ValueError(
            f"Expected `initializer` to be one of {sorted(NAMED)}, or a Keras "
            f"initializer. Received: {initializer!r}."
        )
    return NAMED[initializer]()


def _own_initializer(
    layer: keras.layers.Layer, slot: Slot
) -> keras.initializers.Initializer:
    owner, _ = slot.locate(layer)
    name = f"{slot.path.split('.')[-1]}_initializer"
    found = getattr(owner, name, None)
    if isinstance(found, keras.initializers.Initializer):
        return found
    return keras.initializers.GlorotUniform()


def _seeded(
    initializer: keras.initializers.Initializer,
    slot: Slot,
    raw: keras.Variable,
    seed: int,
) -> keras.initializers.Initializer:
    """The same law with another seed, where it has one.

    Fans are taken from the axes' meanings where the weight has no window, for
    Keras would take the first axes of an einsum's kernel for one.
    """
    config = dict(initializer.get_config())
    if "seed" in config:
        config["seed"] = seed
    rank = len(raw.shape)
    if "input_axes" in config and config["input_axes"] is None and rank > 2:
        if len(slot.inputs) + len(slot.outputs) == rank:
            config["input_axes"] = list(slot.inputs)
            config["output_axes"] = list(slot.outputs)
    return type(initializer).from_config(config)
