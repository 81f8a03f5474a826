"""Random numbers that repeat with the seed and differ between replicas."""

from __future__ import annotations

import contextlib
import contextvars
import zlib
from collections.abc import Iterator
from typing import Any

import keras

# Between the seeds of two replicas; any number larger than a few.
_STRIDE = 7919

_PREDICTING = contextvars.ContextVar("noise in predictions", default=False)


@contextlib.contextmanager
def noise_in_predictions() -> Iterator[None]:
    """While entered, weights are noisy outside of training as well."""
    token = _PREDICTING.set(True)
    try:
        yield
    finally:
        _PREDICTING.reset(token)


def is_noisy(training: bool | None) -> bool:
    """Whether a weight that has noise shows it in this call."""
    return bool(training) or _PREDICTING.get()


class NoiseSeed(keras.random.SeedGenerator):
    """A seed generator that gives each replica seeds of its own.

    Under a TensorFlow distribution strategy, Keras' own generator gives the
    replicas all the same. A layer holds it as an attribute, so that Keras
    tracks its state, and passes it as `seed` to functions of `keras.random`.

    Args:
        seed: Integer, or `None` for one that follows
            `keras.utils.set_random_seed`.
        path: Where it is used, so that one seed makes different noise in two
            places.
    """

    def __init__(self, seed: int | None = None, path: str = "") -> None:
        if seed is not None and path:
            seed = zlib.crc32(path.encode(), seed & 0xFFFFFFFF)
        super().__init__(seed)

    def next(self, ordered: bool = True) -> Any:
        seed = super().next(ordered)
        if keras.backend.backend() != "tensorflow":
            return seed
        import tensorflow as tf

        context = tf.distribute.get_replica_context()
        if context is None or context.num_replicas_in_sync == 1:
            return seed
        replica = keras.ops.cast(context.replica_id_in_sync_group, seed.dtype)
        return seed + keras.ops.stack([replica * _STRIDE, replica * 0])
