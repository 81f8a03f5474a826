"""Random numbers that repeat with the seed and differ between replicas."""

from __future__ import annotations

from typing import Any

import keras

# Between the seeds of two replicas; any number larger than a few.
_STRIDE = 7919


def draw_seed(generator: keras.random.SeedGenerator) -> Any:
    """The next seed for a function of `keras.random`.

    The replicas of a TensorFlow distribution strategy get each their own; a
    seed generator alone gives all the same.

    Args:
        generator: A `keras.random.SeedGenerator` that a layer holds.
    """
    seed = generator.next()
    if keras.backend.backend() != "tensorflow":
        return seed
    import tensorflow as tf

    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return seed
    replica = keras.ops.cast(context.replica_id_in_sync_group, seed.dtype)
    return seed + keras.ops.stack([replica * _STRIDE, replica * 0])
