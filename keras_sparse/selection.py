"""Exact selection of the smallest scores, in bounded extra memory.

Among many scores a sample brackets the answer, one pass gathers what lies
inside, and that little is partitioned. Among fewer, or where scores tie, a
histogram counts the leading bits of every score, which order floats; the bin
that holds the k-th smallest is counted again on its next bits, until no bits
are left. Nothing large is sorted, copied or concatenated.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Scores looked at at once: the temporaries of a chunk stay in cache.
_CHUNK = 2**16
# Up to here one partition is faster than the histograms. It is not worth
# more: many ties, as in weights that are sparse already, slow it tenfold.
_SAMPLE = 2**15
_SMALL = 2**12
# From here on a sample pays that brackets the answer before the one pass.
_LARGE = 2**18
# Bits counted at once. 4096 counts stay in the first-level cache; 16 bits
# save a fifth above a million scores and cost tenfold at ten thousand.
_DIGIT = 12


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


def kth_smallest(arrays: Iterable[Any], k: int) -> float:
    """The exact k-th smallest entry of several arrays taken together.

    Extra memory is a few MB, whatever the number of entries. Infinities and
    negative entries are ordered as usual.

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
    arrays = [np.asarray(array) for array in arrays]
    total = sum(array.size for array in arrays)
    if not 1 <= k <= total:
        raise ValueError(
            f"Expected a rank k from 1 to the number of entries, {total}. "
            f"Received: k={k}."
        )
    dtype = np.result_type(np.float32, *arrays)
    for chunk in _chunks(arrays, dtype):
        check_no_nan(chunk)
    if total <= _SMALL:
        pooled = np.concatenate(list(_chunks(arrays, dtype)))
        pooled.partition(k - 1)
        return float(pooled[k - 1])
    if total >= _LARGE:
        found = _sample_select(arrays, k, total, dtype)
        if found is not None:
            return found
    return _histogram_select(arrays, k, dtype)


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
    threshold = kth_smallest([flat], zeros)
    keep = flat > threshold
    surplus = flat.size - np.count_nonzero(keep) - zeros
    start = flat.size
    while surplus:  # Keep the last ones of the entries tied at the threshold.
        start, stop = max(start - _CHUNK, 0), start
        tied = np.flatnonzero(flat[start:stop] == threshold)[-surplus:]
        keep[start + tied] = True
        surplus -= tied.size
    return keep.reshape(score.shape)


def _chunks(arrays: Sequence[NDArray], dtype: np.dtype) -> Iterator[NDArray]:
    """The entries of all arrays, a cacheful at a time, as `dtype`."""
    for array in arrays:
        flat = array.ravel(order="K")
        for start in range(0, flat.size, _CHUNK):
            yield flat[start : start + _CHUNK].astype(dtype, copy=False)


def _sample_select(
    arrays: Sequence[NDArray], k: int, total: int, dtype: np.dtype
) -> float | None:
    """The k-th smallest entry by one pass, or `None` where luck is out.

    A sample brackets the answer; only what lies inside is gathered and
    partitioned (Floyd and Rivest, "Expected time bounds for selection", 1975).
    """
    step = -(-total // _SAMPLE)
    sample = np.sort(
        np.concatenate(
            [a.ravel(order="K")[::step].astype(dtype) for a in arrays]
        )
    )
    place = k * sample.size / total
    margin = 5 * np.sqrt(sample.size) / 2  # five standard deviations or more
    low, high = sample[
        np.clip([place - margin, place + margin], 0, sample.size - 1).astype(
            int
        )
    ]
    until_low = 0
    inside = []
    for chunk in _chunks(arrays, dtype):
        above = chunk > low
        until_low += chunk.size - np.count_nonzero(above)
        above &= chunk < high
        inside.append(chunk[above])
    between = np.concatenate(inside)
    rank = k - until_low
    if 1 <= rank <= between.size:
        between.partition(rank - 1)
        return float(between[rank - 1])
    # One of many entries that are equal, or outside the bracket.
    edge = low if rank < 1 else high
    below = until = 0
    for chunk in _chunks(arrays, dtype):
        below += np.count_nonzero(chunk < edge)
        until += np.count_nonzero(chunk <= edge)
    return float(edge) if below < k <= until else None


def _histogram_select(
    arrays: Sequence[NDArray], k: int, dtype: np.dtype
) -> float:
    """The k-th smallest entry, found a few of its bits at a time."""
    unsigned = np.dtype(f"u{dtype.itemsize}")
    whole = unknown = 8 * dtype.itemsize
    known = 0  # The leading bits of the answer that are found already.
    while unknown:
        width = min(_DIGIT, unknown)
        counts = np.zeros(2**width, np.int64)
        for chunk in _chunks(arrays, dtype):
            bits = chunk.view(unsigned)
            if unknown < whole:
                bits = bits[bits >> unknown == known] & (2**unknown - 1)
            digits = (bits >> (unknown - width)).astype(np.intp)
            counts += np.bincount(digits, minlength=2**width)
        # Negative floats, sign bit 1, come first and in reverse.
        order = np.arange(2**width)
        if unknown == whole:
            positive, negative = np.split(order, 2)
            order = np.concatenate([negative[::-1], positive])
        elif known >> (whole - unknown - 1):
            order = order[::-1]
        ranks = counts[order].cumsum()
        place = np.searchsorted(ranks, k)
        digit = int(order[place])
        k -= int(ranks[place] - counts[digit])
        known = known << width | digit
        unknown -= width
    return float(np.array(known, unsigned).view(dtype))
