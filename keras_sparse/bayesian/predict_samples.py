"""Predictions that show how sure the weights are."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from keras_sparse import _surgery
from keras_sparse._arithmetic.noise import noise_in_predictions
from keras_sparse._per_example import penalized


def predict_samples(
    model: keras.Model, x: Any, n: int = 30, *, batch_size: int = 256
) -> Any:
    """Predictions under `n` draws of the weights from their posterior.

    Only Bayesian weights and gates are random, frozen ones too: dropout is
    off and BatchNorm uses its moving averages, as in `predict`. Where a layer
    is reparametrised locally (`Gaussian.local`), every example has weights of
    its own: spreads over the first axis are those of the posterior,
    differences between examples of one draw are not.

    A log-uniform posterior is improper, and its spread is no measure of
    belief (Hron, Matthews and Ghahramani, 2018). Take `priors.Normal` or
    `priors.ARD`, or `layers.LogNormalDropout`, where that matters, and check
    the calibration on held-out data.

    Args:
        model: A model with `Gaussian` or `HardConcrete` weights, before
            `strip`, or with `LogNormalDropout` or `InformationBottleneck`.
        x: An array of inputs, or a list or dict of arrays.
        n: Number of draws, at least 1.
        batch_size: Of each prediction; weights that are not local are the
            same for a batch.

    Returns:
        Arrays in the structure of the outputs, each of shape (n, examples,
        ...).

    Raises:
        ValueError: If `n` is below 1, the model has no Bayesian weights, or
            the inputs are a stream.

    Example:

    >>> import keras, keras_sparse as ks, numpy as np
    >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    >>> model = ks.sparsify(model, ks.Gaussian(), verbose=False)
    >>> ks.predict_samples(model, np.ones((5, 4)), n=3).shape
    (3, 5, 2)
    """
    if n < 1:
        raise ValueError(f"Expected n to be at least 1. Received: {n!r}.")
    if not penalized(model):
        raise ValueError(
            "Expected a model with Bayesian weights or layers. Received one "
            "without. After `strip` only the means are left: ask before."
        )
    batches = _batches(x, batch_size)
    with _surgery.own_predict_function(model), noise_in_predictions():
        flat = model.predict(_Repeated(batches, n), verbose=0)
    return keras.tree.map_structure(
        lambda each: each.reshape(n, -1, *each.shape[1:]), flat
    )


def _batches(x: Any, batch_size: int) -> list[Any]:
    if not all(hasattr(each, "shape") for each in keras.tree.flatten(x)):
        raise ValueError(
            "Expected inputs that can be gone through several times: arrays. "
            f"Received: {type(x).__name__}."
        )
    arrays = keras.tree.map_structure(np.asarray, x)
    size = len(keras.tree.flatten(arrays)[0])
    return [
        keras.tree.map_structure(
            lambda a, b=begin: a[b : b + batch_size], arrays
        )
        for begin in range(0, size, batch_size)
    ]


class _Repeated(keras.utils.PyDataset):
    """All batches, n times over, for one call of `predict`."""

    def __init__(self, batches: list[Any], n: int) -> None:
        super().__init__()
        self.batches = batches
        self.n = n

    def __len__(self) -> int:
        return self.n * len(self.batches)

    def __getitem__(self, index: int) -> tuple[Any]:
        return (self.batches[index % len(self.batches)],)
