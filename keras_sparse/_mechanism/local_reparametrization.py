"""Noise on a layer's outputs in place of noise on its weights.

For independent Gaussian weights the outputs of a linear map are Gaussian:
mean call(x; mean), variance call(x^2; variance). The map is the layer's own
`call` without bias and activation, so every linear layer is covered.

Reference: Kingma, Salimans and Welling, "Variational dropout and the local
reparameterization trick", 2015, equation 6.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import keras

from keras_sparse import _surgery

if TYPE_CHECKING:
    from keras_sparse._mechanism.sparse_layer import Attached

# Keeps the gradient of the square root finite where no input reaches.
TINY = 1e-14
_IDENTITY = keras.activations.linear
_WITHOUT_BIAS = {"bias": None, "use_bias": False, "lora_enabled": False}


def call_locally(
    layer: keras.layers.Layer,
    call: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    weight: Attached,
    variance: Any,
    normal: Callable[..., Any],
) -> Any:
    """The layer's outputs with Gaussian noise of the right moments.

    Args:
        layer: A layer that is linear in one weight up to bias and activation,
            with the mean in the weight's place.
        call: Its plain `call`.
        args: What it is called with; the inputs are the first.
        kwargs: The same, by name.
        weight: The weight.
        variance: Its variance, float32.
        normal: From a shape to standard normal noise, float32.

    Returns:
        A tensor, as the layer returns it.
    """
    activation = getattr(layer, "activation", None)
    if not args:
        args = (kwargs["inputs"],)
        kwargs = {k: v for k, v in kwargs.items() if k != "inputs"}
    with _surgery.exchanged(layer, activation=_IDENTITY):
        means = call(layer, *args, **kwargs)
        with (
            _surgery.exchanged(
                layer, bias=None, use_bias=False, lora_enabled=False
            ),
            _surgery.exchanged(weight.owner, **{weight.attribute: variance}),
        ):
            variances = call(layer, *_squared(args), **kwargs)
    deviations = keras.ops.sqrt(variances + TINY)
    noise = deviations * normal(keras.ops.shape(deviations))
    outputs = means + keras.ops.cast(noise, means.dtype)
    return outputs if activation is None else activation(outputs)


def _squared(args: tuple[Any, ...]) -> tuple[Any, ...]:
    inputs = keras.ops.cast(args[0], "float32")
    return (keras.ops.square(inputs), *args[1:])
