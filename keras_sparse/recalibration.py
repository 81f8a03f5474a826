"""New statistics for BatchNormalization after weights changed."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import keras
import numpy as np

from keras_sparse import _surgery

BATCH = 128


def recalibrate(model: keras.Model, data: Any) -> keras.Model:
    """Estimates the statistics of BatchNormalization anew, in place.

    Pruning without training changes what each layer hears, and the moving
    mean and variance no longer fit. They become the average over the batches
    here, each layer seeing the batch as the layers before it, recalibrated,
    pass it on; a layer that is called several times averages over its calls.
    No weight is trained; dropout and noise stay off.

    Args:
        model: A built model, plain or sparse.
        data: Inputs as an array, which is taken in batches of 128, or an
            iterable of batches x or (x, y). A few hundred examples are
            enough.

    Returns:
        The same model.

    Raises:
        ValueError: If the model has no `BatchNormalization` that is trained,
            or there is no batch.

    Example:

    >>> import keras, keras_sparse as ks, numpy as np
    >>> model = keras.Sequential(
    ...     [keras.Input((1,)), keras.layers.BatchNormalization()])
    >>> x = np.array([[1.0], [3.0]])
    >>> [float(v[0]) for v in ks.recalibrate(model, x).get_weights()]
    [1.0, 0.0, 2.0, 1.0]
    """
    found = [
        layer
        for layer in _surgery.all_layers(model)
        if isinstance(layer, keras.layers.BatchNormalization)
        and layer.trainable
    ]
    if not found:
        raise ValueError(
            "Expected a model with a BatchNormalization that is not frozen. "
            f"Received {model.name!r} without one: there is nothing to "
            "recalibrate."
        )
    momenta = [layer.momentum for layer in found]
    before = model.get_weights()
    batches = 0
    try:
        with contextlib.ExitStack() as stack:
            for layer in found:
                stack.enter_context(_in_training(layer))
            for x in _batches(data):
                model(x, training=False)
                batches += 1
    except BaseException:
        model.set_weights(before)
        raise
    finally:
        for layer, momentum in zip(found, momenta, strict=True):
            layer.momentum = momentum
    if not batches:
        raise ValueError(
            "Expected at least one batch. Received data without any. An "
            "iterator can be read only once: pass a list or an array."
        )
    return model


@contextlib.contextmanager
def _in_training(layer: keras.layers.Layer) -> Iterator[None]:
    """Runs one layer as in training while the model is at inference."""
    plain: Callable[..., Any] = layer.call
    seen = 0

    def call(x: Any, training: Any = None, mask: Any = None) -> Any:
        nonlocal seen
        # The share of the examples before: a plain average.
        layer.momentum = seen / (seen + len(x))
        seen += len(x)
        return plain(x, training=True, mask=mask)

    with _surgery.exchanged(layer, call=call):
        yield


def _batches(data: Any) -> Iterable[Any]:
    if isinstance(data, np.ndarray) or keras.ops.is_tensor(data):
        for start in range(0, len(data), BATCH):
            yield data[start : start + BATCH]
        return
    for batch in data:
        yield batch[0] if isinstance(batch, (tuple, list)) else batch
