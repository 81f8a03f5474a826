"""Dense gradients of the loss at the effective weights, on one batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
from numpy.typing import NDArray

from keras_sparse._mechanism.sparse_layer import Attached, final
from keras_sparse.parametrizations.mask import Mask


def weight_gradients(
    model: keras.Model,
    weights: Sequence[tuple[Attached, Mask]],
    batch: tuple[Any, ...],
) -> list[NDArray]:
    """Gradient of the compiled loss for every weight, masked ones included.

    The masked weight stands in for the raw one and ones for its mask, in a
    stateless call: nothing is committed to BatchNorm, seeds or metrics.

    Args:
        model: A compiled, sparsified model.
        weights: The weights to differentiate for, with their masks.
        batch: (x, y) or (x, y, sample_weight).

    Returns:
        One array for each weight, in its shape.
    """
    loss = loss_of(model, weights, batch)
    values = [final(each, mask) for each, mask in weights]
    return differentiate(loss, values)


def loss_of(
    model: keras.Model,
    weights: Sequence[tuple[Attached, Mask]],
    batch: tuple[Any, ...],
) -> Callable[[Sequence[Any]], Any]:
    """The compiled loss on one batch as a function of effective weights.

    Args:
        model: A compiled, sparsified model.
        weights: The weights that are the function's arguments.
        batch: (x, y) or (x, y, sample_weight).

    Raises:
        ValueError: If there is no loss or no y.
    """
    if not isinstance(batch, (tuple, list)):
        raise ValueError(
            "Expected one batch (x, y) for a score that needs gradients. "
            f"Received: {type(batch).__name__}. Of a data set pass "
            "`next(iter(data_set))`, or a callable that returns a batch."
        )
    x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(batch)
    if y is None or not model.compiled:
        raise ValueError(
            "Expected a compiled model and a batch (x, y) for a score that "
            "needs gradients. Received "
            + ("no y." if model.compiled else "a model without a loss.")
            + " Call `model.compile(loss=...)` and pass data=(x, y)."
        )

    def loss(values: Sequence[Any]) -> Any:
        mapping = []
        for (each, mask), value in zip(weights, values, strict=True):
            mapping.append((each.raw, value))
            mapping.append(
                (mask.mask, keras.ops.ones(mask.mask.shape, "uint8"))
            )
        with keras.StatelessScope(state_mapping=mapping):
            prediction = model(x, training=True)
            return model.compute_loss(
                x=x, y=y, y_pred=prediction, sample_weight=sample_weight
            )

    return loss


def differentiate(loss: Callable, values: list[Any]) -> list[NDArray]:
    """Gradient of a function of tensors, on the running backend."""
    gradients = gradients_of(loss, values)
    return [keras.ops.convert_to_numpy(g) for g in gradients]


def gradients_of(
    loss: Callable, values: Sequence[Any], twice: bool = False
) -> Sequence[Any]:
    """The same as tensors, which may be differentiated again if `twice`."""
    return _GRADIENT[keras.backend.backend()](loss, list(values), twice)


def _tensorflow(
    loss: Callable, values: list[Any], twice: bool
) -> Sequence[Any]:
    import tensorflow as tf

    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(values)
        result = loss(values)
    return tape.gradient(
        result, values, unconnected_gradients=tf.UnconnectedGradients.ZERO
    )


def _jax(loss: Callable, values: list[Any], twice: bool) -> Sequence[Any]:
    import jax

    return jax.grad(loss)(values)


def _torch(loss: Callable, values: list[Any], twice: bool) -> Sequence[Any]:
    import torch

    if not twice:
        values = [value.detach().clone().requires_grad_() for value in values]
    gradients = torch.autograd.grad(
        loss(values), values, allow_unused=True, create_graph=twice
    )
    return [
        torch.zeros_like(value) if gradient is None else gradient
        for value, gradient in zip(values, gradients, strict=True)
    ]


_GRADIENT = {"tensorflow": _tensorflow, "jax": _jax, "torch": _torch}
