"""The Bayesian weights of a model."""

from __future__ import annotations

import keras

from keras_sparse.parametrizations.gaussian import Gaussian
from keras_sparse.pruning import parametrized_weights


def gaussian_weights(model: keras.layers.Layer) -> dict[str, Gaussian]:
    """The model's `Gaussian` weights by path.

    Where several share a path, those after the first have a suffix "#2" and
    so on.

    Raises:
        ValueError: If there are none.
    """
    found = parametrized_weights(model, Gaussian)
    if not found:
        raise ValueError(
            "Expected a model with Bayesian weights. Received one without. "
            "Call `keras_sparse.sparsify(model, keras_sparse.Gaussian())` "
            "first; after `strip` only the means are left."
        )
    return {path: gaussian for path, (_, gaussian) in found.items()}
