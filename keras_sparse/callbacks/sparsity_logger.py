"""Sparsity in the logs."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from keras_sparse import _surgery, adapters
from keras_sparse._mechanism.sparse_layer import attached, final
from keras_sparse._traversal import walk


class SparsityLogger(keras.callbacks.Callback):
    """Adds the measured sparsity to `logs` at the end of each epoch.

    `"sparsity"` is the fraction of zeros among the parametrized weights, as
    `strip` would leave them, and `"compression"` all of them over those that
    are not zero; biases are not counted. The progress bar, `History` and
    TensorBoard show them; callbacks that are to see them stand after this one
    in the list.

    Args:
        per_layer: Whether to add `"sparsity/<layer>/<weight>"` for each weight
            beside the overall ones.
    """

    def __init__(self, per_layer: bool = False) -> None:
        super().__init__()
        self.per_layer = per_layer

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        if logs is not None:
            logs.update(measured_sparsity(self.model, self.per_layer))


def measured_sparsity(
    model: keras.layers.Layer, per_layer: bool = False
) -> dict[str, float]:
    """The fraction of zeros, as logged.

    Among the parametrized weights, or among all known ones of a plain model.
    """
    _surgery.sync_state(model)
    logs: dict[str, float] = {}
    zeros = total = 0
    for path, weight in _weights(model):
        value = _surgery.to_numpy(weight)
        here = int(value.size - np.count_nonzero(value))
        zeros, total = zeros + here, total + value.size
        if per_layer:
            logs[f"sparsity/{path}"] = here / value.size
    return {
        "sparsity": zeros / max(total, 1),
        "compression": total / max(total - zeros, 1),
        **logs,
    }


def _weights(model: keras.layers.Layer) -> list[tuple[str, Any]]:
    # Pairs, not a map: layers of nested models may have one path.
    used = [
        (f"{layer.path}/{name}", final(each, each.parametrization(layer)))
        for layer in walk(model)
        for name, each in attached(layer).items()
    ]
    return used or [
        (f"{layer.path}/{slot.name}", slot.weight(layer))
        for layer in walk(model)
        if layer.built
        for slot in adapters.slots_of(layer)
    ]
