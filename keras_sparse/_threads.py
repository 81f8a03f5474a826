"""Work on pieces of a large array side by side.

NumPy lets other threads run while it computes. The threads live for one call:
starting them takes a fraction of a millisecond, and none are left behind for
a process that forks.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Result = TypeVar("Result")

# Below this a thread takes as long to start as it has to do.
_SMALLEST_PIECE = 2**18
# More of them than cores, so that a core that is slower gets fewer.
_PIECES_PER_THREAD = 4
# Memory is busy before that many cores are.
_MOST_THREADS = 8


def map_pieces(
    function: Callable[[int, int], Result], size: int
) -> list[Result]:
    """Calls `function(start, stop)` for pieces of `range(size)`.

    Args:
        function: Of two integers. Different threads call it at once.
        size: Number of entries, 0 or more.

    Returns:
        The results, in the order of the pieces.

    Example:

    >>> map_pieces(lambda start, stop: stop - start, 10)
    [10]
    """
    threads = min(_cores(), _MOST_THREADS, size // _SMALLEST_PIECE)
    if threads < 2:
        return [function(0, size)]
    length = max(-(-size // (threads * _PIECES_PER_THREAD)), _SMALLEST_PIECE)
    starts = range(0, size, length)
    with ThreadPoolExecutor(threads) as pool:
        return list(
            pool.map(lambda i: function(i, min(i + length, size)), starts)
        )


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):  # which containers may narrow
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
