"""The Sparse* layers that `sparsify` installs, one for each adapter."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Mapping

import keras

from keras_sparse import adapters
from keras_sparse._mechanism.sparse_class import sparse_class
from keras_sparse._mechanism.sparse_layer import SparseLayer

_SPARSE_CLASSES: dict[type, type[keras.layers.Layer]] = {}


def _make(plain_class: type, module: str, package: str) -> type:
    made = sparse_class(plain_class, module)
    keras.saving.register_keras_serializable(package=package)(made)
    _SPARSE_CLASSES[plain_class] = made
    return made


BUILT_IN = {
    made.__name__: made
    for made in (
        _make(adapter.layer_class, "keras_sparse.layers", "keras_sparse")
        for adapter in adapters.BUILT_IN
    )
}


def sparse_class_of(plain_class: type) -> type[keras.layers.Layer]:
    """The Sparse class of a plain layer class, made where it is missing."""
    if plain_class not in _SPARSE_CLASSES:
        module = plain_class.__module__
        _make(plain_class, module, package=f"keras_sparse.{module}")
        _warn_about_reloading(plain_class)
    return _SPARSE_CLASSES[plain_class]


def register_adapter(
    layer_class: type[keras.layers.Layer],
    slots: Mapping[str, str] | None = None,
    local: str | None = None,
) -> None:
    """Tells `sparsify` which weights a layer class of your own holds.

    Subclasses of layers that are known already are found without it, but a
    sparse model with one reloads in a fresh process only if this call ran
    before, so it belongs next to the class.

    Args:
        layer_class: The class.
        slots: Map from a weight's name to its attribute path, such as
            `{"kernel": "kernel", "cell.kernel": "cell.kernel"}`. Defaults to
            what is known of the nearest ancestor. The last axis of a weight
            counts as its output channels and the one before as its input
            channels.
        local: Name of the slot that the layer's `call` is linear in, up to
            its `bias` and `activation`, so that a Bayesian weight there may
            be reparametrised locally. Default: what is known of an ancestor
            whose `call` the class keeps.

    Raises:
        TypeError: If `layer_class` is not a subclass of `keras.layers.Layer`.
        ValueError: If no slots are given and no ancestor is known.

    Example:

    >>> import keras, keras_sparse as ks
    >>> class Scale(keras.layers.Layer):
    ...     def build(self, shape):
    ...         self.gain = self.add_weight(shape=(shape[-1],))
    ...     def call(self, x):
    ...         return x * self.gain
    >>> ks.register_adapter(Scale, slots={"gain": "gain"})
    """
    if not (
        isinstance(layer_class, type)
        and issubclass(layer_class, keras.layers.Layer)
    ):
        raise TypeError(
            "Expected `layer_class` to be a subclass of keras.layers.Layer. "
            f"Received: {layer_class!r}. Pass the class, not a layer."
        )
    if slots is not None:
        adapter = adapters.Adapter(
            layer_class, adapters.fixed_slots(slots), local
        )
    else:
        known = [a for a in layer_class.__mro__ if adapters.is_registered(a)]
        if not known:
            raise ValueError(
                f"Expected `slots` for {layer_class.__name__}, which extends "
                "no layer that is known. Received none. Pass for instance "
                "slots={'kernel': 'kernel'}."
            )
        adapter = adapters.inherited(known[0], layer_class, local)
    adapters.add_adapter(adapter)
    if layer_class not in _SPARSE_CLASSES:
        module = layer_class.__module__
        _make(layer_class, module, package=f"keras_sparse.{module}")


@functools.cache
def _warn_about_reloading(plain_class: type) -> None:
    warnings.warn(
        f"{plain_class.__name__} is a subclass of a known layer, and its "
        "Sparse class was made in this process. A model saved with it loads "
        "in a fresh process only if "
        f"`keras_sparse.register_adapter({plain_class.__name__})` ran there "
        "before: put that line next to the class.",
        stacklevel=4,
    )


__all__ = ["SparseLayer", "register_adapter", "sparse_class_of"]
