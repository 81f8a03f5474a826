"""Noise that a resumed run repeats."""

from __future__ import annotations

import keras
import numpy as np

from keras_sparse import _surgery


class SeedEachEpoch(keras.callbacks.Callback):
    """Sets the state of every seed generator from the epoch's number.

    Neither `.keras` nor `BackupAndRestore` saves that state, so a resumed run
    draws other noise (in `Dropout` as well) than the run that was cut off.
    With this callback, and data whose order depends on the epoch alone, the
    two end at the same bits.

    Args:
        seed: Non-negative integer.
    """

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self.seed = seed

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        set_generators(self.model, self.seed, epoch)


def set_generators(model: keras.Model, seed: int, turn: int) -> None:
    """Sets the state of every seed generator in a model from two numbers."""
    for number, generator in enumerate(_surgery.seed_generators(model)):
        sequence = np.random.SeedSequence([seed, turn, number])
        state = sequence.generate_state(2) >> 1
        generator.state.assign(state.astype(generator.state.dtype))
