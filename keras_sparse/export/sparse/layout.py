"""How a tensor with zeros is held: the nonzero entries, and where they are."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np


@dataclass(frozen=True)
class SparseLayout:
    """An array as its nonzero blocks and two index vectors.

    The axes are walked in the order `order`. The axes before `level` are
    held in full; the axis at `level` is compressed: `segments` tells where
    the entries of each outer position begin, `indices` which positions of
    the axis they are. What comes after is held in full for each entry.
    With a `block` of b, the last axis is cut into pieces of b entries, and
    the compressed axis counts the pieces.

    Args:
        shape: the shape of the array.
        order: its axes, outermost first.
        level: the place in `order` of the compressed axis.
        block: entries of the last axis that stand or fall together.
        segments: int array of `outer positions + 1` entries.
        indices: int array, one entry for each block that is held.
        values: the entries of the blocks, flat.

    Example:

    >>> layout = compressed(np.array([[0, 5, 0], [7, 0, 9]]))
    >>> layout.values, layout.segments, layout.indices
    (array([5, 7, 9]), array([0, 1, 3]), array([1, 0, 2]))
    """

    shape: tuple[int, ...]
    order: tuple[int, ...]
    level: int
    block: int
    segments: np.ndarray
    indices: np.ndarray
    values: np.ndarray

    @cached_property
    def nbytes(self) -> int:
        """The bytes of values and indices, each in the least width."""
        vectors = (self.segments, self.indices)
        return self.values.nbytes + sum(narrow(v).nbytes for v in vectors)

    def to_dense(self) -> np.ndarray:
        """Return the array."""
        shape = [self.shape[axis] for axis in self.order]
        if self.block > 1:
            shape[self.level] //= self.block
            shape.append(self.block)
        outer = math.prod(shape[: self.level])
        inner = math.prod(shape[self.level + 1 :])
        flat = np.zeros((outer, shape[self.level], inner), self.values.dtype)
        rows = np.repeat(np.arange(outer), np.diff(self.segments))
        flat[rows, self.indices] = self.values.reshape(-1, inner)
        walked = flat.reshape([self.shape[axis] for axis in self.order])
        return walked.transpose(np.argsort(self.order))


def compressed(
    array: np.ndarray,
    order: tuple[int, ...] | None = None,
    level: int | None = None,
    block: int = 1,
) -> SparseLayout:
    """Compress one axis of an array; of zeros alone, keep the first block.

    Args:
        array: any numbers, with one axis or more.
        order: its axes, outermost first. Defaults to the array's own.
        level: the place in `order` of the axis to compress. Defaults to
            the last, which gives compressed sparse rows.
        block: entries of the last axis that stand or fall together; more
            than 1 goes with the default `order` and `level`.

    Raises:
        ValueError: the last axis is not a multiple of `block`.
    """
    order = tuple(range(array.ndim)) if order is None else order
    level = array.ndim - 1 if level is None else level
    shape = [array.shape[axis] for axis in order]
    if shape[-1] % block:
        raise ValueError(
            f"Expected a last axis that is a multiple of {block}, received "
            f"shape {array.shape}."
        )
    inner = math.prod(shape[level + 1 :]) * block
    held = array.transpose(order).reshape(
        math.prod(shape[:level]), shape[level] // block, inner
    )
    kept = (held != 0).any(axis=2)
    if not kept.any():  # LiteRT takes an empty buffer for no constant
        kept[:1, :1] = True
    segments = np.concatenate([[0], np.cumsum(kept.sum(axis=1))])
    return SparseLayout(
        shape=array.shape,
        order=order,
        level=level,
        block=block,
        segments=segments,
        indices=np.nonzero(kept)[1],
        values=held[kept].reshape(-1),
    )


def smallest(array: np.ndarray) -> SparseLayout:
    """Return the layout of fewest bytes, one axis compressed.

    Example:

    Whole rows of zeros need no index for each entry:

    >>> kernel = np.ones((8, 8), "float32")
    >>> kernel[2:] = 0
    >>> layout = smallest(kernel)
    >>> layout.order, layout.level, layout.nbytes
    ((0, 1), 0, 68)
    """
    nonzero = array != 0
    best: tuple[int, tuple[int, ...], int] | None = None
    for order, level in _walks(array.ndim):
        inner = order[level + 1 :]
        blocks = max(int(np.count_nonzero(nonzero.any(axis=inner))), 1)
        outer = math.prod(array.shape[axis] for axis in order[:level])
        held = math.prod(array.shape[axis] for axis in inner)
        size = (
            blocks * held * array.itemsize
            + blocks * _width(array.shape[order[level]] - 1)
            + (outer + 1) * _width(blocks)
        )
        if best is None or size < best[0]:
            best = size, order, level
    if best is None:
        raise ValueError("Expected one axis or more, received a number.")
    return compressed(array, best[1], best[2])


def narrow(values: np.ndarray) -> np.ndarray:
    """Return indices in the narrowest dtype the file format has for them."""
    top = int(values.max(initial=0))
    return values.astype({1: "uint8", 2: "uint16", 4: "int32"}[_width(top)])


def _width(top: int) -> int:
    return 1 if top < 2**8 else 2 if top < 2**16 else 4


def _walks(rank: int) -> Iterator[tuple[tuple[int, ...], int]]:
    """Yield every split of the axes into full, compressed and full ones."""
    for axis in range(rank):
        others = [other for other in range(rank) if other != axis]
        for count in reversed(range(rank)):
            for outer in itertools.combinations(others, count):
                inner = tuple(other for other in others if other not in outer)
                yield (*outer, axis, *inner), count
