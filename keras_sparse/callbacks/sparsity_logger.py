"""Sparsity in the logs."""

from __future__ import annotations

import keras

from keras_sparse import _surgery
from keras_sparse._sparse_layer import attached, final
from keras_sparse._traversal import walk


class SparsityLogger(keras.callbacks.Callback):
    """Adds the measured sparsity to `logs` at the end of each epoch.

    The progress bar, `History` and TensorBoard show it; callbacks that are to
    see it stand after this one in the list.

    Args:
        per_layer: Whether to add `"sparsity/<layer>/<weight>"` for each weight
            beside the overall `"sparsity"`.
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
    """The fraction of zeros among the parametrized weights, as logged."""
    _surgery.sync_state(model)
    logs: dict[str, float] = {}
    zeros = total = 0
    for layer in walk(model):
        for name, each in attached(layer).items():
            value = keras.ops.convert_to_numpy(
                final(each, each.parametrization(layer))
            )
            here = int(value.size - (value != 0).sum())
            zeros, total = zeros + here, total + value.size
            if per_layer:
                logs[f"sparsity/{layer.path}/{name}"] = here / value.size
    return {"sparsity": zeros / max(total, 1), **logs}
