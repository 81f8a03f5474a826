"""The pair of verbs, in place and inverse to each other."""

from __future__ import annotations

import collections
import math
import warnings
from collections.abc import Iterator
from typing import Any, TypeVar

import keras

from keras_sparse import _surgery
from keras_sparse._mechanism.plan import Choice, Planned, check_unbuilt, plan
from keras_sparse._mechanism.sparse_layer import (
    Attached,
    SparseLayer,
    attach,
    attached,
    detach_all,
    final,
    pending,
    prepare,
)
from keras_sparse._traversal import (
    Filter,
    choose,
    layers_with_weights,
    names,
    walk,
)
from keras_sparse.layers.sparse import sparse_class_of
from keras_sparse.parametrizations.parametrization import Parametrization

LayerT = TypeVar("LayerT", bound=keras.layers.Layer)

# Ours, and those of tensorflow-model-optimization.
_OF_SCHEDULES = ("final", "final_sparsity", "target_sparsity")


def sparsify(
    model: LayerT,
    parametrization: Choice,
    *,
    where: Filter | None = None,
    exclude: Filter | None = None,
    verbose: bool = True,
) -> LayerT:
    """Gives the weights of a model parametrizations, in place.

    Every layer that holds a known weight (dense, convolution, embedding,
    recurrent, attention, and subclasses of these) becomes a Sparse* layer with
    the same variables. Under `Mask`, `Feather` and gates predictions do not
    change until something sets or trains these; what cuts, chooses or rounds
    weights from the start (`LearnedThreshold`, `SoftThreshold`, `Gaussian`,
    `NofM`, `EdgePopup`, `Supermask`, `Clustered`, `QuantizationAware`) changes
    them at once. `strip` is the exact inverse.

    `fit`, `evaluate` and `predict` of the model itself notice the change. A
    `tf.function` of your own, or a larger model around this one, that was
    traced before keeps its old trace: make the former again, and `compile` the
    latter or call its `make_predict_function(force=True)`.

    Args:
        model: A built model, or a single layer. For a layer that is not built
            yet, a Sparse layer made from its config is returned instead.
        parametrization: A `Parametrization`, which is copied for each weight,
            or a callable from (layer, slot name) to one or to `None`.
        where: Which layers to take: a regular expression searched in the
            layer's path, a list of them, or a callable from layer to bool.
            Default: all.
        exclude: Which layers to leave out, in the same forms.
        verbose: Whether to print one line of what was and was not taken.

    Returns:
        The same model.

    Raises:
        TypeError: If `model` is no layer, or `parametrization` or a rule is in
            none of these forms.
        ValueError: If the model is not built, a rule matches nothing, a layer
            is sparse or quantized already, or two layers share a weight. The
            model is then unchanged.

    Example:

    >>> import keras, keras_sparse as ks
    >>> model = keras.Sequential(
    ...     [keras.Input((8,)), keras.layers.Dense(4), keras.layers.Dense(2)]
    ... )
    >>> model = ks.sparsify(model, ks.Mask(), exclude="dense_1", verbose=False)
    >>> [type(layer).__name__ for layer in model.layers]
    ['SparseDense', 'Dense']
    """
    _check_arguments(model, parametrization)
    if not model.built:
        for_each = check_unbuilt(model, parametrization)
        if not choose([model], where, exclude):
            raise _nothing_chosen([model])
        return _sparse_from_config(model, for_each)
    layers, others = layers_with_weights(model)
    chosen = choose(layers, where, exclude)
    planned = plan(model, chosen, parametrization)
    if not planned:
        raise _nothing_chosen(layers)
    for each in planned:
        _apply(each)
    added = any(each.parametrization.trainable_variables for each in planned)
    _refresh(model, variables_changed=added, verb="sparsify")
    if verbose:
        _surgery.say(_describe(planned, layers, others))
    return model


def strip(model: LayerT) -> LayerT:
    """Writes the final weights in place and makes the model plain again.

    The layers and variables stay the same objects. Exact zeros remain in the
    weights; predictions are what they were.

    Args:
        model: A model or layer that `sparsify` has changed.

    Returns:
        The same model, plain Keras.

    Raises:
        ValueError: If nothing in the model is parametrized.

    Example:

    >>> import keras, keras_sparse as ks
    >>> model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(4)])
    >>> model = ks.strip(ks.sparsify(model, ks.Mask(), verbose=False))
    >>> type(model.layers[0]).__name__
    'Dense'
    """
    sparse_layers = [
        layer for layer in walk(model) if isinstance(layer, SparseLayer)
    ]
    if not sparse_layers:
        raise ValueError(
            "Expected a model that `keras_sparse.sparsify` has changed. "
            f"Received {model!r}, in which no weight is parametrized. If it "
            "was stripped before, there is nothing left to do."
        )
    unbuilt = [layer for layer in sparse_layers if not layer.built]
    if unbuilt:
        raise ValueError(
            "Expected a built model. Received one with the unbuilt layers "
            f"{names(unbuilt)}. Call it once, or `model.build(...)`, first."
        )
    for layer in sparse_layers:
        for each in attached(layer).values():
            _check_in_place(layer, each)
    values = [
        (each.raw, final(each, each.parametrization(layer)))
        for layer in sparse_layers
        for each in attached(layer).values()
    ]
    removed = any(
        each.parametrization(layer).trainable_variables
        for layer in sparse_layers
        for each in attached(layer).values()
    )
    for raw, value in values:
        raw.assign(value)
    for layer in sparse_layers:
        detach_all(layer)
        layer.__class__ = layer.plain_class
    _refresh(model, variables_changed=removed, verb="strip")
    return model


def parametrized(
    model: keras.layers.Layer,
) -> Iterator[tuple[keras.layers.Layer, str, Parametrization]]:
    """The parametrized weights of a model.

    Args:
        model: A model or layer.

    Yields:
        (layer, slot name, parametrization), in the order of the layers.
    """
    for layer in walk(model):
        for name, each in attached(layer).items():
            yield layer, name, each.parametrization(layer)


def _check_arguments(model: Any, parametrization: Any) -> None:
    if not isinstance(model, keras.layers.Layer):
        raise TypeError(
            "Expected a keras.Model or keras.layers.Layer. "
            f"Received: {model!r}."
        )
    if not (isinstance(parametrization, Parametrization)) and (
        isinstance(parametrization, type) or not callable(parametrization)
    ):
        raise TypeError(
            "Expected a Parametrization such as `keras_sparse.Mask()`, or a "
            "callable from (layer, slot name) to one. "
            f"Received: {parametrization!r}."
        )
    if not isinstance(parametrization, Parametrization) and any(
        hasattr(parametrization, name) for name in _OF_SCHEDULES
    ):
        raise TypeError(
            "Expected a Parametrization such as `keras_sparse.Mask()`. "
            f"Received a schedule, {parametrization!r}. It goes to the "
            "callback: `callbacks.Prune(schedule)`."
        )
    if isinstance(model, keras.Model) and not model.built:
        raise ValueError(
            f"Expected a built model. Received {model.name!r}, which has no "
            "weights yet. Add a keras.Input, call it on a batch, or call "
            "`model.build(input_shape)` first."
        )


def _apply(planned: Planned) -> None:
    layer = planned.layer
    if not isinstance(layer, SparseLayer):
        layer.__class__ = sparse_class_of(type(layer))
        prepare(layer)
    attach(layer, planned.slot, planned.parametrization)


def _refresh(
    model: keras.layers.Layer, *, variables_changed: bool, verb: str
) -> None:
    for each in walk(model):
        if not isinstance(each, keras.Model):
            continue
        _surgery.forget_traces(each)
        if variables_changed and _surgery.require_compile(each):
            warnings.warn(
                f"`{verb}` changed which variables of {each.name!r} are "
                "trained, and its optimizer knows only the old ones. Call "
                "`model.compile(...)` again before `fit`.",
                stacklevel=3,
            )


def _nothing_chosen(layers: list[keras.layers.Layer]) -> ValueError:
    return ValueError(
        "Expected at least one weight to parametrize. Received a model in "
        "which none was chosen; its layers with a known weight are "
        f"{names(layers) or 'none'}. Check `where`, `exclude` and the "
        "callable, or tell `keras_sparse.register_adapter` about your layers."
    )


def _check_in_place(layer: keras.layers.Layer, each: Attached) -> None:
    if each.slot.weight(layer) is not each.raw:
        raise ValueError(
            f"Expected {layer.path}/{each.slot.name} to be the variable that "
            "`sparsify` found. Received another one, which something put in "
            "its place; `model.quantize` does. Go back to the model as it was "
            "before, and call `strip` first."
        )


def _sparse_from_config(
    layer: keras.layers.Layer, parametrization: Parametrization
) -> Any:
    sparse = sparse_class_of(type(layer)).from_config(layer.get_config())
    pending(sparse)["*"] = parametrization
    return sparse


def _describe(
    planned: list[Planned],
    layers: list[keras.layers.Layer],
    others: list[keras.layers.Layer],
) -> str:
    kinds = collections.Counter(
        type(p.parametrization).__name__ for p in planned
    )
    taken = {id(p.layer) for p in planned}
    total = sum(math.prod(p.raw.shape) for p in planned)
    left = collections.Counter(
        type(layer).__name__
        for layer in [x for x in layers if id(x) not in taken] + others
    )
    line = (
        f"sparsify: {' and '.join(kinds)} on {len(planned)} weights of "
        f"{len(taken)} layers ({total:,} parameters)"
    )
    if left:
        named = ", ".join(
            name if n == 1 else f"{n} {name}" for name, n in left.items()
        )
        line += f"; left as they are: {named}"
    return line
