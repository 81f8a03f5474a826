"""Layers whose channels are to stay, and models that cannot be cut."""

from __future__ import annotations

from typing import Any

import keras

from keras_sparse import _surgery, _traversal
from keras_sparse._mechanism.sparse_layer import attached
from keras_sparse.structured.tracing import Trace


def fix_ignored(
    trace: Trace, model: keras.Model, ignored: _traversal.Filter | None
) -> None:
    """Fixes what `ignored` names; refuses sparsified and quantized layers."""
    for layer in _traversal.walk(model):
        if attached(layer):
            raise ValueError(
                "Expected a plain model. Received one in which "
                f"{layer.name!r} is parametrized. Call "
                "`keras_sparse.strip(model)` first."
            )
        if getattr(layer, "quantization_mode", None):
            raise ValueError(
                "Expected a model of floats. Received one in which "
                f"{layer.name!r} is quantized. Shrink first, quantize then."
            )
        if getattr(layer, "lora_enabled", False):
            raise ValueError(
                "Expected a plain model. Received one in which "
                f"{layer.name!r} has a LoRA kernel beside its own. Save and "
                "load the model, which merges them, before you shrink it."
            )
    if ignored is None:
        return
    # Not the model itself: its name says nothing of its layers.
    layers = [each for each in _traversal.walk(model) if each is not model]
    chosen = {
        id(inside)
        for layer in _traversal.matching(layers, ignored, "ignored")
        for inside in _surgery.all_layers(layer)
    }
    held: list[Any] = [a for a in trace.axes.values() if id(a.layer) in chosen]
    for axis in held:
        if axis.role != "in":
            trace.fix(axis.ids, f"{axis.layer.name} is ignored")
