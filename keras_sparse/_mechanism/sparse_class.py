"""Makes the Sparse class of a layer class: `call` with exchanged weights."""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import keras

from keras_sparse import _surgery
from keras_sparse._arithmetic.noise import is_noisy
from keras_sparse._mechanism.local_reparametrization import call_locally
from keras_sparse._mechanism.sparse_layer import (
    Attached,
    SparseLayer,
    attach_pending,
    attached,
    effective,
)

# Eager calls from several threads would exchange the same attribute. One lock
# for all layers keeps layers picklable and cannot be taken in two orders.
_EXCHANGE = threading.RLock()
# Seconds to wait for it. Only replicas that wait for each other inside `call`
# hold it for good.
PATIENCE = 60.0


def sparse_class(
    plain_class: type[keras.layers.Layer], module: str
) -> type[keras.layers.Layer]:
    """Makes the Sparse class of a plain layer class.

    `build` and `call` keep the plain signatures, which Keras inspects.
    """

    @functools.wraps(plain_class.build)
    def build(self: Any, *args: Any, **kwargs: Any) -> None:
        plain_class.build(self, *args, **kwargs)
        attach_pending(self)

    @functools.wraps(plain_class.call)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        return _call_exchanged(self, plain_class.call, args, kwargs)

    name = f"Sparse{plain_class.__name__}"
    return type(
        name,
        (SparseLayer, plain_class),
        {
            "__doc__": f"`{plain_class.__name__}` whose weights pass through "
            "parametrizations while it is called.",
            "__module__": module,
            "__qualname__": name,
            "plain_class": plain_class,
            "build": build,
            "call": call,
        },
    )


def _call_exchanged(
    layer: keras.layers.Layer,
    call: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Any:
    weights = attached(layer)
    values = {name: effective(layer, each) for name, each in weights.items()}
    local = _local_noise(layer)
    if not _EXCHANGE.acquire(timeout=PATIENCE):
        raise RuntimeError(
            f"Expected the calls of sparse layers in other threads to end. "
            f"Received none that ended while {layer.name!r} waited for "
            f"{PATIENCE:.0f} seconds: the replicas of a distribution strategy "
            "seem to wait for each other inside `call`, as they do where it "
            "assigns a variable with aggregation='mean'. Leave such a layer "
            "out with `exclude`."
        )
    try:
        with _exchanged(weights, values):
            if local is not None:
                return call_locally(layer, call, args, kwargs, *local)
            return call(layer, *args, **kwargs)
    finally:
        _EXCHANGE.release()


def _local_noise(
    layer: keras.layers.Layer,
) -> tuple[Attached, Any, Callable[..., Any]] | None:
    """The weight whose noise goes on the outputs, its variance, its source."""
    if not is_noisy(_surgery.is_training(layer)):
        return None
    for each in attached(layer).values():
        parametrization = each.parametrization(layer)
        variance = parametrization.variance(_surgery.read(each.raw))
        if variance is not None:
            return each, variance, parametrization.normal
    return None


@contextlib.contextmanager
def _exchanged(
    weights: Mapping[str, Attached], values: Mapping[str, Any]
) -> Iterator[None]:
    before: list[tuple[Attached, Any]] = []
    try:
        for name, each in weights.items():
            value = values[name]
            previous = _surgery.exchange(each.owner, each.attribute, value)
            before.append((each, previous))
        yield
    finally:
        for each, previous in before:
            _surgery.restore(each.owner, each.attribute, previous)
