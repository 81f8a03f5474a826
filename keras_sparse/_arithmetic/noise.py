"""Random numbers that repeat with the seed and differ between replicas."""

from __future__ import annotations

import contextlib
import threading
import zlib
from collections.abc import Iterator
from typing import Any

import keras

# Between the seeds of two replicas; any number larger than a few.
_STRIDE = 7919

_LOCK = threading.Lock()
_predicting = 0


@contextlib.contextmanager
def noise_in_predictions() -> Iterator[None]:
    """While entered, weights are noisy outside of training as well.

    In all threads: replicas of a distribution strategy run in their own,
    which inherit no context variable.
    """
    global _predicting
    with _LOCK:
        _predicting += 1
    try:
        yield
    finally:
        with _LOCK:
            _predicting -= 1


def is_noisy(training: bool | None, trainable: bool = True) -> bool:
    """Whether a weight that has noise shows it in this call.

    Args:
        training: Whether the model is training.
        trainable: Whether the noise is trained; if not, it shows in
            `noise_in_predictions` alone.
    """
    return (bool(training) and trainable) or _predicting > 0


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
