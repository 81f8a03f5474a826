"""Trains a masked model, each time from a fresh optimizer on."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
from numpy.typing import NDArray

from keras_sparse._compiling import Compiler, without_names
from keras_sparse.callbacks.seed_each_epoch import SeedEachEpoch
from keras_sparse.lottery.masks.masked_model import MaskedModel
from keras_sparse.lottery.rounds.arguments import (
    check_arguments,
    check_callbacks,
    check_fit,
    made_callbacks,
)
from keras_sparse.lottery.rounds.identity import describe_data
from keras_sparse.lottery.rounds.seeds import derive_seed
from keras_sparse.lottery.trainings.compile_config import describe_compiling
from keras_sparse.lottery.trainings.learning_rate import adjust_learning_rate
from keras_sparse.lottery.trainings.logs import Logs, plain
from keras_sparse.lottery.trainings.training import Training
from keras_sparse.lottery.trainings.watch import Watch, check_snapshot

Fit = Mapping[str, Any] | Callable[[], Mapping[str, Any]]
Callbacks = Callable[[], Sequence[keras.callbacks.Callback]]


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
        check_fit(self.fit)
        check_callbacks(self.callbacks)

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
        check_arguments(given)
        arguments = {**given, **(overrides or {})}
        if snapshot:
            check_snapshot(snapshot, model)
        watch = Watch(
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
            *made_callbacks(self.callbacks),
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
            logs=plain({name: each[-1] for name, each in history.items()}),
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
        described = {
            **without_names(describe_compiling(model)),
            "fit": describe_fit({} if callable(self.fit) else self.fit),
            "test_data": describe_data(self.test_data),
            "seed": self.seed,
        }
        return json.loads(json.dumps(described, default=describe_data))

    def _test(self, model: keras.Model) -> Logs:
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
        return plain(logs)


def describe_fit(arguments: Mapping[str, Any]) -> Any:
    """Arguments of `fit`, without what it prints."""
    return describe_data({k: v for k, v in arguments.items() if k != "verbose"})
