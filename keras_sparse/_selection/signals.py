"""What scores are told beside the weight: gradients and input norms."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from keras_sparse import _surgery, adapters
from keras_sparse._mechanism.sparse_layer import Attached, attached, final
from keras_sparse._selection.gradients import (
    differentiate,
    gradients_of,
    loss_of,
    weight_gradients,
)
from keras_sparse._traversal import walk
from keras_sparse.parametrizations.mask import Mask

Weights = Sequence[tuple[Attached, Mask]]
_IDENTITY = keras.activations.linear


def hessian_gradients(
    model: keras.Model, weights: Weights, batch: tuple[Any, ...]
) -> list[NDArray]:
    """H g, the Hessian of the loss times its gradient, for every weight.

    The product is the gradient of `sum stop(g) g`, on one batch.

    Args:
        model: A compiled, sparsified model.
        weights: The weights, with their masks.
        batch: (x, y) or (x, y, sample_weight).

    Returns:
        One array for each weight, in its shape.
    """
    loss = loss_of(model, weights, batch)

    def product(values: Sequence[Any]) -> Any:
        gradients = gradients_of(loss, values, twice=True)
        return sum(ops.sum(ops.stop_gradient(g) * g) for g in gradients)

    values = [final(each, mask) for each, mask in weights]
    return differentiate(product, values)


def synaptic_flow(
    model: keras.Model, weights: Weights, batch: Any = None
) -> list[NDArray]:
    """dR/dw where R is the sum of the outputs of the net of all |w|.

    Its inputs are ones, and layers run as at inference. No data is read. Each
    |w| is divided by its mean sum over an output, or deep nets would leave the
    range of floats: without biases that is one factor for all scores.
    """
    if not isinstance(getattr(model, "inputs", None), list):
        raise ValueError(
            "Expected a model whose inputs are known, Functional or "
            "Sequential, for a score without data. Received: "
            f"{type(model).__name__}. Use a score that reads data, such as "
            "`scores.snip`."
        )
    ones = [
        ops.ones((1, *(n or 1 for n in x.shape[1:])), x.dtype)
        for x in model.inputs
    ]
    raw = {id(each.raw) for each, _ in weights}
    others = [
        (v, _unit_flow(ops.abs(_surgery.read(v))))
        for v in model.trainable_variables
        if id(v) not in raw
    ]

    def flow(values: Sequence[Any]) -> Any:
        pairs = zip(weights, values, strict=True)
        mapping = [(each.raw, _unit_flow(value)) for (each, _), value in pairs]
        with keras.StatelessScope(state_mapping=mapping + others):
            outputs = model(ones[0] if len(ones) == 1 else ones)
        return sum(ops.sum(each) for each in keras.tree.flatten(outputs))

    values = [ops.abs(final(each, mask)) for each, mask in weights]
    return differentiate(flow, values)


def _unit_flow(w: Any) -> Any:
    """Magnitudes of a kernel whose outputs are sums of 1 on average."""
    if len(w.shape) < 2:
        return w
    total = ops.stop_gradient(ops.sum(w)) / w.shape[-1]
    return w / ops.where(total > 0.0, total, 1.0)


def input_norms(
    model: keras.Model, weights: Weights, batch: tuple[Any, ...]
) -> list[NDArray]:
    """The L2 norm of what each weight multiplies, over a batch.

    It is the root of the gradient of the layer's outputs for squared inputs,
    which holds for every layer that is linear in its weight.
    """
    x, _, _ = keras.utils.unpack_x_y_sample_weight(batch)
    layers = {
        id(each.raw): (layer, each)
        for layer in walk(model)
        for each in attached(layer).values()
    }
    chosen = [layers[id(each.raw)] for each, _ in weights]
    unfit = [
        f"{layer.path}/{each.slot.name}"
        for layer, each in chosen
        if not adapters.is_linear_in(layer, each.slot)
    ]
    if unfit:
        raise ValueError(
            "Expected weights of dense or convolution layers for a score that "
            f"needs the norms of inputs. Received: {', '.join(unfit)}. Leave "
            "them out with `exclude`."
        )
    inputs = record_inputs(model, [layer for layer, _ in chosen], x)
    return [
        np.sqrt(_squares(layer, each, inputs[id(layer)]))
        for layer, each in chosen
    ]


def record_inputs(
    model: keras.Model, layers: Sequence[keras.layers.Layer], x: Any
) -> dict[int, list[Any]]:
    inputs: dict[int, list[Any]] = {id(layer): [] for layer in layers}

    def recorder(layer: keras.layers.Layer) -> Callable[..., Any]:
        plain = layer.call

        def call(each: Any, *args: Any, **kwargs: Any) -> Any:
            inputs[id(layer)].append(each)
            return plain(each, *args, **kwargs)

        return call

    with contextlib.ExitStack() as stack:
        for layer in layers:
            stack.enter_context(_surgery.exchanged(layer, call=recorder(layer)))
        model(x, training=False)
    return inputs


def _squares(layer: Any, each: Attached, inputs: Sequence[Any]) -> NDArray:
    def total(values: Sequence[Any]) -> Any:
        with (
            _surgery.exchanged(
                layer, bias=None, use_bias=False, activation=_IDENTITY
            ),
            _surgery.exchanged(each.owner, **{each.attribute: values[0]}),
        ):
            return sum(
                ops.sum(layer.plain_class.call(layer, _square(x)))
                for x in inputs
            )

    ones = ops.ones(each.raw.shape, "float32")
    return differentiate(total, [ones])[0]


def _square(x: Any) -> Any:
    return ops.square(ops.cast(x, "float32"))  # float16 ends at 65504


SIGNALS: dict[str, Callable[..., list[NDArray]]] = {
    "gradient": weight_gradients,
    "hessian_gradient": hessian_gradients,
    "synaptic_flow": synaptic_flow,
    "input_norm": input_norms,
}
