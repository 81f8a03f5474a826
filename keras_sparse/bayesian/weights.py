"""The Bayesian weights of a model."""

from __future__ import annotations

import keras

from keras_sparse.parametrizations.gaussian import Gaussian
from keras_sparse.sparsify import parametrized


def gaussian_weights(model: keras.layers.Layer) -> dict[str, Gaussian]:
    """The model's `Gaussian` weights by path.

    Where several share a path, those after the first have a suffix "#2" and
    so on.

    Raises:
        ValueError: If there are none.
    """
    weights: dict[str, Gaussian] = {}
    for layer, slot, each in parametrized(model):
        if isinstance(each, Gaussian):
            path = unused = f"{layer.path}/{slot}"
            count = 1
            while unused in weights:
                count += 1
                unused = f"{path}#{count}"
            weights[unused] = each
    if not weights:
        raise ValueError(
            "Expected a model with Bayesian weights. Received one without. "
            "Call `keras_sparse.sparsify(model, keras_sparse.Gaussian())` "
            "first; after `strip` only the means are left."
        )
    return weights
