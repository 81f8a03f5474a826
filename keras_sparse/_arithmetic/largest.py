"""The largest entries of a tensor, exactly, in a few dozen plain passes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from keras import ops


def largest(size: Any, count: int) -> Any:
    """Where the `count` largest entries are; of equal ones the last.

    Numbers that are not negative order as their bits do. The bits of the
    smallest entry that stays are found one after the other, each by counting
    the entries above it: nothing is sorted or moved.

    Args:
        size: float32 tensor of any shape, no entry negative.
        count: How many to take, from 1 to the number of entries.

    Returns:
        Boolean tensor of its shape, true `count` times.
    """
    entries = math.prod(size.shape)
    bits = ops.view(ops.reshape(size, (entries,)), "int32")
    edge = _highest(lambda at: _count(bits >= at) >= count, 31)
    tied = bits == edge
    surplus = _count(bits >= edge) - count
    place = ops.arange(entries, dtype="int32")
    first = _highest(
        lambda at: _count(ops.logical_and(tied, place < at)) <= surplus,
        entries.bit_length(),
    )
    kept = ops.logical_or(bits > edge, ops.logical_and(tied, place >= first))
    return ops.reshape(kept, size.shape)


def _highest(test: Callable[[Any], Any], bits: int) -> Any:
    """The highest number of so many bits that passes, as all below it do."""

    def try_bit(_: Any, state: tuple[Any, Any]) -> tuple[Any, Any]:
        found, bit = state
        found = ops.where(test(found + bit), found + bit, found)
        return found, ops.right_shift(bit, 1)

    start = ops.zeros((), "int32")
    top = ops.full((), 2 ** (bits - 1), "int32")
    return ops.fori_loop(0, bits, try_bit, (start, top))[0]


def _count(where: Any) -> Any:
    return ops.sum(ops.cast(where, "int32"))
