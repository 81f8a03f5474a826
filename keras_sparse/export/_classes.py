"""Top-1 classes of a classifier's outputs, and of labels."""

from __future__ import annotations

from typing import Any

import numpy as np


def gives_classes(output: np.ndarray) -> bool:
    """Tell whether an output looks like softmax: rows that sum to one.

    Example:

    >>> gives_classes(np.array([[0.25, 0.75]]))
    True
    >>> gives_classes(np.array([[2.0, 0.75]]))
    False
    """
    return (
        output.ndim == 2
        and output.shape[1] > 1
        and bool((output >= 0).all())
        and bool(np.allclose(output.sum(axis=1), 1, atol=1e-3))
    )


def as_classes(labels: Any, output: np.ndarray) -> np.ndarray:
    """Turn labels into class numbers that fit an output.

    Args:
        labels: integers of shape `(n,)` or `(n, 1)`, or one-hot rows.
        output: the model's first output, of shape `(n, classes)`.

    Returns:
        Integers of shape `(n,)`.

    Raises:
        ValueError: labels and output do not fit each other.

    Example:

    >>> as_classes([[0, 1], [1, 0]], np.zeros((2, 2)))
    array([1, 0])
    """
    if output.ndim != 2 or output.shape[1] < 2:
        raise ValueError(
            "labels expected a first output of shape (n, classes) with two "
            f"classes or more, received {output.shape}. Leave labels out."
        )
    count, classes = output.shape
    array = np.asarray(labels)
    if array.shape == (count, classes):
        return array.argmax(axis=1)
    if array.shape not in {(count,), (count, 1)}:
        raise ValueError(
            f"labels: expected one class for each of {count} samples, shape "
            f"({count},) or ({count}, {classes}), received {array.shape}."
        )
    array = array.reshape(count)
    numbers = array.astype("int64")
    if (
        (numbers != array).any()
        or numbers.min() < 0
        or (numbers.max() >= classes)
    ):
        raise ValueError(
            f"labels: expected integers from 0 to {classes - 1}, received "
            f"values from {array.min()} to {array.max()}."
        )
    return numbers


def rate(classes: np.ndarray, output: np.ndarray) -> float:
    """Return the fraction of rows whose largest entry is the class."""
    return float(np.mean(output.argmax(axis=1) == classes))
