"""Train, prune, finetune, and again."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping
from typing import Any

import keras

from keras_sparse._compiling import Compiler, compiler
from keras_sparse._traversal import Filter
from keras_sparse.lottery.masks.masked_model import Masked, masked_model
from keras_sparse.lottery.masks.next_masks import (
    NextMasks,
    by_deviation,
    by_path,
    by_rate,
)
from keras_sparse.lottery.rounds.arguments import (
    check_arguments,
    check_callbacks,
    check_count,
    check_fit,
    check_rounds,
)
from keras_sparse.lottery.rounds.identity import describe_layers
from keras_sparse.lottery.rounds.round import Round
from keras_sparse.lottery.rounds.run_rounds import run_rounds
from keras_sparse.lottery.trainings.trainer import (
    Callbacks,
    Fit,
    Trainer,
    describe_fit,
)
from keras_sparse.selection import check_sparsity

Number = float | Mapping[str, float]


@dataclasses.dataclass(frozen=True)
class FinetunedModel:
    """What `train_prune_finetune` came to.

    Args:
        model: The model after the last round: plain, with exact zeros.
        rounds: The rounds; the first is the training before any pruning.
    """

    model: keras.Model
    rounds: tuple[Round, ...]

    def __str__(self) -> str:
        return "\n".join(f"{each.number}: {each}" for each in self.rounds)


def train_prune_finetune(
    model: keras.Model | Callable[[], keras.Model],
    fit: Fit,
    *,
    rounds: int = 5,
    rate: Number | None = None,
    q: Number | None = None,
    finetune: Mapping[str, Any] | None = None,
    learning_rate_factor: float = 0.1,
    where: Filter | None = None,
    exclude: Filter | None = None,
    compile: Mapping[str, Any] | Compiler | None = None,
    callbacks: Callbacks = list,
    test_data: Any = None,
    checkpoint: str | os.PathLike | None = None,
    seed: int = 0,
    verbose: bool = True,
) -> FinetunedModel:
    """Trains a model, prunes it, trains on what is left, and again, in place.

    Every round compiles the model anew: the optimizer's memory and its
    learning rate schedule start over, while the weights are kept. Units that
    pruning has cut off are counted in each round;
    `keras_sparse.structured.shrink` takes them out. A frozen layer
    (`trainable=False`) stays dense.

    Args:
        model: A built, plain model, or a callable that makes one.
        fit: Arguments of `model.fit`, or a callable that makes them, as in
            `find_ticket`.
        rounds: How often to prune. For a model that is trained already, pass
            `epochs=0` in `fit` and the epochs of the rounds in `finetune`.
        rate: Share of the weights left that each round takes, or a dict of
            such from regular expressions on the weights' paths; others stay
            dense. Default: 0.3, unless `q` is given.
        q: Instead: each round takes the weights below `q` times the standard
            deviation of those left in their layer; or a dict.
        finetune: Arguments of `fit` that are others after the first training.
        learning_rate_factor: Of the learning rate after the first training;
            0.1 and 0.01 in the paper. A callback that sets the rate itself,
            such as `LearningRateScheduler`, overrides it.
        where: Which layers to prune, as in `keras_sparse.sparsify`.
        exclude: Which to leave dense.
        compile: As in `find_ticket`.
        callbacks: Makes the callbacks for each training.
        test_data: (x, y) or a data set of batches, to evaluate on after each
            training.
        checkpoint: Path of an `.npz` file, written after each round. Where it
            exists, the run goes on from it and ends at the same bits, if it
            is of this run: see `find_ticket`.
        seed: Non-negative integer, of the order of the data and of noise.
        verbose: Whether to print a line for each round.

    Returns:
        A `FinetunedModel`.

    Raises:
        ValueError: If both `rate` and `q` are given, one is out of range or
            names no weight, the model is sparse already or all frozen, or the
            checkpoint is another run's or has more rounds. The model's
            weights are then as they were; its optimizer may be a fresh one.

    Reference:
        [Han et al., 2015](https://arxiv.org/abs/1506.02626), section 3.

    Example:

    >>> import keras, keras_sparse as ks, numpy as np
    >>> model = keras.Sequential([keras.Input((10,)), keras.layers.Dense(10)])
    >>> model.compile("adam", "mse")
    >>> data = {"x": np.ones((8, 10)), "y": np.ones((8, 10)), "verbose": 0}
    >>> done = ks.lottery.train_prune_finetune(
    ...     model, data, rounds=2, rate=0.5, verbose=False)
    >>> [each.density for each in done.rounds]
    [1.0, 0.5, 0.25]
    """
    rounds = check_rounds(rounds)
    seed = check_count(seed, "seed")
    check_fit(fit)
    check_arguments(finetune or {}, "finetune")
    check_callbacks(callbacks)
    if rate is not None and q is not None:
        raise ValueError(
            "Expected `rate` or `q`. Received both. The one takes a share, "
            "the other what is below a threshold."
        )
    if not isinstance(model, keras.Model):
        keras.utils.set_random_seed(seed)
        model = model()
    compile_model = compiler(model, compile)
    trainer = Trainer(compile_model, fit, callbacks, test_data, seed)
    layers = describe_layers(model)
    with masked_model(model, where, exclude, compile_model) as masked:
        numbers, next_masks = _rule(masked.masked, rate, q)
        plan = {
            **trainer.describe(model),
            "layers": layers,
            "shapes": [list(v.shape) for v in masked.variables],
            "rate" if q is None else "q": [list(n) for n in numbers.items()],
            "learning_rate_factor": float(learning_rate_factor),
            "finetune": describe_fit(finetune or {}),
        }
        state = run_rounds(
            masked,
            trainer,
            next_masks,
            rounds=rounds,
            rewind=False,
            factor=learning_rate_factor,
            overrides=finetune,
            plan=plan,
            checkpoint=checkpoint,
            verbose=verbose,
        )
    return FinetunedModel(model, tuple(state.rounds))


def _rule(
    masked: Mapping[int, Masked], rate: Number | None, q: Number | None
) -> tuple[dict[int, float], NextMasks]:
    if q is not None:
        qs = {i: float(n) for i, n in _numbers(masked, q, "q").items()}
        if min(qs.values()) < 0:
            raise ValueError(
                "Expected `q`, 0 or more, of standard deviations. "
                f"Received: {q!r}. Values from 0.5 to 2 are usual."
            )
        return qs, by_deviation(qs)
    rates = _numbers(masked, 0.3 if rate is None else rate, "rate")
    rates = {i: check_sparsity(r, "`rate`") for i, r in rates.items()}
    return rates, by_rate(rates)


def _numbers(
    masked: Mapping[int, Masked], given: Number, argument: str
) -> dict[int, float]:
    if isinstance(given, Mapping):
        return by_path(masked, 0.0, given, argument)
    return by_path(masked, given, None, argument)
