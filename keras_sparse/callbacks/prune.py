"""Prunes while a model trains."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from keras_sparse import _surgery, allocations, patterns, schedules, scores
from keras_sparse._selection.masks import check_functions
from keras_sparse._traversal import Filter
from keras_sparse.callbacks.step_counter import StepCounter
from keras_sparse.callbacks.unfinished import unfinished
from keras_sparse.pruning import (
    Allocation,
    MaskedWeight,
    Pattern,
    Score,
    compute_masks,
    masked_weights,
    update_masks,
)
from keras_sparse.saving import lost_on_reload, remedy_for_reload

RARELY = 100  # steps between updates
# In a schedule that has an end: by default, and whatever `every` says.
MANY_UPDATES, FEWEST_UPDATES = 100, 10


class Prune(keras.callbacks.Callback):
    """Sets the masks of a sparsified model as a schedule asks.

    Masks are updated before the batch of a due step, so every callback,
    wherever it stands in the list, sees the masks that the step used, and a
    checkpoint taken at any moment is sparse. Updates are due at the
    schedule's `begin`, every `every` steps after it, and at its `end`; the
    last one does not wait for a batch that may not come. Training that starts
    later than `begin` starts with the masks that were due before it.

    Args:
        schedule: From the optimizer's step to the overall sparsity: one of
            `keras_sparse.schedules`, any callable, a number, or a tfmot
            `PruningSchedule`.
        every: Steps between updates. Defaults to 100, or to fewer where a
            schedule with an `end` would get less than a hundred updates; it
            gets ten at least, whatever is passed. A tfmot schedule gets those
            of its own frequency.
        score: From (weight, gradient) to importance; the smallest go first.
        pattern: Which zeros go together, see `keras_sparse.patterns`.
        allocation: Which layer gets how many zeros, see
            `keras_sparse.allocations`; or a map from path to sparsity.
        where: Which sparsified layers to prune, as in `sparsify`.
        exclude: Which to leave dense.
        data: For scores that need a gradient: a batch (x, y), or a callable
            that returns one for each update.

    Raises:
        ValueError: At the begin of training, if no weight has a `Mask`; in
            it, if an optimizer moves zeros under `Mask(gradient_only=True)`.

    Reference:
        Zhu and Gupta, "To prune, or not to prune", 2017, for the defaults
        (gradual magnitude pruning).

    Example:

    >>> import keras, keras_sparse as ks, numpy as np
    >>> model = keras.Sequential([keras.Input((10,)), keras.layers.Dense(10)])
    >>> model = ks.sparsify(model, ks.Mask(), verbose=False)
    >>> model.compile("sgd", "mse")
    >>> schedule = ks.schedules.Polynomial(final=0.8, begin=0, end=4)
    >>> _ = model.fit(np.ones((8, 10)), np.ones((8, 10)), batch_size=2,
    ...               verbose=0, callbacks=[ks.callbacks.Prune(schedule)])
    >>> int((ks.strip(model).layers[0].get_weights()[0] == 0).sum())
    80
    """

    def __init__(
        self,
        schedule: Any,
        every: int | None = None,
        *,
        score: Score = scores.magnitude,
        pattern: Pattern = patterns.unstructured,
        allocation: Allocation = allocations.uniform,
        where: Filter | None = None,
        exclude: Filter | None = None,
        data: tuple[Any, ...] | Callable[[], tuple[Any, ...]] | None = None,
    ) -> None:
        super().__init__()
        self._fewest = MANY_UPDATES if every is None else FEWEST_UPDATES
        every = RARELY if every is None else every
        if not isinstance(every, (int, np.integer)) or every < 1:
            raise ValueError(
                "Expected `every` to be a number of steps, at least 1. "
                f"Received: {every!r}."
            )
        if scores.needs_data(score) and data is None:
            raise ValueError(
                f"Expected data for the score {score!r}, which needs the "
                "gradient of the loss. Received none. Pass data=(x, y)."
            )
        check_functions(score=score, pattern=pattern)
        self.schedule = schedules.get(schedule)
        self.every = int(every)
        self.score = score
        self.pattern = pattern
        self.allocation = allocations.get(allocation)
        self.where = where
        self.exclude = exclude
        self.data = data
        self._weights: dict[str, MaskedWeight] = {}
        self._seen: int | None = None
        self._asked = 0.0  # the sparsity that was last asked for
        self._steps = StepCounter()

    def on_train_begin(self, logs: dict | None = None) -> None:
        self._weights = masked_weights(self.model, self.where, self.exclude)
        if not self._weights:
            raise ValueError(
                "Expected a model with weights under a `Mask`. Received one "
                "with none for Prune to set. Call "
                "`keras_sparse.sparsify(model, keras_sparse.Mask())` first; "
                "`Feather` has a callback of its own, `Threshold`."
            )
        for weight in self._weights.values():
            if weight.mask.gradient_only:  # training takes it as it is
                weight.mask.clear(weight.each.raw)
        self._seen = None
        self._catch_up()

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self._steps.begin_epoch(self.model)
        if getattr(self.model, "optimizer", None) is not None:
            # Nothing is remembered from the epoch before, so that a run that
            # is resumed here does the same.
            self._seen = self._steps.at(-1)

    def on_train_batch_begin(
        self, batch: int, logs: dict | None = None
    ) -> None:
        self._update(self._steps.at(batch))

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        self._steps.end_batch(batch)

    def on_test_begin(self, logs: dict | None = None) -> None:
        if self._weights:
            self._finish()

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        self._steps.end_epoch(self.model)
        self._finish()
        for weight in self._weights.values():
            if weight.mask.gradient_only:
                weight.value()  # an error where zeros were moved

    def on_train_end(self, logs: dict | None = None) -> None:
        step = self._finish()
        self._weights = {}
        told = unfinished(self.schedule, step, self._asked, self.every)
        if told:
            warnings.warn(told, stacklevel=2)
        lost = lost_on_reload(self.model)
        if lost:
            warnings.warn(remedy_for_reload(self.model, lost), stacklevel=2)

    def update(self, step: int) -> None:
        """Sets the masks if an update has come due since the last call.

        A training loop of one's own calls `set_model(model)` and
        `on_train_begin()` once, this before each step, and `on_train_end()`
        after the last. What the optimizer remembers of masked weights is
        cleared where it is `model.optimizer`.

        Args:
            step: The optimizer's iteration that comes next.
        """
        self._steps.tell(step)
        self._update(step)

    def _update(self, step: int) -> None:
        seen = step - 1 if self._seen is None else self._seen
        self._seen = max(seen, step)
        if self._due(step, seen):
            sparsity = self._sparsity(step)
            if sparsity is not None:
                self._asked = sparsity
                self._set_masks(sparsity)

    def _sparsity(self, step: int) -> float | None:
        sparsity, end = self.schedule(step), self.schedule.end
        if sparsity is None and end is not None and step >= end:
            return self.schedule.final  # which the end is there for
        return sparsity

    def _set_masks(self, sparsity: float) -> None:
        _surgery.sync_state(self.model)
        update_masks(
            self.model,
            self._weights,
            sparsity,
            score=self.score,
            pattern=self.pattern,
            allocation=self.allocation,
            batch=self.data() if callable(self.data) else self.data,
        )

    def _catch_up(self) -> None:
        """Sets masks that were due before this run, unless a run set them."""
        step, begin = self._steps.taken(self.model), self.schedule.begin
        end = self.schedule.end
        if step <= begin or self._due(step, step - 1):
            return
        last = step if end is None else min(step, end)
        if last != end:
            last -= (last - begin) % self._every()
        sparsity = self._sparsity(last)
        if sparsity is None:
            return
        self._asked = sparsity
        if not self._is_at(sparsity):
            self._set_masks(sparsity)

    def _is_at(self, sparsity: float) -> bool:
        """Whether the masks have the number of zeros of this sparsity."""
        if isinstance(self.allocation, allocations.std_threshold):
            return True  # the sparsity says nothing of that number
        # Only counted, and scores do not change the number in all.
        wanted = compute_masks(
            {path: weight.value() for path, weight in self._weights.items()},
            {path: weight.each.slot for path, weight in self._weights.items()},
            sparsity,
            pattern=self.pattern,
            allocation=self.allocation,
        )
        found = [weight.mask.mask.value for weight in self._weights.values()]
        kept = sum(np.count_nonzero(_surgery.to_numpy(mask)) for mask in found)
        # A rounding for each weight.
        difference = sum(mask.sum() for mask in wanted.values()) - kept
        return bool(abs(difference) <= len(found))

    def _finish(self) -> int:
        """Sets the final masks if it is time; returns the step."""
        step = self._steps.taken(self.model)
        if self.schedule.end is not None and step >= self.schedule.end:
            self._update(step)
        return step

    def _due(self, step: int, seen: int) -> bool:
        begin, end = self.schedule.begin, self.schedule.end
        if step < begin:
            return False
        if end is not None:
            if seen < end <= step:
                return True
            step = min(step, end)
        if isinstance(self.schedule, schedules.Cyclic):
            if self.schedule(step) != self.schedule(seen):
                return True
        every = self._every()
        return (step - begin) // every > (seen - begin) // every

    def _every(self) -> int:
        if isinstance(self.schedule, schedules.TfmotSchedule):
            return 1  # it says itself when to prune
        begin, end = self.schedule.begin, self.schedule.end
        if end is None:
            return self.every
        few = math.ceil((end - begin) / self._fewest)
        return max(1, min(self.every, few))
