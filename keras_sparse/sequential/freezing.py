"""One part of a model in training mode, the rest as in evaluation."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator

import keras

from keras_sparse import _surgery, adapters
from keras_sparse._traversal import walk

_DROPOUTS = (
    keras.layers.Dropout,
    keras.layers.AlphaDropout,
    keras.layers.GaussianDropout,
    keras.layers.SpatialDropout1D,
    keras.layers.SpatialDropout2D,
    keras.layers.SpatialDropout3D,
)


@contextlib.contextmanager
def only_trainable(
    model: keras.Model, layers: Iterable[keras.layers.Layer]
) -> Iterator[None]:
    """Freezes all other layers; their dropout and BatchNorm do not train.

    Args:
        model: The model. A `compile` that comes before would not know.
        layers: What stays trainable, if it was.
    """
    kept = {id(layer) for layer in layers}
    everything = _surgery.all_layers(model)
    flags = [(layer, layer.trainable) for layer in everything]
    was_trainable = {id(layer): trainable for layer, trainable in flags}
    rates = [(x, x.rate) for x in everything if isinstance(x, _DROPOUTS)]
    try:
        for layer in walk(model):  # from the outside inwards
            if id(layer) in kept:
                layer.trainable = was_trainable[id(layer)]
            elif _holds_variables(layer):
                layer.trainable = False
        for layer, _ in rates:
            if id(layer) not in kept:
                layer.rate = 0.0
        yield
    finally:
        for layer, trainable in flags:  # from the outside inwards
            layer.trainable = trainable
        for layer, rate in rates:
            layer.rate = rate


def _holds_variables(layer: keras.layers.Layer) -> bool:
    return layer.built and bool(
        _surgery.own_variables(layer) or adapters.slots_of(layer)
    )
