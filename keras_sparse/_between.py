"""A constraint on variables."""

from __future__ import annotations

from typing import Any

import keras


class Between:
    """Sets what is below or above the limits to them, after each step."""

    def __init__(self, low: float, high: float) -> None:
        self.low, self.high = low, high

    def __call__(self, variable: Any) -> Any:
        return keras.ops.clip(variable, self.low, self.high)
