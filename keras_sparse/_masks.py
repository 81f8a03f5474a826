"""Masks from score x pattern x allocation."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from keras_sparse import allocations, patterns, scores
from keras_sparse.adapters import Slot
from keras_sparse.selection import check_no_nan

Score = Callable[..., NDArray]
Pattern = Callable[[NDArray, float], NDArray]
Allocation = Callable[..., Mapping[str, float]] | Mapping[str, float]


def compute_masks(
    weights: Mapping[str, NDArray],
    slots: Mapping[str, Slot],
    sparsity: float,
    *,
    score: Score = scores.magnitude,
    pattern: Pattern = patterns.unstructured,
    allocation: Allocation = allocations.uniform,
    gradients: Mapping[str, NDArray] | None = None,
) -> dict[str, NDArray]:
    """Masks for all weights at an overall sparsity.

    Args:
        weights: Map from path to weight.
        slots: Map from path to the slot, which says what the axes mean.
        sparsity: Overall fraction of zeros in [0, 1).
        score: From (weight, gradient) to an array of its shape; the smallest
            go first.
        pattern: From (score, sparsity) to a boolean mask.
        allocation: From (weights, sparsity) to the sparsity of each, or a map
            from path to sparsity.
        gradients: Map from path to gradient, for scores that need it.

    Returns:
        Map from path to a boolean mask, true where the weight stays.
    """
    scored = _Scores(score, weights, gradients)
    known: Mapping[str, NDArray] | None = scored
    if score is scores.magnitude and allocation is allocations.global_:
        known = None  # It takes magnitudes itself, a cacheful at a time.
    shares = allocations.get(allocation)(weights, sparsity, scores=known)
    masks = {}
    for path, slot in slots.items():
        each = scored.pop(path)
        if shares[path] == 0.0:
            check_no_nan(each, f"the score of {path!r}")
            masks[path] = np.ones(each.shape, bool)
        else:
            masks[path] = _in_channel_order(each, slot, pattern, shares[path])
    return masks


class _Scores(Mapping[str, NDArray]):
    """The scores of weights by path, each taken once, when it is asked for."""

    def __init__(
        self,
        score: Score,
        weights: Mapping[str, NDArray],
        gradients: Mapping[str, NDArray] | None,
    ) -> None:
        self._score, self._weights = score, weights
        self._gradients = gradients
        self._taken: dict[str, NDArray] = {}

    def __getitem__(self, path: str) -> NDArray:
        if path not in self._taken:
            gradients = self._gradients
            gradient = None if gradients is None else gradients[path]
            self._taken[path] = self._score(self._weights[path], gradient)
        return self._taken[path]

    def pop(self, path: str) -> NDArray:
        """The score of a weight that will not be asked for again."""
        score = self[path]
        del self._taken[path]
        return score

    def __iter__(self) -> Iterator[str]:
        return iter(self._weights)

    def __len__(self) -> int:
        return len(self._weights)


def _in_channel_order(
    score: NDArray, slot: Slot, pattern: Pattern, sparsity: float
) -> NDArray:
    """Applies a pattern with inputs before outputs and outputs last."""
    rank = score.ndim
    inputs = [axis % rank for axis in slot.inputs if -axis <= rank]
    outputs = [axis % rank for axis in slot.outputs if -axis <= rank]
    window = [a for a in range(rank) if a not in inputs + outputs]
    order = window + inputs + outputs
    arranged = score.transpose(order)
    shape = [score.shape[axis] for axis in window]
    for axes in (inputs, outputs):
        if axes:
            shape.append(math.prod(score.shape[axis] for axis in axes))
    mask = pattern(arranged.reshape(shape), sparsity)
    return mask.reshape(arranged.shape).transpose(np.argsort(order))
