"""Masks from score x pattern x allocation."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keras_sparse import allocations, patterns, scores
from keras_sparse.adapters import Slot
from keras_sparse.selection import check_no_nan

Score = Callable[..., NDArray]
Pattern = Callable[[NDArray, float], NDArray]
Allocation = Callable[..., Mapping[str, float]] | Mapping[str, float]
_EXAMPLES = {
    "score": "keras_sparse.scores.magnitude",
    "pattern": "keras_sparse.patterns.n_m(2, 4)",
}


def check_functions(**functions: Any) -> None:
    """Raises unless a score and a pattern, given by name, can be called."""
    for name, function in functions.items():
        if isinstance(function, type) or not callable(function):
            raise ValueError(
                f"Expected `{name}` to be a function such as "
                f"`{_EXAMPLES[name]}`. Received: {function!r}. A class must "
                "be called to make a function of it."
            )


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

    Raises:
        ValueError: If a function is none, or what it returns does not fit.
    """
    check_functions(score=score, pattern=pattern)
    _warn_beyond(pattern, sparsity)
    scored = _Scores(score, weights, gradients)
    known: Mapping[str, NDArray] | None = scored
    if score is scores.magnitude and allocation is allocations.global_:
        known = None  # It takes magnitudes itself, a cacheful at a time.
    shares = allocations.get(allocation)(weights, sparsity, scores=known)
    left_out = [path for path in slots if path not in shares]
    if left_out:
        raise ValueError(
            f"Expected a sparsity for each weight from {allocation!r}. "
            f"Received none for {left_out}. Give 0.0 to those that stay dense."
        )
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
            weight = self._weights[path]
            taken = np.asarray(self._score(weight, gradient))
            _check_shape(taken, weight.shape, f"the score {self._score!r}")
            self._taken[path] = taken
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
    mask = np.asarray(pattern(arranged.reshape(shape), sparsity))
    _check_shape(mask, tuple(shape), f"the pattern {pattern!r}")
    return mask.reshape(arranged.shape).transpose(np.argsort(order))


def _check_shape(array: NDArray, shape: tuple[int, ...], source: str) -> None:
    if array.shape != shape:
        raise ValueError(
            f"Expected an array of shape {shape} from {source}, as it was "
            f"given. Received shape {array.shape}."
        )


def _warn_beyond(pattern: Pattern, sparsity: float) -> None:
    highest = getattr(pattern, "highest", 1.0)
    if sparsity > highest + 1e-3:
        # The same words at each step of a ramp, so that they are shown once.
        warnings.warn(
            f"{pattern!r} makes no more than {highest:.4g} of the weights "
            "zero, and more is asked for: the rest stays.",
            stacklevel=2,
        )
