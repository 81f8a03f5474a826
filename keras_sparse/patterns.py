"""Patterns: which weights go together, as `(score, sparsity) -> mask`.

The mask is boolean, in the shape of the score, `True` where a weight is kept.
The last axis of the score is the output axis; the others, flattened in C
order, are the input axis. Patterns with settings are classes in lower case,
since they stand where a function can stand: `patterns.n_m(2, 4)`.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keras_sparse.selection import (
    check_no_nan,
    check_sparsity,
    smallest_mask,
    zero_count,
)


def unstructured(score: Any, sparsity: float) -> NDArray[np.bool_]:
    """Drop the smallest scores, wherever they are.

    Exactly `round(sparsity * score.size)` weights are dropped, but at least
    one is kept. Of equal scores the first in C order are dropped first.

    Args:
        score: Array of any shape, with at least one entry.
        sparsity: Fraction of zeros, in [0, 1).

    Raises:
        ValueError: If `sparsity` is outside [0, 1) or a score is NaN.

    Example:

    >>> unstructured(np.array([0.1, 0.9, 0.2, 0.5]), 0.5)
    array([False,  True, False,  True])
    """
    score = np.asarray(score)
    return smallest_mask(score, zero_count(score.size, sparsity))


def per_output(score: Any, sparsity: float) -> NDArray[np.bool_]:
    """Drop the smallest scores of every output, the same number of each.

    Args:
        score: Array of any shape, outputs last.
        sparsity: Fraction of zeros, in [0, 1).

    Raises:
        ValueError: If `sparsity` is outside [0, 1) or a score is NaN.

    Example:

    >>> per_output(np.array([[0.1, 9.0], [0.2, 8.0]]), 0.5)
    array([[False,  True],
           [ True, False]])
    """
    matrix = _as_matrix(score)
    check_no_nan(matrix)
    keep = matrix.shape[0] - zero_count(matrix.shape[0], sparsity)
    order = np.argsort(matrix, axis=0, kind="stable")
    mask = np.zeros(matrix.shape, bool)
    np.put_along_axis(mask, order[matrix.shape[0] - keep :], True, axis=0)
    return mask.reshape(np.shape(score))


@dataclass(frozen=True)
class block:
    """Drop whole blocks of weights with the smallest mean score.

    Blocks are laid over the matrix (flattened inputs, outputs) in Keras' own
    layout. Those at the edge may be smaller. The share of dropped blocks is
    `sparsity`, rounded to whole blocks, and at least one block is kept.

    The weights of a fully connected layer are transposed in a `.tflite`
    file: its 1x4 blocks, of four inputs of one output, are `(4, 1)` here.

    Args:
        shape: Pair of positive integers, the inputs and the outputs that a
            block spans. Defaults to `(1, 4)`.

    Raises:
        ValueError: If `shape` is no such pair, `sparsity` is outside [0, 1)
            or a score is NaN.

    Example:

    >>> score = np.array([[1.0, 1.0, 5.0], [9.0, 0.0, 3.0]])
    >>> block((1, 2))(score, 0.5)
    array([[False, False,  True],
           [ True,  True, False]])
    """

    shape: tuple[int, int] = (1, 4)

    def __post_init__(self):
        shape = self.shape
        if not (
            isinstance(shape, (tuple, list))
            and len(shape) == 2
            and all(_is_positive_integer(length) for length in shape)
        ):
            raise ValueError(
                "Expected the shape of a block as two positive integers, "
                f"(inputs, outputs). Received: shape={shape!r}. For runs of "
                "four inputs of one output pass (4, 1)."
            )
        object.__setattr__(self, "shape", tuple(shape))

    def __call__(self, score: Any, sparsity: float) -> NDArray[np.bool_]:
        matrix = _as_matrix(score)
        mean = matrix
        for axis, length in enumerate(self.shape):
            if length > 1:
                starts = np.arange(0, matrix.shape[axis], length)
                lengths = np.diff(starts, append=matrix.shape[axis])
                mean = np.add.reduceat(mean, starts, axis)
                mean /= np.expand_dims(lengths, 1 - axis)
        keep = smallest_mask(mean, zero_count(mean.size, sparsity))
        for axis, length in enumerate(self.shape):
            keep = keep.repeat(length, axis)
        inputs, outputs = matrix.shape
        return keep[:inputs, :outputs].reshape(np.shape(score))


@dataclass(frozen=True)
class n_m:
    """Keep at most n of each m consecutive inputs of every output.

    With a sparsity below `1 - n / m`, `ceil(m * (1 - sparsity))` of each m
    are kept, so that a schedule can ramp up to the pattern; a higher one
    changes nothing, and pruning warns of it. If the inputs are not a multiple
    of m, the last group is filled up with zeros: of the 9 inputs of a 3x3x1
    kernel, `n_m(2, 4)` keeps 2, 2 and 1.

    Args:
        n: Positive integer, the most nonzeros in a group.
        m: Integer, at least `n`, the length of a group.

    Raises:
        ValueError: If `n` or `m` is out of range, `sparsity` is outside
            [0, 1) or a score is NaN.

    Example:

    >>> score = np.array([[4.0], [1.0], [3.0], [2.0]])
    >>> n_m(2, 4)(score, 0.5).ravel()
    array([ True, False,  True, False])

    Reference:
        [Zhou et al., 2021](https://arxiv.org/abs/2102.04010), section 3.
    """

    n: int
    m: int

    @property
    def highest(self) -> float:
        """The sparsity of whole groups, beyond which a schedule is in vain."""
        return 1 - self.n / self.m

    def __post_init__(self):
        if not (
            _is_positive_integer(self.n)
            and _is_positive_integer(self.m)
            and self.n <= self.m
        ):
            raise ValueError(
                "Expected whole numbers 1 <= n <= m. Received: "
                f"n={self.n!r}, m={self.m!r}. For 2 nonzeros in each 4 "
                "weights pass n=2, m=4."
            )

    def __call__(self, score: Any, sparsity: float) -> NDArray[np.bool_]:
        sparsity = check_sparsity(sparsity)
        matrix = _as_matrix(score)
        check_no_nan(matrix)
        # Rounded first: 10 * (1 - .7) is a hair above 3.
        keep = max(self.n, math.ceil(round(self.m * (1 - sparsity), 6)))
        inputs, outputs = matrix.shape
        whole = inputs - inputs % self.m
        groups = matrix[:whole].reshape(-1, self.m, outputs)
        mask = np.empty(matrix.shape, bool)
        mask[:whole] = _largest(groups, keep).reshape(whole, outputs)
        mask[whole:] = _largest(matrix[None, whole:], keep)[0]
        return mask.reshape(np.shape(score))


@dataclass(frozen=True)
class channel:
    """Drop whole slices along an axis: those with the smallest total score.

    With the magnitude as the score the total is the L1 norm of the slice.
    The share of dropped slices is `sparsity`, rounded to whole slices, and
    at least one slice is kept.

    Args:
        axis: Integer, the axis of the slices. Defaults to -1, the outputs.

    Raises:
        ValueError: If the score has no such axis, `sparsity` is outside
            [0, 1) or a score is NaN.

    Example:

    >>> channel()(np.array([[1.0, 2.0], [1.0, 2.0]]), 0.5)
    array([[False,  True],
           [False,  True]])

    Reference:
        [Li et al., 2017](https://arxiv.org/abs/1608.08710), section 3.1.
    """

    axis: int = -1

    def __call__(self, score: Any, sparsity: float) -> NDArray[np.bool_]:
        score = np.asarray(score)
        if not -score.ndim <= self.axis < score.ndim:
            raise ValueError(
                f"Expected a score with an axis {self.axis}. Received: "
                f"shape {score.shape}. Use an axis from {-score.ndim} to "
                f"{score.ndim - 1}, or leave this weight out."
            )
        axes = np.arange(score.ndim)
        others = tuple(axes[axes != axes[self.axis]])
        total = score.sum(axis=others, dtype=np.float64)
        keep = smallest_mask(total, zero_count(total.size, sparsity))
        keep = np.expand_dims(keep, others)
        return np.broadcast_to(keep, score.shape).copy()


def _is_positive_integer(value: Any) -> bool:
    return isinstance(value, (int, np.integer)) and int(value) >= 1


def _as_matrix(score: Any) -> NDArray:
    """The score as (flattened inputs, outputs)."""
    score = np.asarray(score)
    if score.ndim == 0 or score.size == 0:
        raise ValueError(
            "Expected a score with an output axis and at least one entry. "
            f"Received: shape {score.shape}. Leave this weight out."
        )
    score = score.astype(np.result_type(np.float32, score), copy=False)
    return score.reshape(-1, score.shape[-1])


def _largest(groups: NDArray, keep: int) -> NDArray[np.bool_]:
    """Mask of the `keep` largest along the middle axis; ties: the last ones.

    Every entry counts those of its group that come before it in the order.
    """
    length = groups.shape[1]
    above = np.zeros(groups.shape, np.min_scalar_type(length))
    for i in range(length):
        rival = groups[:, i : i + 1]
        above[:, :i] += rival >= groups[:, :i]
        above[:, i + 1 :] += rival > groups[:, i + 1 :]
    return above < keep
