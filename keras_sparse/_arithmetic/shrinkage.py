"""Between the soft and the hard threshold."""

from __future__ import annotations

from typing import Any

from keras import ops

from keras_sparse._arithmetic.fused import fused

TINY = 1.2e-38  # The least float32 that is not flushed to zero.


def shrink(
    w: Any, threshold: Any, p: float, training: bool | None = False
) -> tuple[Any, Any]:
    """`sign(w) (|w|^p - T^p)^(1/p)` above the threshold T, zero up to it.

    Args:
        w: Tensor of any shape.
        threshold: Scalar T of its dtype, 0 or more; 0 leaves `w` as it is.
        p: Number, 1 or more.
        training: Whether speed counts more than the last bit.

    Returns:
        The values, and where they are not zero: wherever `|w| > T`, to the
        next float.
    """
    return (fused(_shrink) if training else _shrink)(w, threshold, p)


def _shrink(w: Any, threshold: Any, p: float) -> tuple[Any, Any]:
    size = ops.abs(w)
    kept = size > threshold
    ratio = threshold / ops.maximum(size, ops.maximum(threshold, TINY))
    # (1 - ratio^p)^(1/p): powers are several times slower.
    factor = ops.exp(ops.log(_gap(ratio, p)) * (1 / p))
    return ops.where(kept, w * factor, ops.zeros_like(w)), kept


def _gap(ratio: Any, p: float) -> Any:
    """1 - ratio^p, not zero for any ratio below 1."""
    if p == 3:
        return 1.0 - ratio * ratio * ratio
    return -ops.expm1(p * ops.log(ops.maximum(ratio, TINY)))
