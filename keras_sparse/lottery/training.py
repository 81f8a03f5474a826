"""One training of a search, from a fresh optimizer on."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from keras_sparse import _surgery
from keras_sparse._compiling import Compiler, without_names
from keras_sparse.callbacks.seed_each_epoch import SeedEachEpoch
from keras_sparse.lottery.compile_config import describe_compiling
from keras_sparse.lottery.learning_rate import adjust_learning_rate
from keras_sparse.lottery.masked_model import MaskedModel

Fit = Mapping[str, Any] | Callable[[], Mapping[str, Any]]
Callbacks = Callable[[], Sequence[keras.callbacks.Callback]]


@dataclasses.dataclass(frozen=True)
class Training:
    """What one training came to.

    Args:
        steps: At which optimizer step it ended.
        logs: The last epoch's.
        best_step: Step of the lowest validation loss, the early-stop
            iteration; `None` without validation data.
        best_logs: The logs of that epoch.
        test: On the test data after the last step; empty without.
        best_test: On the test data with the weights of `best_step`.
        epoch_ends: Step at which each epoch ended.
        seconds: That `fit` took.
    """

    steps: int
    logs: dict[str, float]
    best_step: int | None
    best_logs: dict[str, float]
    test: dict[str, float]
    best_test: dict[str, float]
    epoch_ends: list[int]
    seconds: float

    def value(self, metric: str = "accuracy") -> float:
        """A metric at the end: on test data, else validation, else training.

        Args:
            metric: Name as in the logs.

        Raises:
            ValueError: If it was not measured.
        """
        for logs, name in (
            (self.test, metric),
            (self.logs, f"val_{metric}"),
            (self.logs, metric),
        ):
            if name in logs:
                return logs[name]
        raise ValueError(
            f"Expected a metric that was measured, one of {list(self.logs)}. "
            f"Received: {metric!r}. Name it in `metrics` of `compile`."
        )


@dataclasses.dataclass(frozen=True)
class Trainer:
    """How every training of a search is done.

    Args:
        compile_model: Compiles with a fresh optimizer.
        fit: Arguments of `model.fit`, or a callable that makes them.
        callbacks: Makes the callbacks.
        test_data: What to evaluate on after training, or `None`.
        seed: Of the search.
    """

    compile_model: Compiler
    fit: Fit
    callbacks: Callbacks
    test_data: Any
    seed: int

    def __post_init__(self) -> None:
        if not callable(self.fit):
            check_no_callbacks(self.fit)

    def train(
        self,
        masked: MaskedModel,
        *turn: int,
        start: int = 0,
        first: Training | None = None,
        factor: float = 1.0,
        snapshot: int | None = None,
        overrides: Mapping[str, Any] | None = None,
    ) -> tuple[Training, list[NDArray] | None]:
        """Trains a model from the weights it has.

        Args:
            masked: The model.
            *turn: What the seed depends on, beside the search's.
            start: Step of the schedule to begin at. Training then ends at the
                step at which `first` did.
            first: The training from step 0, where `start` is not 0.
            factor: Of the learning rate.
            snapshot: Step after which the weights are kept.
            overrides: Arguments of `fit` that replace others.

        Returns:
            What it came to, and the weights of the snapshot.
        """
        model = masked.model
        seed = derive_seed(self.seed, *turn)
        keras.utils.set_random_seed(seed)
        self.compile_model(model)
        adjust_learning_rate(model.optimizer, start, factor)
        given = self.fit() if callable(self.fit) else self.fit
        arguments = {**given, **(overrides or {})}
        check_no_callbacks(arguments)
        if snapshot:
            _check_snapshot(snapshot, model)
        watch = _Watch(
            masked,
            start=start,
            stop=first.steps if start and first else None,
            snapshot_at=snapshot,
            keep_best=self.test_data is not None,
        )
        if start and first is not None:
            skipped = sum(end <= start for end in first.epoch_ends)
            before = arguments.get("initial_epoch", 0)
            arguments["initial_epoch"] = before + skipped
        arguments["callbacks"] = [
            SeedEachEpoch(seed),
            *self.callbacks(),
            watch,
        ]
        begin = time.perf_counter()
        history = model.fit(**arguments).history
        seconds = time.perf_counter() - begin
        if snapshot and watch.snapshot is None:
            raise ValueError(
                f"Expected `rewind_step` to be a step of the training. "
                f"Received {snapshot}; the training has {watch.steps}, seen in "
                f"executions of {model.steps_per_execution} batches (an "
                "epoch's last may be less): see steps_per_execution."
            )
        test = self._test(model)
        best_test = {}
        if watch.best_weights is not None:
            last = masked.read()
            masked.assign(watch.best_weights)
            best_test = self._test(model)
            masked.assign(last)
        training = Training(
            steps=watch.steps,
            logs={name: float(each[-1]) for name, each in history.items()},
            best_step=watch.best_step,
            best_logs=watch.best_logs,
            test=test,
            best_test=best_test,
            epoch_ends=watch.epoch_ends,
            seconds=seconds,
        )
        return training, watch.snapshot

    def describe(self, model: keras.Model) -> dict[str, Any]:
        """What is known of the trainings, for JSON; compiles the model."""
        self.compile_model(model)
        given = {} if callable(self.fit) else self.fit
        described = {
            **describe_compiling(model),
            "fit": {
                name: value
                for name, value in sorted(given.items())
                if isinstance(value, (bool, int, float, str))
                and name != "verbose"
            },
            "seed": self.seed,
        }
        return json.loads(json.dumps(without_names(described), default=str))

    def _test(self, model: keras.Model) -> dict[str, float]:
        if self.test_data is None:
            return {}
        if isinstance(self.test_data, (tuple, list)):
            x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(
                self.test_data
            )
            logs = model.evaluate(
                x,
                y,
                sample_weight=sample_weight,
                batch_size=1000,
                verbose=0,
                return_dict=True,
            )
        else:
            logs = model.evaluate(self.test_data, verbose=0, return_dict=True)
        return {name: float(value) for name, value in logs.items()}


def check_no_callbacks(arguments: Mapping[str, Any]) -> None:
    """Raises if arguments of `fit` hold callbacks, which remember things."""
    if "callbacks" in arguments:
        raise ValueError(
            "Expected callbacks in `callbacks`, a callable that makes new "
            "ones for each training. Received them in arguments of `fit`."
        )


def derive_seed(*numbers: int) -> int:
    """A seed that depends on every one of the numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


class _Watch(keras.callbacks.Callback):
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
        self.best_logs: dict[str, float] = {}
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
        self.epoch_ends.append(self.steps)
        logs = logs or {}
        loss = logs.get("val_loss")
        if loss is None:
            return
        if self.best_step is None or loss < self.best_logs["val_loss"]:
            self.best_step = self.steps
            self.best_logs = {name: float(v) for name, v in logs.items()}
            if self.keep_best:
                self.best_weights = self.masked.read()


def _check_snapshot(step: int, model: keras.Model) -> None:
    size = model.steps_per_execution
    batches = step * _surgery.accumulation(model.optimizer)
    if batches % size:
        raise ValueError(
            "Expected `rewind_step` to be a multiple of steps_per_execution, "
            f"{size}, in which training goes on. Received: {step}."
        )
