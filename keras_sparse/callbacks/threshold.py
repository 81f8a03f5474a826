"""Keeps thresholds at the quantile that a schedule asks for."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from keras_sparse import _surgery, allocations
from keras_sparse._mechanism.sparse_layer import Attached
from keras_sparse._traversal import Filter
from keras_sparse.callbacks.prune import Prune
from keras_sparse.parametrizations.feather import Feather
from keras_sparse.pruning import Allocation, parametrized_weights
from keras_sparse.selection import kth_smallest, zero_count


class Threshold(Prune):
    """Sets the thresholds of `Feather` weights as a schedule asks.

    A threshold is the exact quantile of the weights' magnitudes, selected
    anew every `every` steps, so that its cost is bounded: a selection reads
    each weight a few times, and a step pays for `1 / every` of one. Between
    two selections weights may cross it. At the end of each epoch, before each
    validation and at the end of training it is selected once more, so that
    what is measured or saved then, by callbacks that come after this one, has
    exactly the sparsity asked for.

    Args:
        schedule: From the optimizer's step to the overall sparsity, as for
            `Prune`. The paper's is `Polynomial(final, begin=0, end=half)`
            with half of all steps.
        every: Steps between selections. Defaults to 10.
        allocation: `allocations.global_` (default) for one threshold over all
            layers, `uniform`, `erdos_renyi`, or a map from path to sparsity.
        where: Which layers to take, as in `sparsify`.
        exclude: Which to leave dense.

    Raises:
        ValueError: At the begin of training, if no weight has a `Feather`.

    Reference:
        Glentis Georgoulakis et al., "Feather: an elegant solution to
        effective DNN sparsification", BMVC 2023, section 3.

    Example:

    >>> import keras, keras_sparse as ks, numpy as np
    >>> model = keras.Sequential([keras.Input((10,)), keras.layers.Dense(10)])
    >>> model = ks.sparsify(model, ks.Feather(), verbose=False)
    >>> model.compile("sgd", "mse")
    >>> schedule = ks.schedules.Polynomial(final=0.8, begin=0, end=2)
    >>> _ = model.fit(np.ones((8, 10)), np.ones((8, 10)), batch_size=2,
    ...               verbose=0, callbacks=[ks.callbacks.Threshold(schedule)])
    >>> int((ks.strip(model).layers[0].get_weights()[0] == 0).sum())
    80
    """

    def __init__(
        self,
        schedule: Any,
        every: int = 10,
        *,
        allocation: Allocation = allocations.global_,
        where: Filter | None = None,
        exclude: Filter | None = None,
    ) -> None:
        super().__init__(
            schedule,
            every,
            allocation=allocation,
            where=where,
            exclude=exclude,
        )
        self._feathers: dict[str, tuple[Attached, Feather]] = {}
        self._zeros: dict[str, int] = {}

    def on_train_begin(self, logs: dict | None = None) -> None:
        self._feathers = parametrized_weights(
            self.model, Feather, self.where, self.exclude
        )
        if not self._feathers:
            raise ValueError(
                "Expected a model with weights under `Feather`. Received one "
                "with none for Threshold to set. Call "
                "`keras_sparse.sparsify(model, keras_sparse.Feather())` first."
            )
        self._seen = None
        self._finish()

    def on_test_begin(self, logs: dict | None = None) -> None:
        if self._feathers:
            self._finish()

    def on_train_end(self, logs: dict | None = None) -> None:
        super().on_train_end(logs)
        self._feathers = {}

    def _finish(self) -> int:
        step = self._steps.taken(self.model)
        sparsity = self._sparsity(step)
        if sparsity is not None and step >= self.schedule.begin:
            self._asked = sparsity
            self._set_exactly(sparsity)
            self._part_ties()
        return step

    def _set_masks(self, sparsity: float) -> None:
        sizes = self._sizes()
        total = sum(size.size for size in sizes.values())
        zeros = zero_count(total, sparsity)
        if self.allocation is not allocations.global_ or not zeros:
            self._set_exactly(sparsity)
            return
        # One selection instead of two; layers are counted at an epoch's end.
        threshold = kth_smallest(sizes.values(), zeros)
        for _, feather in self._feathers.values():
            feather.set_threshold(threshold, final=self._final(sparsity))

    def _set_exactly(self, sparsity: float) -> None:
        """Sets thresholds to the count of zeros that each layer is due."""
        sizes = self._sizes()
        shares = allocations.get(self.allocation)(sizes, sparsity, scores=sizes)
        for path, (_, feather) in self._feathers.items():
            size = sizes[path]
            zeros = zero_count(size.size, shares[path])
            feather.set_threshold(
                kth_smallest([size], zeros) if zeros else 0.0,
                final=self._final(sparsity),
            )
            self._zeros[path] = zeros

    def _sizes(self) -> dict[str, NDArray]:
        _surgery.sync_state(self.model)
        return {
            path: np.abs(_surgery.to_numpy(_surgery.read(each.raw)))
            for path, (each, _) in self._feathers.items()
        }

    def _final(self, sparsity: float) -> float:
        final = self.schedule.final
        return sparsity if final is None else final

    def _part_ties(self) -> None:
        for path, (each, feather) in self._feathers.items():
            part_ties(each.raw, feather.threshold, self._zeros[path])


def part_ties(
    raw: keras.Variable, threshold: keras.Variable, zeros: int
) -> None:
    """Lifts weights that lie at a threshold above it where too many do."""
    w = _surgery.to_numpy(raw.value)  # in its own floats
    height = float(keras.ops.convert_to_numpy(threshold))
    size = np.abs(w.astype(np.float32))
    surplus = np.count_nonzero(size <= height) - zeros
    if surplus > 0 and height > 0:
        raw.assign(_lifted(w, size == height, surplus))


def _lifted(w: NDArray, tied: NDArray, count: int) -> NDArray:
    """The last `count` tied weights, one float further from zero."""
    w = w.copy()
    places = np.flatnonzero(tied)[-count:]
    away = np.sign(w.flat[places]) * w.dtype.type(np.inf)
    w.flat[places] = np.nextafter(w.flat[places], away)
    return w
