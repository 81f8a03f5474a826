"""Sparse matrices that do to given inputs what a dense one did.

Reference: Frantar and Alistarh, "SparseGPT", 2023, algorithm 1.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from keras_sparse import patterns
from keras_sparse.selection import smallest_mask, zero_count

Pattern = Callable[[NDArray, float], NDArray]


def reconstruct(
    matrix: NDArray,
    hessian: NDArray,
    sparsity: float,
    *,
    pattern: Pattern = patterns.unstructured,
    block: int = 128,
    damping: float = 0.01,
) -> NDArray:
    """A sparse matrix W' with x W' near x W.

    Args:
        matrix: W, in shape (inputs, outputs).
        hessian: Sum of x^T x over examples, in shape (inputs, inputs).
        sparsity: Fraction of zeros, in [0, 1).
        pattern: `patterns.unstructured` or `patterns.n_m(n, m)`.
        block: Inputs whose zeros are chosen together.
        damping: Share of the mean diagonal added to the diagonal.

    Returns:
        Array in the shape and type of `matrix`.

    Raises:
        ValueError: If the Hessian or the matrix is not finite.
    """
    if not (np.isfinite(hessian).all() and np.isfinite(matrix).all()):
        raise ValueError(
            "Expected finite weights and layer inputs. Received NaN or "
            "infinity. Look at the calibration data, and whether the model "
            "has diverged."
        )
    w = matrix.astype("float64")
    if pattern is not patterns.unstructured:
        _eliminate(
            w, hessian, block, damping, lambda _, s: pattern(s, sparsity)
        )
        return w.astype(matrix.dtype)
    # What multiplies nothing goes first.
    zeros = zero_count(w.size, sparsity)
    silent = np.diag(hessian) == 0
    free = min(zeros, int(silent.sum()) * w.shape[1])
    w[silent] *= smallest_mask(np.abs(w[silent]), free) if free else 1.0
    left = zeros - free
    rest = w[~silent]
    if left:

        def keep(rows: slice, score: NDArray) -> NDArray:
            """So many that all blocks together have the exact number."""
            done, due = (
                left * row // len(rest) for row in (rows.start, rows.stop)
            )
            return smallest_mask(score, due - done)

        heard = hessian[np.ix_(~silent, ~silent)]
        _eliminate(rest, heard, block, damping, keep)
        w[~silent] = rest
    return w.astype(matrix.dtype)


def _eliminate(
    w: NDArray,
    hessian: NDArray,
    block: int,
    damping: float,
    keep_of: Callable[[slice, NDArray], NDArray],
) -> None:
    """Drops weights block by block, in place; those after make up for them.

    Args:
        w: Of shape (inputs, outputs), float64.
        hessian: Of shape (inputs, inputs).
        block: Inputs whose zeros are chosen together.
        damping: Share of the mean diagonal added to the diagonal.
        keep_of: From the rows of a block and its scores to what stays.
    """
    inverse = _root_of_inverse(hessian, damping)
    for start in range(0, len(w), block):
        stop = min(start + block, len(w))
        root = inverse[start:stop, start:stop]
        score = np.square(w[start:stop] / np.diag(root)[:, None])
        keep = keep_of(slice(start, stop), score)
        errors = np.empty(score.shape)
        for row in range(stop - start):
            at = start + row
            kept = np.where(keep[row], w[at], 0.0)
            errors[row] = (w[at] - kept) / root[row, row]
            w[at:stop] -= np.outer(root[row, row:], errors[row])
            w[at] = kept
        w[stop:] -= inverse[start:stop, stop:].T @ errors


def _root_of_inverse(hessian: NDArray, damping: float) -> NDArray:
    """The upper U with U^T U the inverse of the damped Hessian."""
    h = hessian.astype("float64")
    silent = np.diag(h) == 0
    h[silent, silent] = 1.0
    h[np.diag_indices_from(h)] += damping * np.diag(h).mean()
    return np.linalg.cholesky(np.linalg.inv(h)).T
