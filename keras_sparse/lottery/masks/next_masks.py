"""Which weights a round takes away."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from keras_sparse import allocations
from keras_sparse.lottery.masks.masked_model import Masked
from keras_sparse.selection import check_no_nan, smallest_mask, zero_count

Masks = dict[int, NDArray]
NextMasks = Callable[[Sequence[NDArray], Mapping[int, NDArray]], Masks]


def masks_of_ones(masked: Mapping[int, Masked]) -> Masks:
    """Nothing taken away."""
    return {
        index: np.ones(tuple(each.mask.mask.shape), bool)
        for index, each in masked.items()
    }


def by_rate(rates: Mapping[int, float]) -> NextMasks:
    """Takes, of each weight, a share of the entries that are left.

    Exactly `round(rate * left)` of them, those of the smallest magnitude; one
    is always left.

    Args:
        rates: Share for each weight's position.
    """

    def next_masks(
        weights: Sequence[NDArray], masks: Mapping[int, NDArray]
    ) -> Masks:
        found = {}
        for index, mask in masks.items():
            score = _score(weights[index], mask)
            left = int(mask.sum())
            zeros = mask.size - left + zero_count(left, rates[index])
            found[index] = smallest_mask(score, zeros)
        return found

    return next_masks


def by_global_rate(rate: float) -> NextMasks:
    """Takes a share of all entries that are left, by one threshold.

    Exactly `round(rate * left)` entries; no weight loses its last one.

    Args:
        rate: The share.
    """

    def next_masks(
        weights: Sequence[NDArray], masks: Mapping[int, NDArray]
    ) -> Masks:
        scores = {
            str(index): _score(weights[index], mask)
            for index, mask in masks.items()
        }
        total = sum(mask.size for mask in masks.values())
        left = sum(int(mask.sum()) for mask in masks.values())
        zeros = total - left + zero_count(left, rate)
        shares = allocations.global_(scores, zeros / total, scores)
        return {
            index: smallest_mask(score, round(shares[str(index)] * score.size))
            for index, score in zip(masks, scores.values(), strict=True)
        }

    return next_masks


def by_deviation(qs: Mapping[int, float]) -> NextMasks:
    """Takes the entries below q times the deviation of those that are left.

    Args:
        qs: Number for each weight's position.

    Reference:
        [Han et al., 2015](https://arxiv.org/abs/1506.02626), section 4.
    """

    def next_masks(
        weights: Sequence[NDArray], masks: Mapping[int, NDArray]
    ) -> Masks:
        found = {}
        for index, mask in masks.items():
            score = _score(weights[index], mask)
            left = weights[index][mask].astype(np.float64)
            below = int(np.count_nonzero(np.abs(left) < qs[index] * left.std()))
            zeros = mask.size - left.size + min(below, left.size - 1)
            found[index] = smallest_mask(score, zeros)
        return found

    return next_masks


def by_path(
    masked: Mapping[int, Masked],
    default: float,
    named: Mapping[str, float] | None,
    argument: str,
    special: Mapping[int, float] | None = None,
) -> dict[int, float]:
    """A number for each weight from regular expressions on its path.

    Args:
        masked: The weights.
        default: For those that no expression matches.
        named: From regular expression to number; the first that matches
            counts.
        argument: What an error calls it.
        special: Defaults of their own for some weights.

    Raises:
        ValueError: If an expression matches no path.
    """
    numbers = {**dict.fromkeys(masked, default), **(special or {})}
    taken: set[int] = set()
    for pattern, number in (named or {}).items():
        matched = [
            index
            for index, each in masked.items()
            if re.search(pattern, each.path)
        ]
        if not matched:
            paths = ", ".join(each.path for each in masked.values())
            raise ValueError(
                f"Expected every key of `{argument}` to match the path of a "
                f"weight. Received {pattern!r}, which matches none of {paths}."
            )
        for index in matched:
            if index not in taken:
                numbers[index] = number
                taken.add(index)
    return numbers


def _score(weight: NDArray, mask: NDArray) -> NDArray:
    """Magnitude; what is gone already goes first again."""
    check_no_nan(weight, "weights")
    return np.where(mask, np.abs(weight), -1.0).astype(weight.dtype)
