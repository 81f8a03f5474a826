"""What one training came to."""

from __future__ import annotations

import dataclasses

from keras_sparse.lottery.trainings.logs import Logs


@dataclasses.dataclass(frozen=True)
class Training:
    """What one training came to.

    Args:
        steps: At which step of `model.optimizer` it ended; 0 where a
            `train_step` uses optimizers of its own.
        logs: The last epoch's: numbers, or lists where a metric has several.
        best_step: Step of the lowest validation loss, the early-stop
            iteration; `None` without validation data.
        best_logs: The logs of that epoch.
        test: On the test data after the last step; empty without.
        best_test: On the test data with the weights of `best_step`.
        epoch_ends: Step that the last batch of each epoch belongs to.
        seconds: That `fit` took.
    """

    steps: int
    logs: Logs
    best_step: int | None
    best_logs: Logs
    test: Logs
    best_test: Logs
    epoch_ends: list[int]
    seconds: float

    def value(self, metric: str = "accuracy") -> float:
        """A metric at the end: on test data, else validation, else training.

        Args:
            metric: Name as in the logs.

        Raises:
            ValueError: If it was not measured, or is not one number.
        """
        for logs, name in (
            (self.test, metric),
            (self.logs, f"val_{metric}"),
            (self.logs, metric),
        ):
            if isinstance(logs.get(name), list):
                raise ValueError(
                    f"Expected a metric that is one number. Received: {name!r},"
                    f" which is {logs[name]}. Average it, if the metric can."
                )
            if name in logs:
                return logs[name]
        raise ValueError(
            f"Expected a metric that was measured, one of {list(self.logs)}. "
            f"Received: {metric!r}. Name it in `metrics` of `compile`."
        )
