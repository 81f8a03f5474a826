"""What watches the steps of a training."""

from __future__ import annotations

import math

import keras
from numpy.typing import NDArray

from keras_sparse import _surgery
from keras_sparse.lottery.masks.masked_model import MaskedModel
from keras_sparse.lottery.trainings.logs import Logs, plain


class Watch(keras.callbacks.Callback):
    """Counts steps, keeps the weights of two of them, ends the training."""

    def __init__(
        self,
        masked: MaskedModel,
        *,
        start: int,
        stop: int | None,
        snapshot_at: int | None,
        keep_best: bool,
    ) -> None:
        super().__init__()
        self.masked = masked
        self.start = start
        self.stop = stop
        self.snapshot_at = snapshot_at
        self.keep_best = keep_best
        self.steps = start
        self.epoch_ends: list[int] = []
        self.best_step: int | None = None
        self.best_logs: Logs = {}
        self.best_weights: list[NDArray] | None = None
        self.snapshot: list[NDArray] | None = None
        self._epoch_start = 0
        self._accumulation = _surgery.accumulation(masked.model.optimizer)

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self._epoch_start = _surgery.micro_steps(self.model.optimizer)

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        # Counted, for reading costs much on JAX; read only where it matters,
        # since the last execution of an epoch may be shorter than the others.
        seen = self._epoch_start + batch + 1
        counted = self.start + seen // self._accumulation
        # A step that loss scaling skips is counted here and is none.
        due = (
            self.snapshot_at is not None
            and self.snapshot is None
            and self.steps < self.snapshot_at <= counted
        )
        over = self.stop is not None and counted >= self.stop
        if due or over:
            self._read_steps()
            if due and self.steps == self.snapshot_at:
                self.snapshot = self.masked.read()
            if self.stop is not None and self.steps >= self.stop:
                self.model.stop_training = True

    def _read_steps(self) -> None:
        _surgery.sync_state(self.model)
        seen = _surgery.micro_steps(self.model.optimizer)
        self.steps = self.start + seen // self._accumulation

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        self._read_steps()
        # An epoch may end within a step, whose first gradients it brings.
        seen = _surgery.micro_steps(self.model.optimizer)
        last = -(-seen // self._accumulation)
        self.epoch_ends.append(self.start + last)
        logs = logs or {}
        loss = logs.get("val_loss")
        if loss is None:
            return
        best = self.best_logs.get("val_loss", math.nan)
        if self.best_step is None or math.isnan(best) or loss < best:
            self.best_step = self.steps
            self.best_logs = plain(logs)
            if self.keep_best:
                self.best_weights = self.masked.read()


def check_snapshot(step: int, model: keras.Model) -> None:
    size = model.steps_per_execution
    batches = step * _surgery.accumulation(model.optimizer)
    if batches % size:
        raise ValueError(
            "Expected `rewind_step` to be a multiple of steps_per_execution, "
            f"{size}, in which training goes on. Received: {step}."
        )
