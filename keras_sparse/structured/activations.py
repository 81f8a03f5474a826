"""Which activations treat each channel by itself."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers

# Activations of Keras in which each channel depends on all others.
ACROSS_CHANNELS = ("softmax", "log_softmax", "sparsemax", "glu")
_POINTWISE_LAYERS = (layers.ReLU, layers.LeakyReLU, layers.ELU)


def mixes_channels(activation: Any) -> bool:
    """Whether an activation may compute with several channels at once.

    Only what Keras knows is known to treat each by itself; a function of the
    user's own may do anything.
    """
    if activation is None or isinstance(activation, _POINTWISE_LAYERS):
        return False
    name = getattr(activation, "__name__", "")
    known = getattr(keras.activations, name, None) is activation
    return not known or name in ACROSS_CHANNELS


def named(activation: Any) -> str:
    """What to call an activation in a message."""
    default = getattr(activation, "name", str(activation))
    return getattr(activation, "__name__", default)
