"""A learning rate that starts later in its schedule, or lower."""

from __future__ import annotations

from typing import Any

import keras

from keras_sparse import _surgery


@keras.saving.register_keras_serializable(package="keras_sparse")
class Adjusted(keras.optimizers.schedules.LearningRateSchedule):
    """A schedule from a later step on, times a factor.

    Args:
        schedule: The schedule.
        start: Step of it that is the first here.
        factor: Of every rate.

    Example:

    >>> halving = keras.optimizers.schedules.ExponentialDecay(0.8, 1, 0.5)
    >>> float(Adjusted(halving, start=2, factor=10.0)(1))
    1.0
    """

    def __init__(self, schedule: Any, start: int = 0, factor: float = 1.0):
        if isinstance(schedule, dict):
            schedule = keras.optimizers.schedules.deserialize(schedule)
        self.schedule = schedule
        self.start = start
        self.factor = factor

    def __call__(self, step: Any) -> Any:
        return self.schedule(step + self.start) * self.factor

    def get_config(self) -> dict[str, Any]:
        return {
            "schedule": keras.optimizers.schedules.serialize(self.schedule),
            "start": self.start,
            "factor": self.factor,
        }


def adjust_learning_rate(
    optimizer: keras.optimizers.Optimizer, start: int, factor: float
) -> None:
    """Moves a fresh optimizer's schedule to a step, and scales its rate.

    The optimizer's own count of steps stays at 0, for Adam's correction of
    its moments belongs to moments that start at 0 as well.
    """
    if start == 0 and factor == 1.0:
        return
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)
    rate = _surgery.learning_rate(optimizer)
    if isinstance(rate, keras.optimizers.schedules.LearningRateSchedule):
        optimizer.learning_rate = Adjusted(rate, start, factor)
    elif factor != 1.0:
        optimizer.learning_rate = float(rate) * factor
