"""One budget for all learned thresholds of a model."""

from __future__ import annotations

import keras
import numpy as np
from numpy.typing import NDArray

from keras_sparse import _surgery, schedules
from keras_sparse._mechanism.sparse_layer import Attached, attached
from keras_sparse._traversal import Filter, choose, walk
from keras_sparse.callbacks.prune import Prune
from keras_sparse.callbacks.threshold import part_ties
from keras_sparse.macs import uses
from keras_sparse.parametrizations.learned_threshold import LearnedThreshold
from keras_sparse.parametrizations.shared_budget import SharedBudget
from keras_sparse.selection import kth_smallest

_BELOW = 1 - 1e-6


class Budget(Prune):
    """Joins all `LearnedThreshold` weights in one budget, and holds it.

    The thresholds' ratios are learned; their common level is set every
    `every` steps so that the model has the sparsity that is due, whatever
    the law of the weights predicts. At the end of each epoch, before each
    validation and at the end of training the number of zeros is exactly the
    one asked for (with `of="macs"`, to within one weight), for callbacks that
    come after this one.

    Args:
        begin: Step at which the sparsity starts to grow from 0. Defaults to
            0.
        end: Step at which it reaches the budget, by a cubic law. Default:
            `begin`, at once. Half of all steps is a good choice.
        every: Steps between settings of the level. Defaults to 10.
        where: Which layers to take, as in `sparsify`.
        exclude: Which to leave with a budget of their own.

    Raises:
        ValueError: When it is given a model in which no weight has a
            `LearnedThreshold`, or their budgets differ.

    Example:

    >>> import keras, keras_sparse as ks, numpy as np
    >>> model = keras.Sequential([keras.Input((50,)), keras.layers.Dense(40)])
    >>> learned = ks.LearnedThreshold(budget=0.9)
    >>> model = ks.sparsify(model, learned, verbose=False)
    >>> model.compile("adam", "mse")
    >>> history = model.fit(
    ...     np.ones((8, 50)), np.ones((8, 40)), verbose=0,
    ...     callbacks=[ks.callbacks.Budget(), ks.callbacks.SparsityLogger()])
    >>> history.history["sparsity"]
    [0.9]
    """

    def __init__(
        self,
        begin: int = 0,
        end: int | None = None,
        every: int = 10,
        *,
        where: Filter | None = None,
        exclude: Filter | None = None,
    ) -> None:
        end = begin if end is None else end
        self._ramp = {"begin": begin, "end": end}
        schedule = schedules.Polynomial(final=0.0, **self._ramp)
        super().__init__(schedule, every, where=where, exclude=exclude)
        self._members: list[tuple[Attached, LearnedThreshold]] = []
        self._uses: list[int] = []
        self._zeros: list[int] = []

    def set_model(self, model: keras.Model) -> None:
        super().set_model(model)
        found = _learned_weights(model, self.where, self.exclude)
        if not found:
            raise ValueError(
                "Expected a model with weights under `LearnedThreshold`. "
                "Received one with none for Budget to join. Call "
                "`keras_sparse.sparsify(model, "
                "keras_sparse.LearnedThreshold(...))` first."
            )
        asked = {(each.budget, each.of) for _, _, each in found}
        if len(asked) > 1:
            raise ValueError(
                "Expected one budget for all learned thresholds. Received: "
                f"{sorted(asked)}. Leave the others out with `exclude`."
            )
        [(budget, of)] = asked
        self.schedule = schedules.Polynomial(final=budget, **self._ramp)
        self._uses = [_uses(layer, each, of) for layer, each, _ in found]
        self._members = [(each, learned) for _, each, learned in found]
        self._check_reach(budget)
        peers = [learned for _, learned in self._members]
        costs = [
            float(count * learned.size)
            for count, learned in zip(self._uses, peers, strict=True)
        ]
        if peers[0].shared.members != peers or peers[0].shared.costs != costs:
            _surgery.forget_traces(model)
            shared = SharedBudget(peers, costs)
            for learned in peers:
                learned.shared = shared

    def _check_reach(self, budget: float) -> None:
        sizes = [
            (count * learned.size, learned.stays_dense)
            for count, (_, learned) in zip(
                self._uses, self._members, strict=True
            )
        ]
        total = sum(size for size, _ in sizes)
        most = sum(size for size, dense in sizes if not dense) / total
        if budget > most:
            raise ValueError(
                f"Expected a budget that can be reached: {most:.1%} of what is "
                f"counted lies in weights that are cut. Received {budget}. "
                "Lower the budget, or let `LearnedThreshold(smallest=...)` cut "
                "smaller weights too."
            )

    def on_train_begin(self, logs: dict | None = None) -> None:
        self._seen = None
        self._finish()

    def on_test_begin(self, logs: dict | None = None) -> None:
        if self._seen is not None:  # not in an `evaluate` of its own
            self._finish()

    def _finish(self) -> int:
        step = self._steps.taken(self.model)
        sparsity = self._sparsity(step) if step >= self.schedule.begin else 0.0
        self._set_masks(sparsity or 0.0)
        self._hold()
        return step

    def _set_masks(self, sparsity: float) -> None:
        _surgery.sync_state(self.model)
        ratios = [_ratios(each, learned) for each, learned in self._members]
        level, self._zeros = _level(ratios, self._uses, sparsity)
        for (_, learned), ratio in zip(self._members, ratios, strict=True):
            if not learned.stays_dense:
                # No weight goes whole.
                learned.level.assign(min(level, _BELOW * ratio.max()))

    def _hold(self) -> None:
        """Sets the thresholds of evaluation to an exact count of zeros."""
        for (each, learned), count in zip(
            self._members, self._zeros, strict=True
        ):
            if learned.stays_dense:
                continue
            size = np.abs(_surgery.to_numpy(_surgery.read(each.raw)))
            threshold = kth_smallest([size], count) if count else 0.0
            learned.hold(threshold, each.raw)
            part_ties(each.raw, learned.held, count)


def _learned_weights(
    model: keras.Model, where: Filter | None, exclude: Filter | None
) -> list[tuple[keras.layers.Layer, Attached, LearnedThreshold]]:
    layers = [layer for layer in walk(model) if attached(layer)]
    return [
        (layer, each, parametrization)
        for layer in choose(layers, where, exclude)
        for each in attached(layer).values()
        if isinstance(
            parametrization := each.parametrization(layer), LearnedThreshold
        )
    ]


def _uses(layer: keras.layers.Layer, each: Attached, of: str) -> int:
    if of == "weights":
        return 1
    count = uses(layer, each.slot)
    if count is None:
        raise ValueError(
            f"Expected a known number of MACs for {layer.path!r}. Received a "
            "layer with a free dimension. Leave it out with `exclude`, or "
            "pass of='weights' to LearnedThreshold."
        )
    return count


def _ratios(each: Attached, learned: LearnedThreshold) -> NDArray:
    """|w| over the threshold at level 1; infinite for what stays dense."""
    size = np.abs(_surgery.to_numpy(_surgery.read(each.raw)))
    if learned.stays_dense:
        return np.full(size.shape, np.inf, np.float32)
    deviation = float(np.sqrt(np.mean(np.square(size, dtype=np.float64))))
    unit = max(learned.ratio() * deviation, np.finfo(np.float32).tiny)
    return size / np.float32(unit)


def _level(
    ratios: list[NDArray], uses: list[int], sparsity: float
) -> tuple[float, list[int]]:
    """The level that saves the share asked for, and the zeros it makes."""
    total = sum(
        count * each.size for count, each in zip(uses, ratios, strict=True)
    )
    wanted = round(sparsity * total)
    cut = [i for i, each in enumerate(ratios) if np.isfinite(each.flat[0])]
    same = len(set(uses)) == 1
    most = sum(ratios[i].size - 1 for i in cut)
    zeros = min(round(wanted / uses[0]), most) if same else most
    if not (wanted and zeros):
        return 0.0, [0] * len(ratios)
    ratios = list(ratios)
    while True:
        if same:
            level = kth_smallest([ratios[i] for i in cut], zeros)
        else:
            level = _weighted_level(ratios, uses, wanted)
        whole = [i for i in cut if ratios[i].max() <= level]
        if not whole:
            break
        for i in whole:
            ratios[i] = _sparing_the_largest(ratios[i])
    counts = [int(np.count_nonzero(each <= level)) for each in ratios]
    if same:
        # Quotients may tie where the weights do not.
        for i, each in enumerate(ratios):
            tied = int(np.count_nonzero(each == level))
            counts[i] -= min(tied, sum(counts) - zeros)
    return level, counts


def _sparing_the_largest(ratios: NDArray) -> NDArray:
    spared = ratios.copy()
    spared.flat[spared.argmax()] = np.inf
    return spared


def _weighted_level(
    ratios: list[NDArray], uses: list[int], wanted: int
) -> float:
    """The least level below which the uses of all ratios sum to `wanted`."""
    pooled = np.concatenate([each.ravel() for each in ratios])
    weights = np.repeat(uses, [each.size for each in ratios])
    order = np.argsort(pooled)
    place = np.searchsorted(np.cumsum(weights[order]), wanted)
    finite = np.count_nonzero(np.isfinite(pooled))
    return float(pooled[order[min(place, finite - 1)]])
