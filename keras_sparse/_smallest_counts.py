"""One threshold over several arrays, of which one at a time is looked at."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keras_sparse.selection import check_no_nan, split_at


def smallest_counts(
    arrays: Mapping[str, Any], paths: Sequence[str], k: int
) -> dict[str, int]:
    """How many of the k smallest entries of some arrays each of them holds.

    Entries tied at the threshold are shared out in proportion.

    Args:
        arrays: Maps paths to arrays. It may make each anew at every look.
        paths: Which arrays to take.
        k: Number of entries, 0 or more.

    Raises:
        ValueError: If an entry is NaN.

    Example:

    >>> smallest_counts({"a": [1, 5, 2], "b": [3, 4]}, ["a", "b"], 3)
    {'a': 2, 'b': 1}
    """
    some = _Part(arrays, paths)
    if k == 0:
        _check_each(some)
        return dict.fromkeys(paths, 0)
    try:
        _, below, until = split_at(some.values(), k)
    except ValueError:
        _check_each(some)  # which says where
        raise
    tied = np.subtract(until, below)
    shared = (k - sum(below)) * np.cumsum(tied) // sum(tied)
    counts = np.add(below, np.diff(shared, prepend=0))
    return dict(zip(paths, counts.tolist(), strict=True))


def _check_each(arrays: Mapping[str, NDArray]) -> None:
    for path, array in arrays.items():
        check_no_nan(array, f"the score of {path!r}")


@dataclass(frozen=True)
class _Part(Mapping[str, NDArray]):
    """Some arrays of a map, which may make each anew when it is asked for."""

    arrays: Mapping[str, Any]
    paths: Sequence[str]

    def __getitem__(self, path: str) -> NDArray:
        return np.asarray(self.arrays[path])

    def __iter__(self) -> Iterator[str]:
        return iter(self.paths)

    def __len__(self) -> int:
        return len(self.paths)
