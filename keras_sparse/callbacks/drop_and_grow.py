"""Training with a fixed number of weights that move about."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keras_sparse import _surgery, allocations, schedules
from keras_sparse._selection.gradients import weight_gradients
from keras_sparse._traversal import Filter
from keras_sparse.callbacks.prune import Prune
from keras_sparse.pruning import Allocation, MaskedWeight, forget_masked
from keras_sparse.selection import check_no_nan, smallest_mask, zero_count

METHODS = ("rigl", "set")


class DropAndGrow(Prune):
    """Drops the smallest weights of a `Mask` and lets as many others grow.

    Masks that are full at the start become random ones of the sparsity asked
    for; others are taken as they are. Then, every `every` steps up to `end`,
    each layer drops a share of its weights, those of least magnitude, and
    lets as many grow: where the dense gradient is largest ("rigl") or
    anywhere ("set"). New weights start at zero, with an optimizer that
    remembers nothing of them. The number of weights in each layer never
    changes, so training costs what a sparse model costs, on hardware that
    can use it.

    Args:
        method: `"rigl"` (default) or `"set"`.
        sparsity: Overall fraction of zeros, in [0, 1).
        end: Step of the last update. The paper's is at 3/4 of all steps.
        every: Steps between updates. Defaults to 100.
        fraction: Share that is dropped at the first updates; it falls to 0 at
            `end` by a cosine. Defaults to .3.
        allocation: Which layer gets how many zeros at the start. Defaults to
            `allocations.erdos_renyi`.
        where: Which layers to take, as in `sparsify`.
        exclude: Which to leave out.
        data: For "rigl": a batch (x, y), or a callable that returns one for
            each update.
        seed: Of the first masks, and of "set". Defaults to 0.

    Raises:
        ValueError: If an argument is out of range, or "rigl" lacks data; at
            the begin of training, if no weight has a `Mask`.

    Reference:
        Evci et al., "Rigging the lottery", ICML 2020, algorithm 1; "set":
        Mocanu et al., Nature Communications 9, 2018.

    Example:

    >>> import keras, keras_sparse as ks, numpy as np
    >>> model = keras.Sequential([keras.Input((10,)), keras.layers.Dense(10)])
    >>> model = ks.sparsify(model, ks.Mask(), verbose=False)
    >>> model.compile("sgd", "mse")
    >>> x, y = np.random.rand(2, 32, 10)
    >>> move = ks.callbacks.DropAndGrow(
    ...     "rigl", sparsity=0.8, end=6, every=2, data=(x, y))
    >>> _ = model.fit(x, y, batch_size=4, verbose=0, callbacks=[move])
    >>> int((ks.strip(model).layers[0].get_weights()[0] != 0).sum())
    20
    """

    def __init__(
        self,
        method: str = "rigl",
        *,
        sparsity: float,
        end: int,
        every: int = 100,
        fraction: float = 0.3,
        allocation: Allocation = allocations.erdos_renyi,
        where: Filter | None = None,
        exclude: Filter | None = None,
        data: tuple[Any, ...] | Callable[[], tuple[Any, ...]] | None = None,
        seed: int = 0,
    ) -> None:
        if method not in METHODS:
            raise ValueError(
                f"Expected a method of {METHODS}. Received: {method!r}."
            )
        if method == "rigl" and data is None:
            raise ValueError(
                "Expected data for 'rigl', which grows weights by their "
                "gradient. Received none. Pass data=(x, y), or take 'set'."
            )
        if not 0 < fraction <= 1 or end < 1:
            raise ValueError(
                "Expected a fraction in (0, 1] and an end of at least 1. "
                f"Received: fraction={fraction!r}, end={end!r}."
            )
        super().__init__(
            schedules.Constant(sparsity, begin=every),
            every,
            allocation=allocation,
            where=where,
            exclude=exclude,
            data=data,
        )
        self.method, self.end, self.fraction = method, end, fraction
        self.seed = seed

    def _update(self, step: int) -> None:
        """Drops and grows if it is due; `Prune.update` says who calls it.

        Args:
            step: The optimizer's iteration that comes next.
        """
        seen = step - 1 if self._seen is None else self._seen
        self._seen = max(seen, step)
        if step < self.end and self._due(step, seen):
            share = 0.5 * (1 + math.cos(math.pi * step / self.end))
            self._move(self.fraction * share, step)

    def _catch_up(self) -> None:
        """Draws the first masks where there are none."""
        _surgery.sync_state(self.model)
        masks = {
            path: _surgery.to_numpy(weight.mask.mask.value).astype(bool)
            for path, weight in self._weights.items()
        }
        full = [path for path, mask in masks.items() if mask.all()]
        if not full:
            return
        shares = allocations.get(self.allocation)(
            masks, self.schedule.final, scores=masks
        )
        rng = np.random.default_rng(self.seed)
        for path in full:
            weight = self._weights[path]
            drawn = rng.random(masks[path].shape)
            zeros = zero_count(drawn.size, shares[path])
            self._set(weight, masks[path], smallest_mask(drawn, zeros))

    def _move(self, share: float, step: int) -> None:
        _surgery.sync_state(self.model)
        weights = list(self._weights.values())
        if self.method == "rigl":
            batch: Any = self.data() if callable(self.data) else self.data
            growth = weight_gradients(self.model, weights, batch)
        else:
            rng = np.random.default_rng([self.seed, step])
            growth = [rng.random(w.mask.mask.shape) for w in weights]
        for weight, each in zip(weights, growth, strict=True):
            old = _surgery.to_numpy(weight.mask.mask.value).astype(bool)
            new = moved(old, np.abs(weight.value()), np.abs(each), share)
            self._set(weight, old, new)

    def _set(self, weight: MaskedWeight, old: NDArray, new: NDArray) -> None:
        """Sets a mask; zeros what it drops and what it lets grow."""
        weight.mask.set_mask(old & new)
        forget_masked(weight, getattr(self.model, "optimizer", None))
        weight.mask.set_mask(new)


def moved(
    mask: NDArray, magnitude: NDArray, growth: NDArray, share: float
) -> NDArray:
    """The mask after one update: as many entries, some of them elsewhere.

    Args:
        mask: Booleans, true where there is a weight.
        magnitude: Absolute values of the weights, in the same shape.
        growth: How much a place deserves a weight, 0 or more.
        share: Fraction of the weights to drop. Dropped places compete again.

    Returns:
        A mask with as many true entries.
    """
    check_no_nan(growth, "growth")
    count = min(int(share * mask.sum()), int((~mask).sum()))
    # What must not be chosen stands at infinity, or below zero.
    stay = smallest_mask(np.where(mask, magnitude, np.inf), count) & mask
    candidates = np.where(stay, -1.0, growth)
    return stay | smallest_mask(candidates, mask.size - count)
