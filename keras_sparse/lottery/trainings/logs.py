"""Logs of `fit` and `evaluate` as JSON can hold them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from keras_sparse import _surgery

Logs = dict[str, Any]


def plain(logs: Mapping[str, Any]) -> Logs:
    """Each value as a float, or as a list where a metric has several.

    Example:

    >>> plain({"loss": np.float32(0.5), "f1_score": np.array([0.25, 1.0])})
    {'loss': 0.5, 'f1_score': [0.25, 1.0]}
    """
    return {
        name: np.asarray(_surgery.to_numpy(value), float).tolist()
        for name, value in logs.items()
    }


def told(value: Any) -> str:
    """A value for a line of text."""
    if isinstance(value, list):
        return f"[{' '.join(map(told, value))}]"
    return f"{value:.4f}"
