"""One threshold over several arrays."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from keras_sparse._arithmetic.histogram import Key
from keras_sparse.selection import check_no_nan, split_at


def smallest_counts(
    arrays: Mapping[str, Any], k: int, key: Key = None
) -> dict[str, int]:
    """How many of the k smallest entries of some arrays each of them holds.

    Entries tied at the threshold are shared out in proportion.

    Args:
        arrays: Maps paths to arrays.
        k: Number of entries, 0 or more.
        key: Elementwise function of which the values are compared.

    Raises:
        ValueError: If an entry is NaN.

    Example:

    >>> smallest_counts({"a": [1, 5, 2], "b": [3, 4]}, 3)
    {'a': 2, 'b': 1}
    """
    if k == 0:
        _check_each(arrays)
        return dict.fromkeys(arrays, 0)
    try:
        _, below, until = split_at(arrays.values(), k, key)
    except ValueError:
        _check_each(arrays)  # which says where
        raise
    tied = np.subtract(until, below)
    shared = (k - sum(below)) * np.cumsum(tied) // sum(tied)
    counts = np.add(below, np.diff(shared, prepend=0))
    return dict(zip(arrays, counts.tolist(), strict=True))


def _check_each(arrays: Mapping[str, Any]) -> None:
    for path, array in arrays.items():
        check_no_nan(np.asarray(array), f"the score of {path!r}")
