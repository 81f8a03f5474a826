"""Sparsifies a deep net group by group."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from keras_sparse import _surgery
from keras_sparse._compiling import Compiler, compiler
from keras_sparse._mechanism.plan import Choice
from keras_sparse._per_example import penalized
from keras_sparse._traversal import Filter, choose, layers_with_weights
from keras_sparse.callbacks.anneal import Anneal
from keras_sparse.callbacks.seed_each_epoch import set_generators
from keras_sparse.parametrizations.gaussian import Gaussian
from keras_sparse.recalibration import recalibrate
from keras_sparse.sequential.blocks import find_blocks
from keras_sparse.sequential.freezing import only_trainable
from keras_sparse.sequential.heads import Head, find_head, with_head
from keras_sparse.sequential.progress import Progress
from keras_sparse.sequential.run_identity import (
    describe_choice,
    describe_compile,
    describe_fit,
    describe_groups,
    shapes_of,
)
from keras_sparse.sparsify import parametrized, sparsify, strip

Callbacks = Callable[[], Sequence[keras.callbacks.Callback]]


@dataclasses.dataclass(frozen=True)
class TrainedGroup:
    """What became of one group.

    Args:
        name: Of the group.
        sweep: Counted from 0.
        sparsity: Fraction of zeros in the weights that were parametrized.
        weights: How many those are.
        seconds: Of training.
        logs: The last epoch's.
    """

    name: str
    sweep: int
    sparsity: float
    weights: int
    seconds: float
    logs: dict[str, float]

    def __str__(self) -> str:
        return (
            f"{self.name}: {self.sparsity:.1%} of {self.weights:,} weights "
            f"are zero after {self.seconds:.0f} s"
        )


def sparsify_blocks(
    model: keras.Model,
    parametrization: Choice | None = None,
    *,
    fit: Mapping[str, Any],
    blocks: int | Sequence[Filter] = 1,
    where: Filter | None = None,
    exclude: Filter | None = None,
    compile: Mapping[str, Any] | Compiler | None = None,
    callbacks: Callbacks = list,
    head: Head | str | None = None,
    sweeps: int = 1,
    recalibration: Any = None,
    checkpoint: str | os.PathLike | None = None,
    seed: int = 0,
    verbose: bool = True,
) -> list[TrainedGroup]:
    """Trains groups of residual blocks sparse, front to back, in place.

    The weights of the current group are parametrized and trained; all other
    layers are frozen as in evaluation, so that dropout, noise and augmentation
    in them are off. Then its zeros are written for good and the next group
    follows. Where noise in all layers at once would drown a deep net, noise
    in a few does not.

    Args:
        model: A built, plain model, trained already (but see `head`), and
            compiled (but see `compile`).
        parametrization: As in `keras_sparse.sparsify`. Default:
            `Gaussian()`, that is ARD. With `Mask`, let `callbacks` return a
            `Prune`.
        fit: Arguments of `model.fit` for each group: `x`, `y`, `epochs`, ...
        blocks: Residual blocks in a group, or a rule for each group; see
            `find_blocks`.
        where: Which layers to sparsify, as in `keras_sparse.sparsify`; the
            others of a group are trained dense.
        exclude: Which to leave dense.
        compile: Arguments of `model.compile`, or a callable that compiles
            the model it is given, for each group anew. Default: the model's
            own, with a fresh optimizer.
        callbacks: Makes the callbacks for each group. An `Anneal` is added
            where the weights pay a penalty and there is none.
        head: To train from scratch: from a group's output to the model's
            output, by layers of its own, sparsified along with the group;
            `"auxiliary"` is BatchNorm, ReLU, global average, Dense with the
            activation of the model's output layer, which has to be a Dense,
            Activation or Softmax layer. Only the group and its head run, so
            the groups after it may be untrained.
        sweeps: How often to go through all groups.
        recalibration: Data for `keras_sparse.recalibrate` after each group,
            no iterator, which could be read only once.
        checkpoint: Path of an `.npz` file. Where it exists, finished groups
            are taken from it. It knows a run by the shapes, the
            parametrization, the compile arguments, the head, the seed and
            the numbers in `fit`, not by data or callbacks.
        seed: Set before each group, in the seed generators of its layers as
            well, so that a resumed run repeats.
        verbose: Whether to print a line for each group.

    Returns:
        What became of each group, in order. The model is plain, with exact
        zeros, and `trainable` flags are as before; it is not compiled any
        more: compile it again to evaluate or train on.

    Raises:
        ValueError: If the model cannot be cut, is sparse already, or does not
            fit `head`, `recalibration` or the checkpoint. An exception during
            training leaves the model as the last finished group left it.

    Example:

    >>> import keras, keras_sparse as ks, numpy as np
    >>> x = inputs = keras.Input((4,))
    >>> for i in range(2):
    ...     x = keras.layers.Add(name=f"add{i}")([x, keras.layers.Dense(4)(x)])
    >>> model = keras.Model(inputs, keras.layers.Dense(1, name="out")(x))
    >>> model.compile("adam", "mse")
    >>> groups = ks.sequential.sparsify_blocks(
    ...     model, ks.Mask(), exclude="out", verbose=False,
    ...     fit={"x": np.ones((8, 4)), "y": np.ones(8), "verbose": 0},
    ...     callbacks=lambda: [
    ...         ks.callbacks.Prune(ks.schedules.Constant(0.75))])
    >>> [(group.name, group.sparsity) for group in groups]
    [('add0', 0.75), ('add1', 0.75)]

    Reference:
        Khachiyants, "Sequential Learning of Sparse ResNet Blocks",
        2019 (B.Sc. thesis, HSE).
    """
    _check(model, fit, sweeps, head, blocks, recalibration)
    compile_model = compiler(model, compile)
    chosen = choose(layers_with_weights(model)[0], where, exclude)
    taken = {id(layer) for layer in chosen}
    groups = find_blocks(model, blocks)
    add_head = find_head(model, head)
    if head is None:  # what is dense already need not be trained
        groups = [g for g in groups if any(id(x) in taken for x in g.layers)]
    choice = Gaussian() if parametrization is None else parametrization
    plan = {
        "weights": shapes_of(model),
        "groups": describe_groups(groups, taken),
        "sweeps": sweeps,
        "seed": seed,
        "parametrization": describe_choice(choice),
        "head": head if isinstance(head, str) else describe_choice(head),
        "compile": describe_compile(model, compile, compile_model),
        "fit": describe_fit(fit),
        "recalibration": recalibration is not None,
    }
    progress = Progress(checkpoint, plan)
    turns = [(sweep, group) for sweep in range(sweeps) for group in groups]
    finished = progress.restore(model)
    reports = [
        TrainedGroup(**{**each, "name": group.name})
        for each, (_, group) in zip(finished, turns, strict=False)
    ]
    _surgery.require_compile_of_all(model)
    if reports and recalibration is not None:  # may have been cut off there
        recalibrate(model, recalibration)
    for turn, (sweep, group) in enumerate(turns):
        if turn < len(reports):
            continue
        keras.utils.set_random_seed(seed + turn)
        trained, layers = with_head(model, group, add_head)
        of_head = {id(layer) for layer in layers[len(group.layers) :]}
        report = _train(
            trained,
            layers,
            choice,
            taken | of_head,
            compile_model,
            {**fit, "callbacks": list(callbacks())},
            (seed, turn),
        )
        _surgery.forget_traces(model)
        reports.append(TrainedGroup(group.name, sweep, **report))
        progress.save(model, [dataclasses.asdict(each) for each in reports])
        if recalibration is not None:
            recalibrate(model, recalibration)
        if verbose:
            _surgery.say(f"{turn + 1}/{len(turns)} {reports[-1]}")
    return reports


def _check(
    model: keras.Model,
    fit: Mapping[str, Any],
    sweeps: int,
    head: Head | str | None,
    blocks: int | Sequence[Filter],
    recalibration: Any,
) -> None:
    if any(True for _ in parametrized(model)):
        raise ValueError(
            "Expected a plain model. Received one that is sparsified already. "
            "Call `keras_sparse.strip` first."
        )
    if "callbacks" in fit:
        raise ValueError(
            "Expected the callbacks in `callbacks`, a callable that makes new "
            "ones for each group. Received them in `fit`. Pass "
            "callbacks=lambda: [...]."
        )
    if sweeps < 1:
        raise ValueError(f"Expected at least one sweep. Received: {sweeps}.")
    if head is not None and not isinstance(blocks, int):
        raise ValueError(
            "Expected `blocks` to be a number where every group gets a head. "
            f"Received: {blocks!r}."
        )
    if isinstance(recalibration, Iterator):
        raise ValueError(
            "Expected `recalibration` to be data that can be read after each "
            f"group. Received an iterator: {type(recalibration).__name__}. "
            "Pass an array, a list of batches or a data set."
        )
    if recalibration is not None and not any(
        isinstance(layer, keras.layers.BatchNormalization) and layer.trainable
        for layer in _surgery.all_layers(model)
    ):
        raise ValueError(
            "Expected a model with a BatchNormalization that is not frozen, "
            f"where `recalibration` is given. Received {model.name!r} without "
            "one. Leave `recalibration` out."
        )


def _train(
    model: keras.Model,
    layers: Sequence[keras.layers.Layer],
    choice: Choice,
    taken: set[int],
    compile_model: Compiler,
    fit: dict[str, Any],
    seeds: tuple[int, int],
) -> dict[str, Any]:
    """Trains some layers of a model sparse; the others do not change."""
    before = model.get_weights()
    begin = time.perf_counter()
    _surgery.require_compile_of_all(model)
    try:
        members = {id(x) for x in layers if id(x) in taken}
        if members:
            sparsify(
                model, choice, where=lambda x: id(x) in members, verbose=False
            )
        weights = [each.raw for _, _, each in parametrized(model)]
        set_generators(model, *seeds)
        with only_trainable(model, layers):
            compile_model(model)
            if penalized(model) and not any(
                isinstance(each, Anneal) for each in fit["callbacks"]
            ):
                fit["callbacks"].append(Anneal())
            logs = model.fit(**fit).history
    except BaseException:
        _strip(model)
        model.set_weights(before)
        raise
    _strip(model)
    values = [np.asarray(raw) for raw in weights]
    size = sum(value.size for value in values)
    nonzeros = sum(int(np.count_nonzero(value)) for value in values)
    return {
        "sparsity": 1 - nonzeros / max(size, 1),
        "weights": size,
        "seconds": time.perf_counter() - begin,
        "logs": {name: float(each[-1]) for name, each in logs.items()},
    }


def _strip(model: keras.Model) -> None:
    _surgery.require_compile_of_all(model)
    if any(True for _ in parametrized(model)):
        strip(model)
