"""Schedules that others wrote, in the form of ours."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from keras_sparse.selection import check_sparsity


@dataclass(frozen=True)
class UserSchedule:
    """A function of the step, checked each time it is called.

    Args:
        function: Callable `step -> sparsity`. If it has attributes `begin`,
            `end` or `final`, they are used.

    Example:

    >>> schedule = UserSchedule(lambda step: min(step / 100, 0.9))
    >>> schedule(50)
    0.5
    """

    function: Callable[[int], Any]

    begin = property(lambda self: getattr(self.function, "begin", 0))
    end = property(lambda self: getattr(self.function, "end", None))
    final = property(lambda self: getattr(self.function, "final", None))

    def __call__(self, step: int) -> float:
        return check_sparsity(
            self.function(step),
            f"what the schedule {self.function!r} returns at step {step}",
        )


@dataclass(frozen=True)
class TfmotSchedule:
    """A `PruningSchedule` of tensorflow-model-optimization.

    The call returns `None` where that schedule says not to prune.

    Args:
        schedule: The `PruningSchedule`.
    """

    schedule: Any

    begin = property(lambda self: getattr(self.schedule, "begin_step", 0))

    @property
    def end(self) -> int | None:
        end = getattr(self.schedule, "end_step", -1)
        return None if end < 0 else end

    @property
    def final(self) -> float | None:
        constant = getattr(self.schedule, "target_sparsity", None)
        return getattr(self.schedule, "final_sparsity", constant)

    def __call__(self, step: int) -> float | None:
        import tensorflow as tf

        prune, sparsity = self.schedule(tf.constant(step, tf.int64))
        if not bool(prune):
            return None
        # It computes in float32: .9 comes back as .8999999761581421.
        return check_sparsity(
            round(float(sparsity), 7),
            f"what the schedule {self.schedule!r} returns at step {step}",
        )
