"""Which step of its optimizer a training stands at."""

from __future__ import annotations

import keras

from keras_sparse import _surgery


class StepCounter:
    """Counts the steps of a training by its batches.

    Within an epoch steps are counted, not read: on JAX `callback.model`
    brings all variables up to date, which costs more than a step of a small
    model. Where a model steps other optimizers than `model.optimizer`, or has
    none, its batches are all there is to count.
    """

    def __init__(self) -> None:
        self._epoch_start = 0  # in batches
        self._batches = 0  # of this epoch
        self._uncounted = 0  # by `model.optimizer`: the model has its own
        self._accumulation = 1  # batches to a step
        self._told = -1

    def begin_epoch(self, model: keras.Model) -> None:
        self._batches = 0
        self._epoch_start = self._uncounted
        optimizer = _optimizer(model)
        if optimizer is not None:
            self._epoch_start += _surgery.micro_steps(optimizer)
            self._accumulation = _surgery.accumulation(optimizer)

    def at(self, batch: int) -> int:
        """The step that a batch of this epoch is part of."""
        return (self._epoch_start + batch) // self._accumulation

    def end_batch(self, batch: int) -> None:
        self._batches = batch + 1

    def end_epoch(self, model: keras.Model) -> None:
        skips = isinstance(
            _optimizer(model), keras.optimizers.LossScaleOptimizer
        )
        if self._micro_steps(model) == self._epoch_start and not skips:
            self._uncounted += self._batches

    def tell(self, step: int) -> None:
        """Notes a step that a loop of one's own is about to take."""
        self._told = max(self._told, step)

    def taken(self, model: keras.Model) -> int:
        """Steps taken so far: by the optimizer, or as the counter was told."""
        optimizer = _optimizer(model)
        each = 1 if optimizer is None else _surgery.accumulation(optimizer)
        return max(self._micro_steps(model) // each, self._told + 1)

    def _micro_steps(self, model: keras.Model) -> int:
        optimizer = _optimizer(model)
        if optimizer is None:
            return self._uncounted
        _surgery.sync_state(model)
        return _surgery.micro_steps(optimizer) + self._uncounted


def _optimizer(model: keras.Model) -> keras.optimizers.Optimizer | None:
    return getattr(model, "optimizer", None)
