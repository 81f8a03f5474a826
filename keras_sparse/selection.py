"""Exact selection of the smallest scores, in bounded extra memory.

A sample brackets the answer, one pass gathers what lies inside, and that
little is partitioned. Where the sample misleads, histograms find the answer.
Nothing large is sorted, copied or concatenated.
"""

import math
from collections.abc import Collection, Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from keras_sparse._arithmetic.histogram import (
    CHUNK,
    Key,
    chunks,
    select_by_histogram,
)

# One entry of so many is in the sample: more make it slow, fewer make what it
# brackets large. Odd, so that it does not miss most columns of a matrix.
_STRIDE = 65
# Up to here one partition is faster. It is not worth more: many ties, as in
# weights that are sparse already, slow it tenfold.
_SMALL = 2**12


def check_sparsity(sparsity: Any, name: str = "sparsity") -> float:
    """Return `sparsity` as a float, or raise unless it is in [0, 1).

    Args:
        sparsity: Number, the fraction of zeros.
        name: What the error calls it. Defaults to `"sparsity"`.

    Raises:
        ValueError: If `sparsity` is not a number in [0, 1).

    Example:

    >>> check_sparsity(0.9)
    0.9
    """
    try:
        value = None if isinstance(sparsity, str) else float(sparsity)
    except (TypeError, ValueError):
        value = None
    if value is None or not 0.0 <= value < 1.0:
        raise ValueError(
            f"Expected {name} to be a number in [0, 1), the fraction of "
            f"zeros. Received: {sparsity!r}. For 90% zeros pass 0.9."
        )
    return value


def zero_count(size: int, sparsity: float) -> int:
    """Number of zeros among `size` entries: rounded, at least one is kept.

    Args:
        size: Number of entries, at least 1.
        sparsity: Fraction of zeros, in [0, 1).

    Raises:
        ValueError: If `sparsity` is outside [0, 1).

    Example:

    >>> zero_count(100, 0.5), zero_count(100, 0.9999)
    (50, 99)
    """
    return min(round(check_sparsity(sparsity) * size), size - 1)


def check_no_nan(score: NDArray, name: str = "score") -> None:
    """Raise if `score` holds a NaN, which has no place in an order.

    Args:
        score: Array of any shape.
        name: What the error calls it. Defaults to `"score"`.

    Raises:
        ValueError: If any entry is NaN.
    """
    if score.size and np.isnan(score.min()):
        raise ValueError(
            f"Expected {name} without NaN. Received NaN in "
            f"{np.count_nonzero(np.isnan(score))} of {score.size} entries. "
            "The weights or their gradients have diverged: restore a "
            "checkpoint from before that, and lower the learning rate or "
            "clip the gradients (`clipnorm`)."
        )


class Split(NamedTuple):
    """Where several arrays are cut in two, at an entry of one of them.

    Attributes:
        threshold: The entry.
        below: For each array the number of entries that are smaller.
        until: For each array the number that are smaller or equal.
    """

    threshold: float
    below: list[int]
    until: list[int]


def split_at(arrays: Collection[Any], k: int, key: Key = None) -> Split:
    """Cuts several arrays, taken together, at their k-th smallest entry.

    Extra memory is a few percent of what the arrays take.

    Args:
        arrays: As for `kth_smallest`.
        k: As for `kth_smallest`.
        key: Elementwise function, such as `np.abs`, of which the values are
            compared instead of the entries. Default: none.

    Raises:
        ValueError: If `k` is out of range or an entry is NaN.

    Example:

    >>> split_at([np.array([3.0, 1.0]), np.array([[2.0], [9.0]])], k=2)
    Split(threshold=2.0, below=[1, 0], until=[1, 1])
    """
    sample, total, dtype = _sample(arrays, key)
    if not 1 <= k <= total:
        raise ValueError(
            f"Expected a rank k from 1 to the number of entries, {total}. "
            f"Received: k={k}."
        )
    if total > _SMALL:
        found = _sample_select(arrays, k, total, sample, key)
        if found is not None:
            return found
        threshold = select_by_histogram(arrays, k, dtype, key)
    else:
        pooled = np.concatenate(list(chunks(arrays, dtype, key)))
        check_no_nan(pooled)
        pooled.partition(k - 1)
        threshold = float(pooled[k - 1])
    return _split(arrays, threshold, dtype, key)


def kth_smallest(arrays: Collection[Any], k: int) -> float:
    """The exact k-th smallest entry of several arrays taken together.

    Infinities and negative entries are ordered as usual.

    Args:
        arrays: Arrays of numbers, of any shapes. They are compared as
            float32, or as float64 if one of them needs it.
        k: Rank, from 1 for the smallest to the total number of entries.

    Returns:
        A float that is one of the entries.

    Raises:
        ValueError: If `k` is out of range or an entry is NaN.

    Example:

    >>> kth_smallest([np.array([3.0, 1.0]), np.array([[2.0], [9.0]])], k=2)
    2.0
    """
    return split_at(arrays, k).threshold


def smallest_mask(score: Any, zeros: int) -> NDArray[np.bool_]:
    """Mask that drops exactly the `zeros` smallest entries of `score`.

    Of equal entries the first ones, in C order, are dropped first: the count
    is exact also when all entries are equal, and the mask for more zeros is
    contained in the mask for fewer.

    Args:
        score: Array of any shape.
        zeros: Number of entries to drop, from 0 to `score.size`.

    Returns:
        Boolean array in the shape of `score`, `True` where it is kept.

    Raises:
        ValueError: If `zeros` is out of range or an entry is NaN.

    Example:

    >>> smallest_mask(np.array([0.3, 0.1, 0.2, 0.1]), zeros=2)
    array([ True, False,  True, False])
    """
    score = np.asarray(score)
    flat = score.astype(np.result_type(np.float32, score), copy=False).ravel()
    if not 0 <= zeros <= flat.size:
        raise ValueError(
            "Expected a number of zeros from 0 to the number of entries, "
            f"{flat.size}. Received: zeros={zeros}."
        )
    if zeros == 0:
        check_no_nan(flat)
        return np.ones(score.shape, bool)
    try:
        threshold, _, (until,) = split_at([flat], zeros)
    except ValueError:
        check_no_nan(flat)  # of all, not of a piece
        raise
    keep = flat > threshold
    surplus = until - zeros
    start = flat.size
    while surplus:  # Keep the last ones of the entries tied at the threshold.
        start, stop = max(start - CHUNK, 0), start
        tied = np.flatnonzero(flat[start:stop] == threshold)[-surplus:]
        keep[start + tied] = True
        surplus -= tied.size
    return keep.reshape(score.shape)


def _sample(arrays: Iterable[Any], key: Key) -> tuple[NDArray, int, np.dtype]:
    """A sample of the entries, their number, and a dtype to compare them in."""
    parts, total, dtype = [], 0, np.dtype(np.float32)
    for array in arrays:
        flat = np.ravel(array, order="K")
        part = flat[-total % _STRIDE :: _STRIDE].copy()
        parts.append(key(part) if key else part)
        total += flat.size
        dtype = np.result_type(dtype, flat)
    sample = np.concatenate([np.empty(0, dtype), *parts], dtype=dtype)
    return sample, total, dtype


def _sample_select(
    arrays: Iterable[Any], k: int, total: int, sample: NDArray, key: Key
) -> Split | None:
    """The split after one pass, or `None` where luck is out.

    The sample brackets the answer; only what lies inside is gathered and
    partitioned (Floyd and Rivest, "Expected time bounds for selection", 1975).
    """
    place = k / total * sample.size
    # Five standard deviations, and a few entries near an end.
    margin = 5 * math.sqrt(place * (1 - k / total)) + 5
    first, last = math.floor(place - margin), math.ceil(place + margin)
    sample.partition([max(first, 0), min(last, sample.size - 1)])
    low = sample[first] if first >= 0 else -np.inf
    high = sample[last] if last < sample.size else np.inf

    def gather(chunk: NDArray) -> tuple[int, NDArray]:
        check_no_nan(chunk)
        above = chunk > low
        until_low = chunk.size - np.count_nonzero(above)
        above &= chunk < high
        return until_low, chunk[above]

    until_low, inside = [], []
    for array in arrays:
        gathered = [gather(c) for c in chunks([array], sample.dtype, key)]
        until_low.append(sum(count for count, _ in gathered))
        parts = [part for _, part in gathered]
        inside.append(np.concatenate([np.empty(0, sample.dtype), *parts]))
    between = np.concatenate(inside)
    rank = k - sum(until_low)
    if 1 <= rank <= between.size:
        between.partition(rank - 1)
        edge = float(between[rank - 1])
        _, below, until = _split(inside, edge, sample.dtype)
        return Split(
            edge,
            np.add(until_low, below).tolist(),
            np.add(until_low, until).tolist(),
        )
    # One of many entries that are equal, or outside the bracket.
    found = _split(arrays, float(low if rank < 1 else high), sample.dtype, key)
    return found if sum(found.below) < k <= sum(found.until) else None


def _split(
    arrays: Iterable[Any], threshold: float, dtype: np.dtype, key: Key = None
) -> Split:
    """The split at an entry that is known."""

    def count(chunk: NDArray) -> tuple[int, int]:
        below = int(np.count_nonzero(chunk < threshold))
        return below, below + int(np.count_nonzero(chunk == threshold))

    below, until = [], []
    for array in arrays:
        counts = [count(chunk) for chunk in chunks([array], dtype, key)]
        below.append(sum(pair[0] for pair in counts))
        until.append(sum(pair[1] for pair in counts))
    return Split(threshold, below, until)
