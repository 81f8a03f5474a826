"""Iterative magnitude pruning with rewinding."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras

from keras_sparse._compiling import Compiler, compiler, without_names
from keras_sparse._traversal import Filter
from keras_sparse.lottery.initializers import (
    Initializer,
    draw_weights,
    get_initializer,
)
from keras_sparse.lottery.masks.masked_model import (
    MaskedModel,
    find_weights,
    masked_model,
)
from keras_sparse.lottery.masks.next_masks import (
    by_global_rate,
    by_path,
    by_rate,
)
from keras_sparse.lottery.rounds.arguments import (
    check_callbacks,
    check_choice,
    check_control_rounds,
    check_controls,
    check_count,
    check_data_name,
    check_fit,
    check_rounds,
)
from keras_sparse.lottery.rounds.identity import describe_layers
from keras_sparse.lottery.rounds.run_rounds import run_rounds
from keras_sparse.lottery.ticket_search import TicketSearch
from keras_sparse.lottery.trainings.control_trainings import (
    CONTROLS,
    train_controls,
)
from keras_sparse.lottery.trainings.trainer import Callbacks, Fit, Trainer
from keras_sparse.selection import check_sparsity


def find_ticket(
    model: keras.Model | Callable[[], keras.Model],
    fit: Fit,
    *,
    rounds: int = 10,
    rate: float = 0.2,
    output_rate: float | None = None,
    rates: Mapping[str, float] | None = None,
    scope: str = "layer",
    rewind: str = "weights",
    rewind_step: int = 0,
    initializer: Initializer | None = None,
    where: Filter | None = None,
    exclude: Filter | None = None,
    compile: Mapping[str, Any] | Compiler | None = None,
    callbacks: Callbacks = list,
    test_data: Any = None,
    controls: Sequence[str] = (),
    control_rounds: Sequence[int] | None = None,
    data_name: str | None = None,
    checkpoint: str | os.PathLike | None = None,
    seed: int = 0,
    verbose: bool = True,
) -> TicketSearch:
    """Finds a sparse net that trains from its first weights on.

    Trains the model, takes away the weights of smallest magnitude, puts the
    others back to what they were, and starts over. Every round compiles the
    model anew, so that the optimizer's memory and its learning rate schedule
    start over as well: with `compile` if it is given, else with
    `model.compile_from_config` from what the model was compiled with. Pass a
    callable where losses or metrics cannot be serialized, or where the model
    has a `compile` of its own. Callbacks come from `callbacks` for the same
    reason. A frozen layer (`trainable=False`) stays dense and keeps its
    weights, in controls too.

    Args:
        model: A built, plain model, or a callable that makes one.
        fit: Arguments of `model.fit` for each round: `x`, `y`, `epochs`,
            `validation_data`, ... Or a callable that makes them, called for
            each training: for data whose order is a state of its own, such as
            a shuffled `tf.data.Dataset`.
        rounds: How often to take weights away. One more training is done, the
            first, which is dense.
        rate: Share of the weights left that each round takes.
        output_rate: The same for the model's output layer (all, where its
            graph has several outputs; of a model with a `call` of its own the
            layer set last as an attribute), or for the last of the chosen
            weights if that is not chosen. Default: half of `rate`, as in the
            paper, for the former alone; not used where `scope` is global.
        rates: The same for others, by a regular expression on the weight's
            path: `{"conv": 0.1}`.
        scope: `"layer"` takes the rate of each weight, `"global"` the
            smallest of all of them together.
        rewind: `"weights"` goes back to the weights of `rewind_step`;
            `"learning_rate"` keeps the trained ones. The learning rate
            schedule goes back in both cases.
        rewind_step: Step of the dense training to go back to. Each round then
            ends at the step at which that did, or up to one execution later
            where `steps_per_execution` does not divide an epoch's steps.
        initializer: For the chosen weights, see `reinitialize`. Default: what
            they are. Others keep theirs, in controls are drawn from their
            layer's own.
        where: Which layers to prune, as in `keras_sparse.sparsify`.
        exclude: Which to leave dense.
        compile: Arguments of `model.compile`, or a callable that compiles the
            model it is given. Default: the model's own.
        callbacks: Makes the callbacks for each training.
        test_data: (x, y) or a data set of batches to evaluate on after each
            training, and with the weights of the lowest validation loss.
        controls: Trainings to compare each round with: `"reinitialized"`, the
            masks with fresh kernels and all else as it was before the first
            training, from step 0; `"random_mask"`, the weights of
            `rewind_step` under random masks of the same density in each layer.
        control_rounds: Rounds that get them, from 1 on. Default: all but the
            first.
        data_name: Name of the data, for the ticket's provenance.
        checkpoint: Path of an `.npz` file, written after each round. Where it
            exists, the search goes on from it and ends at the same bits, if it
            is of this search. Compared are the arguments, what the model was
            compiled with, its layers' configs, and arrays in `fit` and
            `test_data`; not first weights, callbacks, what a callable `fit`
            makes, or what data sets hold.
        seed: Non-negative integer. Sets what a callable `model` draws, the
            order of the data, and noise.
        verbose: Whether to print a line for each round.

    Returns:
        A `TicketSearch`.

    Raises:
        ValueError: If the model is sparse already or all frozen, an argument
            is not one of the above, weights have diverged, or the checkpoint
            is another search's or has more rounds. The model's weights are
            then as they were; its optimizer may be a fresh one.

    Reference:
        [Frankle and Carbin, 2019](https://arxiv.org/abs/1803.03635);
        to a later step: [Frankle et al., 2020](
        https://arxiv.org/abs/1912.05671); learning rate:
        [Renda et al., 2020](https://arxiv.org/abs/2003.02389).

    Example:

    >>> import keras, keras_sparse as ks, numpy as np
    >>> model = keras.Sequential(
    ...     [keras.Input((4,)), keras.layers.Dense(10), keras.layers.Dense(1)]
    ... )
    >>> model.compile("adam", "mse")
    >>> data = {"x": np.ones((8, 4)), "y": np.ones((8, 1)), "verbose": 0}
    >>> search = ks.lottery.find_ticket(model, data, rounds=2, verbose=False)
    >>> [round(each.density, 3) for each in search.rounds]
    [1.0, 0.82, 0.68]
    """
    rounds = check_rounds(rounds)
    rewind_step = check_count(rewind_step, "rewind_step")
    seed = check_count(seed, "seed")
    check_choice(rewind, "rewind", ("weights", "learning_rate"))
    check_choice(scope, "scope", ("layer", "global"))
    if scope == "global":
        _check_one_rate(rates or output_rate)
    controls = check_controls(controls, CONTROLS)
    control_rounds = check_control_rounds(control_rounds)
    check_data_name(data_name)
    if initializer is not None:
        get_initializer(initializer)
    check_fit(fit)
    check_callbacks(callbacks)
    if not isinstance(model, keras.Model):
        keras.utils.set_random_seed(seed)
        model = model()
    rate = check_sparsity(rate, "a rate")
    compile_model = compiler(model, compile)
    trainer = Trainer(compile_model, fit, callbacks, test_data, seed)
    layers = describe_layers(model)
    with masked_model(model, where, exclude, compile_model) as masked:
        if scope == "global":
            shares = dict.fromkeys(masked.masked, rate)
            next_masks = by_global_rate(rate)
        else:
            outputs = masked.outputs()
            special = dict.fromkeys(outputs, rate / 2)
            if output_rate is not None:
                outputs = outputs or list(masked.masked)[-1:]
                special = dict.fromkeys(outputs, output_rate)
            named = by_path(masked.masked, rate, rates, "rates", special)
            shares = {i: check_sparsity(r, "a rate") for i, r in named.items()}
            next_masks = by_rate(shares)
        plan = {
            **trainer.describe(model),
            "layers": layers,
            "shapes": [list(v.shape) for v in masked.variables],
            "rates": [[index, share] for index, share in shares.items()],
            "scope": scope,
            "rewind": rewind,
            "rewind_step": rewind_step,
            "initializer": _described(initializer),
            "controls": controls,
            "control_rounds": control_rounds,
            "data": data_name,
        }
        if initializer is not None:
            _initialize(masked, initializer, seed)
        state = run_rounds(
            masked,
            trainer,
            next_masks,
            rounds=rounds,
            rewind=rewind == "weights",
            rewind_step=rewind_step,
            controls=train_controls(
                masked, trainer, controls, control_rounds, initializer
            ),
            plan=plan,
            checkpoint=checkpoint,
            verbose=verbose,
        )
    provenance = {
        **plan,
        "keras": keras.__version__,
        "backend": keras.backend.backend(),
    }
    return TicketSearch(
        model,
        tuple(state.rounds),
        state,
        tuple(variable.path for variable in masked.variables),
        provenance,
    )


def _initialize(
    masked: MaskedModel, initializer: Initializer, seed: int
) -> None:
    """Draws the chosen weights anew."""
    known = find_weights(masked.model, masked.variables)
    chosen = {i: each for i, each in known.items() if i in masked.masked}
    for index, value in draw_weights(chosen, initializer, seed).items():
        masked.variables[index].assign(value)


def _described(initializer: Initializer | None) -> Any:
    if initializer is None or isinstance(initializer, str):
        return initializer
    config = without_names(initializer.get_config())
    return [type(initializer).__name__, str(config)]


def _check_one_rate(others: Any) -> None:
    if others:
        raise ValueError(
            "Expected one rate where `scope` is 'global'. Received: "
            f"{others!r} too. Leave layers out with `exclude`, or pass "
            "scope='layer'."
        )
