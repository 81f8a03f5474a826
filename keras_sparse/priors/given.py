"""What `Gaussian` accepts as a prior."""

from __future__ import annotations

from typing import Any

import keras

from keras_sparse.priors.ard import ARD
from keras_sparse.priors.prior import Prior


def get(prior: Any) -> Prior:
    """A prior from what `Gaussian` accepts.

    Args:
        prior: A `Prior`, its serialised form, or `None` for `ARD()`.
    """
    if prior is None:
        return ARD()
    if isinstance(prior, Prior):  # each weight has one of its own
        return type(prior).from_config(prior.get_config())
    if isinstance(prior, dict):
        prior = keras.saving.deserialize_keras_object(prior)
    if not isinstance(prior, Prior):
        raise TypeError(
            "Expected a prior such as `keras_sparse.priors.ARD()`. Received: "
            f"{prior!r}. For a distribution of your own, subclass "
            "`keras_sparse.priors.Prior` and return it from `distribution`."
        )
    return prior
