"""k-means of numbers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_ROUNDS = 300


def shared_values(
    entries: NDArray, clusters: int, *, pinned: bool = False
) -> NDArray[np.float64]:
    """The values that are nearest to all entries: k-means in one dimension.

    Lloyd's iterations on sorted entries, from values at even distances and
    from quantiles; the better result counts.

    Args:
        entries: Array of numbers, any shape, not empty.
        clusters: How many values, 1 or more.
        pinned: Whether the least and the greatest entry are values that stay.

    Returns:
        At most `clusters` values, sorted.

    Example:

    >>> shared_values(np.array([1.0, 2.0, 10.0, 11.0, 12.0]), 2).tolist()
    [1.5, 11.0]
    """
    ordered = np.sort(np.asarray(entries, np.float64), axis=None)
    unique = np.unique(ordered)
    if unique.size <= clusters:
        return unique
    sums = np.concatenate([[0.0], np.cumsum(ordered)])
    share = np.linspace(0, 1, clusters)
    starts = (
        ordered[0] + share * (ordered[-1] - ordered[0]),
        ordered[((ordered.size - 1) * share).astype(int)],
    )
    found = [_lloyd(ordered, sums, start, pinned) for start in starts]
    return min(found, key=lambda values: _squared_error(ordered, values))


def nearest(entries: NDArray, values: NDArray) -> NDArray[np.intp]:
    """The place of the nearest of sorted values for each entry.

    Args:
        entries: Array of any shape.
        values: Sorted, one or more.
    """
    return np.searchsorted((values[1:] + values[:-1]) / 2, entries)


def _lloyd(
    ordered: NDArray, sums: NDArray, values: NDArray, pinned: bool
) -> NDArray:
    values = np.unique(values)
    for _ in range(_ROUNDS):
        edges = np.searchsorted(ordered, (values[1:] + values[:-1]) / 2)
        edges = np.concatenate([[0], edges, [ordered.size]])
        counts = np.diff(edges)
        means = np.diff(sums[edges]) / np.maximum(counts, 1)
        new = np.where(counts > 0, means, values)
        if pinned:
            new[[0, -1]] = ordered[[0, -1]]
        if np.array_equal(new, values):
            break
        values = new
    return values


def _squared_error(ordered: NDArray, values: NDArray) -> float:
    return float(np.sum((ordered - values[nearest(ordered, values)]) ** 2))
